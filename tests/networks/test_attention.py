"""The attention across a scan: places on the retina, not numbers of slices and A-scans."""

import math

import numpy as np
import pytest
import torch

from fund2oct.geometry import Placement, RadialScan, RasterScan
from fund2oct.models import SurfaceModel
from fund2oct.models.thickness import predict_thickness
from fund2oct.networks.attention import POSITIONS, ScanAttention, phases, value_heads
from fund2oct.networks.layered.surfaces import SurfaceNetwork

WIDTH = 32


def attention_of(position):
    attention = ScanAttention(WIDTH, position)
    torch.nn.init.normal_(attention.out.weight, 0, 0.3)
    return attention


def seen_at(places_mm):
    """Features of the retina at places, the same whoever looks there."""
    angles = torch.cat([places_mm, places_mm.flip(-1)], -1) @ torch.linspace(-1, 1, 4 * WIDTH).view(4, WIDTH)
    return angles.sin().permute(0, 3, 1, 2)


def exchanged(attention, places, others):
    return attention(seen_at(places), places, seen_at(others), others)


def logits_of(attention, features, places_mm, others, others_mm):
    """How much each A-scan heeds each other one, before the softmax, ``(B, heads, S X, S' X')``."""
    q, k = attention._asking(features, places_mm, others, others_mm)
    return q @ k.transpose(2, 3) * q.shape[-1] ** -0.5


def effective_rank(logits):
    """Equation 4 of Roy and Vetterli, of whole logits without the mean of each row."""
    logits = logits.double()
    values = torch.linalg.svdvals(logits - logits.mean(-1, keepdim=True))
    return torch.special.entr(values / values.sum(-1, keepdim=True)).sum(-1).exp().float()


def star(n_lines=6, n_ascans=24, turn_deg=0.0):
    return Placement(rotation_deg=turn_deg, half_width_mm=1.0).to_grid(
        RadialScan(n_lines).coordinates(n_ascans)
    )[None]


@pytest.mark.parametrize("position", POSITIONS)
def test_it_is_softmax_attention(position):
    attention, places = attention_of(position), star()
    features = seen_at(places)
    weights = logits_of(attention, features, places, features, places).softmax(-1)
    values = attention.value(attention.norm(features)).flatten(2).unflatten(1, (4, -1)).transpose(2, 3)
    taken = (weights @ values).transpose(2, 3).flatten(1, 2).unflatten(2, (6, 24))
    torch.testing.assert_close(exchanged(attention, places, places), attention.out(taken))


@pytest.mark.parametrize("position", POSITIONS)
def test_a_place_is_told_the_same_whatever_slice_it_belongs_to(position):
    # The lines of a star turned by 30 degrees are those of the star, the next number each.
    attention, places = attention_of(position), star()
    one = exchanged(attention, places, places)
    turned = star(turn_deg=30.0)
    other = exchanged(attention, turned, turned)
    torch.testing.assert_close(other[:, :, :5], one[:, :, 1:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other[:, :, 5].flip(-1), one[:, :, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("position", POSITIONS)
def test_a_finer_scan_hears_nearly_the_same(position):
    attention, places = attention_of(position), star(n_ascans=96)
    fine = exchanged(attention, star(), star(n_ascans=192))
    torch.testing.assert_close(exchanged(attention, star(), places), fine, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("position", "same"), [("none", True), ("rope", True), ("learned", False), ("sincos", False)]
)
def test_rope_knows_how_far_apart_places_are_and_no_more(position, same):
    attention, places, features = attention_of(position), star(), seen_at(star())
    one, moved = (
        logits_of(attention, features, p, features, p) for p in (places, places + torch.tensor([0.7, -0.4]))
    )
    assert torch.allclose(one, moved, atol=1e-3) is same


def test_none_does_not_know_places_and_the_others_do():
    for position in POSITIONS:
        attention, places, features = attention_of(position), star(), seen_at(star())
        one = attention(features, places, features, places)
        scaled = attention(features, 2 * places, features, 2 * places)
        assert torch.allclose(one, scaled, atol=1e-4) is (position == "none")


def test_the_waves_are_half_a_millimetre_to_thirty_two():
    found = phases(torch.tensor([[0.5, 0.0], [0.0, 32.0]]), 7)
    assert found[0, 0, 0].item() == pytest.approx(2 * math.pi, rel=1e-5)
    assert found[1, 1, -1].item() == pytest.approx(2 * math.pi, rel=1e-5)
    assert (found[0, 1] == 0).all() and (found[0, 0, 1:] / found[0, 0, :-1]).allclose(torch.tensor(0.5))


def test_a_closed_head_says_nothing_and_opens_again():
    attention, places = attention_of("rope"), star()
    with torch.no_grad():
        attention.out.bias.zero_()
    whole = exchanged(attention, places, places)
    alone = []
    for head in range(4):
        attention.open.zero_()[head] = 1
        alone.append(exchanged(attention, places, places))
    attention.open.fill_(1)
    torch.testing.assert_close(torch.stack(alone).sum(0), whole, atol=1e-5, rtol=1e-4)
    with attention.without(2):
        torch.testing.assert_close(
            exchanged(attention, places, places), whole - alone[2], atol=1e-5, rtol=1e-4
        )
    torch.testing.assert_close(exchanged(attention, places, places), whole)


def test_the_rank_of_a_head_counts_directions(monkeypatch):
    attention = attention_of("none")
    q, k = torch.linalg.qr(torch.randn(30, 5))[0], torch.linalg.qr(torch.randn(40, 5))[0]
    ranks = []
    for shift in (0, 100 * torch.randn(5)):  # the same for all keys, which the softmax does not see
        monkeypatch.setattr(attention, "_asking", lambda *_, k=k + shift: (q[None, None], k[None, None]))
        ranks.append(attention.ranks(*[None] * 4))
    assert 4 < ranks[0] <= 5.001
    assert ranks[1].allclose(ranks[0], rtol=1e-3)


@pytest.mark.parametrize("position", POSITIONS)
def test_the_rank_of_a_head_is_at_most_its_channels(position):
    attention, places = ScanAttention(96, position), star(n_ascans=28)
    given = torch.randn(2, 96, 6, 28), places.expand(2, -1, -1, -1)
    logits = logits_of(attention, *given, *given)
    assert logits.shape == (2, 4, 168, 168) and torch.linalg.matrix_rank(logits, rtol=1e-5).max() <= 24
    found = effective_rank(logits)
    assert found.max() <= 24
    torch.testing.assert_close(attention.ranks(*given, *given), found, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_head_is_worth_what_is_lost_without_it():
    attention, places = attention_of("rope"), star()
    features = seen_at(places)

    def errors():
        return -exchanged(attention, places, places).square().mean((1, 2, 3))

    whole, (rank,) = errors().mean(), attention.ranks(features, places, features, places)
    found = value_heads(attention, errors)
    for head, value in enumerate(found):
        with attention.without(head):
            assert value.worse == pytest.approx(float(errors().mean() - whole), rel=1e-4)
        assert value.rank == pytest.approx(float(rank[head]), rel=1e-4)
    assert len(found) == 4 and not attention._forward_pre_hooks and (attention.open == 1).all()


def test_without_it_and_before_its_training_a_network_is_the_same():
    networks = []
    for position in (None, "rope"):
        torch.manual_seed(0)
        networks.append(SurfaceNetwork((8,), width=WIDTH, position=position))
    photo, maps, grid = torch.rand(2, 3, 32, 32), [torch.rand(2, 8, 8, 8)], 0.5 * torch.rand(2, 6, 24, 2)
    torch.testing.assert_close(*(network(photo, maps, grid).median_um for network in networks))


def test_some_lines_of_a_scan_hear_all_of_it():
    reader = SurfaceNetwork((8,), width=WIDTH, position="rope").encoder
    torch.nn.init.normal_(reader.attention.out.weight)
    asked, heard = [], []
    reader.attention.register_forward_pre_hook(lambda _, given: asked.append(given))
    reader.attention.register_forward_hook(lambda _, __, found: heard.append(found))
    photo, maps, grid = torch.rand(1, 3, 32, 32), [torch.rand(1, 8, 8, 8)], star() / 8
    reader(photo, maps, grid)
    reader(photo, maps, grid[:, 1:3], whole=grid)
    (_, places, others, others_mm), (_, some_places, some_others, some_mm) = asked
    torch.testing.assert_close((some_others, some_mm), (others, others_mm))
    torch.testing.assert_close(some_places, places[:, 1:3])
    torch.testing.assert_close(heard[1], heard[0][:, :, 1:3])


@pytest.mark.parametrize("position", POSITIONS)
def test_a_model_trains_with_it_and_comes_back(position, tmp_path):
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=WIDTH, position=position)
    model.configure_model()
    attention = model.generator.surfaces.encoder.attention
    assert attention.position == position
    grid = Placement().to_grid(RasterScan(6, 6.0, 6.0).coordinates(48))[None]
    model.generator.predict_surfaces(torch.rand(1, 3, 48, 48), grid).free_um.sum().backward()
    assert attention.out.weight.grad.abs().max() > 0
    again = SurfaceModel(**dict(model.hparams))
    again.configure_model()
    again.load_state_dict(model.state_dict())


def test_each_place_of_a_map_asks_the_scan():
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=WIDTH, position="rope")
    model.configure_model()
    asked = []
    attention = model.generator_ema.module.surfaces.encoder.attention
    attention.register_forward_pre_hook(lambda _, given: asked.append([one.shape for one in given]))
    scan = RadialScan(length_mm=3.2)
    predict_thickness(model, np.zeros((48, 48, 3), np.uint8), Placement(), scan)
    each = [(1, WIDTH, 40, 48), (1, 40, 48, 2), (1, WIDTH, 6, 48), (1, 6, 48, 2)]
    assert asked == [each, each]


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="one of none, learned, sincos, rope, found 'rop'"):
        ScanAttention(WIDTH, "rop")
    with pytest.raises(ValueError, match="multiple of 16, found 40"):
        ScanAttention(40, "rope")
