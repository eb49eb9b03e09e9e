"""No text in a checkpoint is an import path, a file to open or an address, and no name of it says a lie."""

import copy
import os
import re

import h5py
import pytest
import torch
from hostile import put, strings
from PIL import Image
from tiny_models import quick_trainer

from fund2oct.by_path import check_named_by_user, import_by_path, values_of_a_file
from fund2oct.data import FundusOCTDataModule
from fund2oct.models import CheckpointError, SurfaceModel, VoxelGAN, load_model

SHAPE = (6, 32, 48)


@pytest.fixture(scope="module")
def checkpoints(tiny_eyes, tiny_checkpoint, tmp_path_factory):
    """One of each class of this package."""
    models = {
        "voxels": VoxelGAN(SHAPE, channels=(8, 8, 16), bscan_width=8, n_layers=2),
        "surfaces": SurfaceModel(SHAPE, encoder="own", surface_width=8),
    }
    found = {"pix2vol": torch.load(tiny_checkpoint, weights_only=True)}
    for name, model in models.items():
        trainer = quick_trainer(max_steps=1, limit_val_batches=0)
        trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
        path = tmp_path_factory.mktemp("models") / f"{name}.ckpt"
        trainer.save_checkpoint(path)
        found[name] = torch.load(path, weights_only=True)
    return found


@pytest.mark.parametrize("name", ["pix2vol", "voxels", pytest.param("surfaces", marks=pytest.mark.slow)])
def test_no_text_of_a_checkpoint_is_imported_or_opened(name, checkpoints, trap, tmp_path):
    whole = checkpoints[name]
    slim = {key: value for key, value in whole.items() if key not in ("optimizer_states", "loops")}
    places = list(strings(slim))
    arguments = {place[1] for place in places if place[0] == "hyper_parameters"}
    known = {
        "pix2vol": {"encoder", "adversarial"},
        "voxels": {"lift", "adversarial", "perceptual"},
        "surfaces": {"encoder"},
    }
    assert arguments >= known[name]
    path = tmp_path / "hostile.ckpt"
    for number, place in enumerate(places):
        for word in trap if place[0] == "hyper_parameters" else (trap[number % len(trap)],):
            torch.save(put(slim, place, word), path)
            try:
                load_model(path)
            except CheckpointError as error:
                assert "hostile.ckpt" in str(error)


def test_what_only_training_needs_is_refused_in_training(checkpoints, trap, tiny_eyes, tmp_path):
    hostile = copy.copy(checkpoints["voxels"])
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    for word in trap:
        hostile["hyper_parameters"] = checkpoints["voxels"]["hyper_parameters"] | {
            "perceptual": word, "weights": {"l1": 1.0, "perceptual": 1.0},
        }  # fmt: skip
        torch.save(hostile, tmp_path / "hostile.ckpt")
        model = load_model(tmp_path / "hostile.ckpt")
        with pytest.raises(ValueError, match=r"was read from .*hostile.ckpt, which never says|expected 'eff"):
            quick_trainer(max_steps=1, limit_val_batches=0).fit(model, datamodule=data)


def test_what_the_user_names_is_given():
    weights = {"mine.Network": 1.0, "os.abort": 1.0}
    with values_of_a_file("model.ckpt", {"weights": weights}, {"mine.Network": dict}):
        assert import_by_path("mine.Network") is dict
        with pytest.raises(ValueError, match=r"'os.abort' was read from model.ckpt"):
            import_by_path("os.abort")
        assert import_by_path("os.getpid") is os.getpid  # no text of the file: code names it
    assert import_by_path("os.abort") is os.abort


def test_what_leads_elsewhere_is_refused_with_something_around_it():
    with values_of_a_file("model.ckpt", {"size": "x/../../other", "net": "a:b", "kind": "small"}):
        for name in ("weights/dinov2-x/../../other", "torchscript:a:b"):
            with pytest.raises(ValueError, match=r"was read from model\.ckpt"):
                check_named_by_user(name)
        check_named_by_user("weights/dinov2-small")


def test_a_text_is_found_wherever_it_stands_in_a_file():
    looped = ["os.abort"]
    looped.append(looped)
    for held in (looped, {"os.abort": 1}, [({"a": {"os.abort"}},)], "os.abort"):
        with values_of_a_file("model.ckpt", {"own": held}), pytest.raises(ValueError, match="was read from"):
            import_by_path("os.abort")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("./vesels.pt", "no such file"),
        ("vesels.pt", "no such file"),
        ("there.pt", "is a file, expected an importable module.Name"),
        ("./my_model.py:Smoother", "is a path, expected an importable module.Name"),
        ("../m.sharp", "is a path, expected an importable module.Name"),
        ("my_modle.Smoother", "expected an importable module.Name: No module named 'my_modle'"),
    ],
)
def test_what_leads_nowhere_is_told(path, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pt").touch()
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path!r}: {why}')}"):
        import_by_path(path)


def as_picture(path):
    Image.new("RGB", (8, 8)).save(path, "JPEG")


def as_eyes(path):
    h5py.File(path, "w").close()


def as_safetensors(path):
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, path)


def as_run(path):
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints/last.ckpt").write_bytes(b"PK")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (as_picture, "is a JPEG picture; expected a checkpoint"),
        (as_eyes, "is an HDF5 file, as files of eyes are; expected a checkpoint"),
        (as_safetensors, r"is a file of tensors alone \(safetensors\); expected a checkpoint"),
        (as_run, "is a folder, expected a file; perhaps .*model.ckpt/checkpoints/last.ckpt"),
        (lambda path: path.write_bytes(b""), "is empty: it was copied or downloaded in part"),
        (
            lambda path: path.write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
            ),
            "is a pointer of Git LFS and not the file itself; run git lfs pull",
        ),
        (
            lambda path: path.write_text("\n<!DOCTYPE html><html></html>"),
            "is an HTML page, perhaps of a download",
        ),
        (lambda path: path.write_text("hello"), "is damaged or something else; expected a checkpoint"),
        (lambda path: path.symlink_to(path.with_name("nowhere")), "no such file"),
    ],
)
def test_what_is_no_checkpoint_is_called_what_it_is(make, message, tmp_path):
    make(tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match=rf"model.ckpt: {message}") as caught:
        load_model(tmp_path / "model.ckpt")
    assert "could run code" not in str(caught.value)


def test_a_file_without_permission_is_not_damaged(tmp_path, monkeypatch):
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"PK")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fund2oct.file_kinds.open", refuse, raising=False)
    with pytest.raises(CheckpointError, match=r"model.ckpt: cannot be opened, permission is denied"):
        load_model(path)
