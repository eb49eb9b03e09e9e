"""A training that begins with weights of a file."""

import argparse
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from fund2oct.models import VoxelGAN
from fund2oct.models.batch import frozen_features
from fund2oct.models.training.init_from import init_from
from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.networks.foundation.tuning import choose_trained


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3))
        self.head = nn.Linear(5, 2)


def encoder():
    """Holds the same layers under other names, and another head."""
    holder = nn.Module()
    holder.encoder = nn.Module()
    holder.encoder.layers = Net().backbone
    holder.encoder.head = nn.Linear(5, 3)
    return holder


@pytest.fixture(params=["plain.pth", "lightning.ckpt", "mae.pth", "timm.safetensors"])
def published(request, tmp_path):
    net, path = Net(), tmp_path / request.param
    state = net.state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.name == "lightning.ckpt":
        named = {f"model.{name}": value for name, value in state.items()}
        torch.save({"epoch": 3, "state_dict": named, "hyper_parameters": {"name": "x"}}, path)
    elif path.name == "mae.pth":
        torch.save({"model": state, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}}, path)
    else:
        torch.save(state, path)
    return net, path


def test_names_that_end_alike_are_one(published):
    net, path = published
    ours = encoder()
    head = ours.encoder.head.weight.clone()
    report = init_from(path, {"generator": ours})
    taken = ours.encoder.layers.state_dict()
    assert all(torch.equal(taken[name], value) for name, value in net.backbone.state_dict().items())
    assert torch.equal(ours.encoder.head.weight, head)
    assert report.there.endswith("backbone.") and report.here == "generator.encoder.layers."
    line = str(report)
    assert "9 of 11 weights taken" in line and "generator.encoder.head.weight" in line
    assert "2 of the file not used" in line and "\n" not in line


def checkpoint(path, shape, **options):
    model = VoxelGAN(shape, **{"channels": (8, 8), "bscan_width": 8, "n_layers": 2} | options)
    model.configure_model()
    model.configure_training()
    with torch.no_grad():
        for number, weight in enumerate(model.generator_ema.module.parameters()):
            weight.fill_(number + 1)
        for weight in model.generator_ema.module.lifts[0].profile.parameters():
            weight.copy_(torch.linspace(0, 1, weight.shape[-1]).expand_as(weight))
    torch.save({"state_dict": model.state_dict()}, path)
    return model


class Started(VoxelGAN):
    """Ends its setup where a training would begin."""


def begun(path, shape=(6, 48, 40), **options):
    from types import SimpleNamespace

    model = Started(
        shape, init_from=str(path), **{"channels": (8, 8), "bscan_width": 8, "n_layers": 2} | options
    )
    model._fabric = None
    model._trainer = SimpleNamespace(datamodule=None)
    model.setup("fit")
    return model


def test_the_averaged_weights_of_a_checkpoint_begin_a_training_of_another_depth(tmp_path, caplog):
    there = checkpoint(tmp_path / "there.ckpt", (6, 32, 48))
    with caplog.at_level("INFO"):
        here = begun(tmp_path / "there.ckpt")
    averaged = there.generator_ema.module
    assert torch.equal(here.generator.encoder.stem.weight, averaged.encoder.stem.weight)
    assert torch.equal(here.generator_ema.module.encoder.stem.weight, averaged.encoder.stem.weight)
    judges = [model.discriminators["bscan"].state_dict() for model in (here, there)]
    assert all(torch.equal(judges[0][name], judges[1][name]) for name in judges[0])
    profile = here.generator.lifts[0].profile.weight
    assert profile.shape[-1] == 48
    expected = F.interpolate(averaged.lifts[0].profile.weight, 48, mode="linear")
    assert torch.equal(profile, expected)
    (line,) = [record.message for record in caplog.records if "init_from" in record.message]
    assert "resized to this depth (generator.lifts.0.profile.weight (8, 8, 32) to (8, 8, 48)" in line
    assert here.init_from is None and "init_from" not in here.hparams


def test_what_has_another_shape_is_left_and_said(tmp_path, caplog):
    checkpoint(tmp_path / "there.ckpt", (6, 32, 48))
    with caplog.at_level("INFO"):
        begun(tmp_path / "there.ckpt", (6, 32, 48), bscan_width=16)
    assert "left as they were, of another shape (discriminators.bscan" in caplog.text


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("crater",)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"no weights"), "refused|damaged"),
        (lambda path: torch.save({"a": Bomb()}, path), "could run code; refused"),
        (lambda path: torch.save([1, 2], path), "found a list"),
        (lambda path: torch.save({"epoch": 3}, path), "expected tensors by name, found epoch"),
        (lambda path: torch.save({"other.weight": torch.zeros(7)}, path), "none of its 1 weights"),
    ],
)
def test_a_file_that_does_not_help_is_refused_in_a_line(write, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pth"
    write(path)
    with pytest.raises(ValueError, match=message) as caught:
        init_from(path, {"generator": Net()})
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "crater").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_frozen_weights_may_be_in_the_file_too(dtype, tmp_path):
    """As in a model that was published with its encoder, at half precision."""
    net = Net()
    state = {f"generator.backbone.{name}": value for name, value in net.backbone.state_dict().items()}
    state |= {f"generator.head.{name}": torch.ones_like(v) for name, v in net.head.state_dict().items()}
    rounded = {name: v.to(dtype) if v.is_floating_point() else v for name, v in state.items()}
    torch.save(rounded, tmp_path / "a.pth")
    before = net.backbone[0].weight.clone()
    report = init_from(tmp_path / "a.pth", {"generator": net}, kept=("generator.backbone.",))
    assert torch.equal(net.backbone[0].weight, before) and (net.head.weight == 1).all()
    assert report.n_weights == 2 and len(report.frozen) == 9
    assert "9 frozen, and the same in the file (generator.backbone" in str(report)


def test_a_head_is_not_put_on_frozen_weights_other_than_its_own(tmp_path):
    state = Net().state_dict()
    torch.save({f"generator.{name}": value for name, value in state.items()}, tmp_path / "a.pth")
    net = Net()
    before = net.head.weight.clone()
    message = (
        r"4 of these would be left out here .*set fine_tune=true without lora_rank, and encoder_learning"
    )
    with pytest.raises(ValueError, match=message):
        # Those of the batch normalisation are the same in both.
        init_from(tmp_path / "a.pth", {"generator": net}, kept=("generator.backbone.",))
    assert torch.equal(net.head.weight, before)


def test_what_fits_by_chance_begins_nothing(tmp_path):
    """A norm of as many channels has nothing to do with this one."""
    theirs = {f"stage.{number}.conv.weight": torch.rand(7, 7) for number in range(20)}
    theirs |= {f"stage.0.bn.{name}": torch.full((4,), 9.0) for name in ("weight", "bias")}
    torch.save(theirs, tmp_path / "a.pth")
    net = Net()
    with pytest.raises(
        ValueError, match=r"only 2 .* of its 22 weights .* fit one of the model's 11 .* chance"
    ):
        init_from(tmp_path / "a.pth", {"generator": net})
    assert not (net.backbone[1].weight == 9).any()


def test_a_whole_part_of_the_model_is_sensible(tmp_path):
    theirs = {f"backbone.{name}": value for name, value in Net().backbone.state_dict().items()}
    torch.save(theirs | {f"text.{number}": torch.rand(9) for number in range(30)}, tmp_path / "a.pth")
    ours = encoder()
    ours.rest = nn.ModuleList(nn.Linear(11, 11) for _ in range(20))
    report = init_from(tmp_path / "a.pth", {"generator": ours})
    assert len(report.taken) == 9 and all(
        name.startswith("generator.encoder.layers.") for name in report.taken
    )


def test_an_encoder_of_a_photo_begins_no_discriminator(tmp_path):
    """Both may be networks of one family, with many weights of one name and shape."""
    layers = {f"{n}.weight": torch.rand(4, 4) for n in range(20)}
    torch.save({f"generator.encoder.{name}": weight for name, weight in layers.items()}, tmp_path / "a.pth")
    theirs = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(20)))
    networks = {
        "generator": nn.ModuleDict({"encoder": nn.Linear(7, 7)}),
        "discriminators": nn.ModuleDict({"features": theirs}),
    }
    with pytest.raises(ValueError, match=r"none of its 20 weights"):
        init_from(tmp_path / "a.pth", networks)


# --- networks of others --------------------------------------------------------------------------------


class Blocks(Backbone):
    """A network of others of three blocks with batch normalisation."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(3))

    def blocks(self):
        return [
            [name for name, _ in self.named_parameters() if name.startswith(f"layers.{number}.")]
            for number in range(3)
        ]


def of_others(fine_tune):
    """A network around it, and what of it comes along each time it is built."""
    torch.manual_seed(1)  # the same weights of others
    network = nn.Module()
    network.backbone, network.head = Blocks(), nn.Linear(3, 3)
    choose_trained(network.backbone, fine_tune, 0)
    return network, frozen_features(nn.ModuleDict({"generator": network}))


def stored(path, fine_tune):
    """A checkpoint of it, whose trained weights are other ones."""
    network, rebuilt = of_others(fine_tune)
    state = {f"generator.{name}": value for name, value in network.state_dict().items()}
    state = {name: value for name, value in state.items() if not name.startswith(rebuilt)}
    torch.save({name: value + 1 for name, value in state.items()}, path)
    return state


def test_batch_statistics_are_stored_with_the_weights_that_are_trained(tmp_path):
    state = stored(tmp_path / "last.pth", 1)
    kept = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    of_last = {f"generator.backbone.layers.2.1.{name}" for name in kept}
    assert {name for name in state if ".backbone." in name and ".1." in name} == of_last
    assert not [name for name in stored(tmp_path / "none.pth", False) if ".backbone." in name]
    whole = stored(tmp_path / "whole.pth", True)
    network, rebuilt = of_others(True)
    assert not rebuilt and len(whole) == len(network.state_dict())
    init_from(tmp_path / "whole.pth", {"generator": network}, rebuilt)
    assert (network.backbone.layers[0][1].running_var == 2).all()


@pytest.mark.parametrize(
    ("there", "here", "fits"),
    [
        (False, False, True), (False, 1, True), (False, True, True),
        (1, False, False), (1, 1, True), (1, 2, True), (1, True, True),
        (True, False, False), (True, 1, False), (True, True, True),
    ],
)  # fmt: skip
def test_all_that_a_file_has_of_a_network_of_others_is_taken_or_nothing(there, here, fits, tmp_path):
    state = stored(tmp_path / "a.pth", there)
    network, rebuilt = of_others(here)
    before = {f"generator.{name}": value.clone() for name, value in network.state_dict().items()}
    if fits:
        init_from(tmp_path / "a.pth", {"generator": network}, rebuilt)
        after = {f"generator.{name}": value for name, value in network.state_dict().items()}
        assert all(torch.equal(after[name], value + (name in state)) for name, value in before.items())
        return
    with pytest.raises(ValueError, match=r"would be left out here .*generator.backbone.*set fine_tune=true"):
        init_from(tmp_path / "a.pth", {"generator": network}, rebuilt)
    assert all(
        torch.equal(before[f"generator.{name}"], value) for name, value in network.state_dict().items()
    )


def test_low_rank_changes_go_on_as_low_rank_changes(tmp_path):
    pytest.importorskip("peft", reason='pip install "fund2oct[foundation]"')

    def changed(rank):
        network, _ = of_others(False)
        choose_trained(network.backbone, False, rank)
        return network, frozen_features(nn.ModuleDict({"generator": network}))

    network, rebuilt = changed(2)
    state = {f"generator.{name}": value for name, value in network.state_dict().items()}
    lora = {name: value + 1 for name, value in state.items() if not name.startswith(rebuilt)}
    assert any(".lora_A." in name for name in lora)
    torch.save(lora, tmp_path / "lora.pth")
    init_from(tmp_path / "lora.pth", {"generator": network}, rebuilt)
    after = {f"generator.{name}": value for name, value in network.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in lora.items())
    for other in (of_others(True), of_others(False), changed(1)):
        with pytest.raises(ValueError, match=r"lora_A.*set lora_rank=2 as there, and no fine_tune"):
            init_from(tmp_path / "lora.pth", {"generator": other[0]}, other[1])
    stored(tmp_path / "whole.pth", True)
    network, rebuilt = changed(2)
    with pytest.raises(ValueError, match="set fine_tune=true without lora_rank"):
        init_from(tmp_path / "whole.pth", {"generator": network}, rebuilt)
