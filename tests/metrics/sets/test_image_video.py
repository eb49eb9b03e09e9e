"""Distances of images and of videos: values, protocols and names."""

import copy
import math
import pickle
import random

import pytest
import torch
from tiny_sets import METRICS, S, Tiny, X, Z, filled, made_keys, made_volumes, tiny_image, tiny_video
from torch import Tensor, nn

from fund2oct.metrics.sets.frechet import frechet_distance
from fund2oct.metrics.sets.image_video import ImageDistance, VideoDistance
from fund2oct.metrics.sets.kernel import kernel_distance
from fund2oct.metrics.sets.resize import resize_images
from fund2oct.metrics.sets.slices import slice_protocol


@pytest.mark.parametrize(("kind", "function"), [("frechet", frechet_distance), ("kernel", kernel_distance)])
def test_image_distance_is_that_of_all_bscans(kind, function) -> None:
    found = filled(tiny_image(kind=kind, output="second"), rescan=True).compute()

    def described(volume: Tensor) -> Tensor:
        bscans = resize_images(volume.transpose(1, 2).flatten(0, 1), (8, 8), "antialias")
        return Tiny(4).features(bscans)["second"]

    real, fake, rescan = (described(made_volumes(seed=seed)) for seed in range(3))
    assert found.value == pytest.approx(function(real, fake).item(), rel=1e-5)
    assert found.rescan_floor == pytest.approx(function(real, rescan).item(), rel=1e-5)
    assert (found.n_real, found.n_fake, found.floor_n) == (9, 9, 4)
    assert found.shuffle_control is None


@pytest.mark.parametrize("resize", ["legacy", "bilinear"])
@pytest.mark.parametrize("slices", ["native", "closure", "linear16"])
def test_video_distance_is_that_of_the_frames(slices, resize) -> None:
    found = filled(tiny_video(slices=slices, resize=resize)).compute()

    def described(volume: Tensor) -> Tensor:
        frames = slice_protocol(volume, slices)
        small = resize_images(frames.transpose(1, 2).flatten(0, 1), (8, 8), resize)
        return Tiny(5).features(small.view(9, -1, 1, 8, 8).transpose(1, 2))["first"]

    real, fake = described(made_volumes()), described(made_volumes(seed=1))
    assert found.value == pytest.approx(frechet_distance(real, fake).item(), rel=1e-5)


class _Steps(Tiny):
    """How much each frame differs from the next, by rows."""

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        return {"first": x.diff(dim=2).abs().mean((1, 2, 4))[:, :5]}


class _Blind(Tiny):
    """The mean of the frames, by rows."""

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        return {"first": x.mean((1, 2, 4))[:, :5]}


def test_shuffle_control_notices_the_order_where_the_network_does() -> None:
    notices, blind = (
        filled(VideoDistance(network(5), slices="native", resamples=10), 20).compute()
        for network in (_Steps, _Blind)
    )
    assert notices.shuffle_control > 3 * notices.floor
    assert blind.shuffle_control == pytest.approx(blind.floor, rel=1e-3)


@pytest.mark.parametrize("n_slices", [2, 3, 7])
def test_shuffled_slices_are_neither_in_order_nor_reversed(n_slices: int) -> None:
    from fund2oct.metrics.sets.image_video import _shuffled_order

    own = list(range(n_slices))
    orders = [_shuffled_order(n_slices, seed) for seed in range(-20, 20)]
    assert all(sorted(order) == own and order != own for order in orders)
    assert n_slices == 2 or own[::-1] not in orders
    assert orders == [_shuffled_order(n_slices, seed) for seed in range(-20, 20)]


NAMES = {
    "image_distance/tiny-first/antialias8": lambda: tiny_image(),
    "image_distance/tiny-second/bilinear8/kernel": lambda: tiny_image(
        output="second", resize="bilinear", kind="kernel"
    ),
    "image_distance/tiny-first/antialias8x9": lambda: ImageDistance(Tiny(4, (8, 9))),
    f"image_distance/tiny-first/{Z}x{X}": lambda: ImageDistance(Tiny(4, None)),
    "video_distance/tiny-first/legacy8/closure12": lambda: tiny_video(),
    "video_distance/tiny-first/legacy8/native6": lambda: tiny_video(slices="native"),
    "video_distance/tiny-first/legacy8/linear16/kernel": lambda: tiny_video(slices="linear16", kind="kernel"),
}


@pytest.mark.parametrize(("name", "build"), NAMES.items(), ids=NAMES.keys())
def test_names_say_the_protocol(name: str, build) -> None:
    metric = build()
    metric.resamples = 0
    filled(metric, 2)
    assert metric.name == metric.compute().name == name


def test_name_before_the_first_eye_leaves_out_what_it_cannot_know() -> None:
    assert tiny_video().name == "video_distance/tiny-first/legacy8/closure"
    assert VideoDistance(Tiny(5, None), slices="repeat12").name == "video_distance/tiny-first/repeat12"


@METRICS
def test_batches_order_and_repeated_eyes_do_not_matter(build) -> None:
    expected = filled(build(), rescan=True).compute()
    orders = random.Random(0)
    for batch in (1, 2, 4):
        metric = build()
        for seed, role in ((1, "fake"), (0, "real"), (2, "rescan")):
            order = orders.sample(range(9), 9)
            order.append(order[0])  # as a distributed sampler pads
            volumes, keys = made_volumes(seed=seed), made_keys()
            for start in range(0, 10, batch):
                drawn = order[start : start + batch]
                metric.update(volumes[drawn], role, [keys[number] for number in drawn])
        assert metric.compute() == expected


@METRICS
def test_memory_is_that_of_the_features(build) -> None:
    metric = filled(build())
    held = sum(tensor.nbytes for state in metric._defaults for tensor in getattr(metric, state))
    rows = {"ImageDistance": (S, S), "VideoDistance": (2, 1)}[type(metric).__name__]
    # Besides the features 40 bytes of numbers and 64 of name an eye.
    assert held == 9 * (4 * 5 * sum(rows) + 2 * (40 + 64))


@METRICS
def test_reset_and_reuse(build) -> None:
    metric = filled(build())
    expected = metric.compute()
    metric.reset()
    assert metric.name == build().name
    assert filled(metric).compute() == expected


@METRICS
def test_copies_and_pickles(build) -> None:
    metric = filled(build())
    for other in (copy.deepcopy(metric), metric.clone(), pickle.loads(pickle.dumps(metric))):
        assert other.compute() == metric.compute()


@METRICS
def test_the_network_is_in_no_checkpoint_and_keeps_its_precision(build) -> None:
    metric = build()
    holder = nn.ModuleDict({"metric": metric})
    assert holder.state_dict() == {}
    assert list(holder.parameters()) == []
    holder.train()
    assert not metric.network.training
    expected = filled(build()).compute()
    holder.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert filled(metric).compute() == expected
    assert metric.to("meta").network.convolution.weight.device.type == "meta"


def test_half_precision_volumes_are_described_in_single() -> None:
    metric = tiny_image()
    for seed, role in enumerate(("real", "fake")):
        metric.update(made_volumes(seed=seed).bfloat16(), role, made_keys())
    assert metric.compute().value == pytest.approx(filled(tiny_image()).compute().value, rel=0.02)
    assert metric.real_features[0].dtype == torch.float32


@METRICS
def test_constant_generated_slices_are_counted(build) -> None:
    metric = build()
    fake = made_volumes(seed=1)
    fake[2, 0, 1:3] = 0.5
    fake[4] = 0
    metric.update(made_volumes(), "real", made_keys())
    metric.update(fake, "fake", made_keys())
    metric.update(fake[4:5], "fake", made_keys()[4:5])
    with pytest.warns(UserWarning, match="8 generated B-scans are of one grey value"):
        found = metric.compute()
    assert found.constant_fake_slices == 8
    assert math.isfinite(found.value)
