"""Published folders: what is in them, what is not, and what becomes of broken or hostile ones."""

import json
import math
import shutil
import stat
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hostile import put, strings
from safetensors.torch import load_file, save_file
from tiny_models import TINY_PIX2VOL

from fund2oct.by_path import values_of_a_file
from fund2oct.data.loading.split import EyeName, SeenEyes
from fund2oct.data.store.patients import hidden
from fund2oct.data.store.reader import EyeReader
from fund2oct.models import CheckpointError, Pix2Vol, load_model
from fund2oct.models.checkpoint import names_a_model
from fund2oct.models.published import fetch_from_hub, push_to_hub, write_published

SHAPE = (6, 32, 48)


class OwnModel(Pix2Vol):
    """A class of a user's own."""


def write(model, folder, **options):
    folder.mkdir()
    write_published(model, folder, {}, **options)
    return folder


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return load_model(tiny_checkpoint)


@pytest.fixture(scope="module")
def published(model, tmp_path_factory):
    return write(model, tmp_path_factory.mktemp("published") / "tiny")


@pytest.fixture
def copied(published, tmp_path):
    return shutil.copytree(published, tmp_path / "copied")


def used(model):
    """The weights that use needs."""
    return {name: value for name, value in model.state_dict().items() if name.startswith("generator_ema.")}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_model_comes_back_as_it_was(model, published, tiny_eyes):
    again = load_model(published)
    assert type(again) is Pix2Vol and not again.training and same(used(again), used(model))
    with EyeReader(tiny_eyes) as reader:
        photo = np.pad(reader.read(reader.keys[0]).fundus, ((6, 6), (21, 21), (0, 0)))
    before, after = model.predict(photo), again.predict(photo)
    assert np.array_equal(before.volume, after.volume) and before.scan == after.scan
    assert math.isnan(again.task.spacing_mm[0]) and again.task.spacing_mm[1:] == model.task.spacing_mm[1:]
    assert torch.equal(again.task.poses.factor_um, model.task.poses.factor_um)
    assert again.task.preparation == model.task.preparation
    # A training may go on from the average.
    assert torch.equal(again.generator.encoder.stem.weight, again.generator_ema.module.encoder.stem.weight)


def test_only_what_use_needs_is_in_it(published, tiny_checkpoint):
    assert {path.name for path in published.iterdir()} == {"config.json", "model.safetensors"}
    names = load_file(published / "model.safetensors").keys()
    assert {name.split(".")[0] for name in names} == {"generator_ema", "task"}
    size = (published / "model.safetensors").stat().st_size
    assert size < 0.3 * tiny_checkpoint.stat().st_size
    for path in published.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044, "others may read it"


def test_no_name_of_an_eye_is_published_and_each_is_recognised(published, model, tiny_eyes):
    text = (published / "config.json").read_text()
    with EyeReader(tiny_eyes) as reader:
        names = [EyeName(key, reader.info(key).patient, reader.info(key).photo_digest) for key in reader.keys]
        digest = reader.digest()
    assert not [word for name in names for word in name[:2] if f'"{word}"' in text]
    assert str(tiny_eyes.parent) not in text and tiny_eyes.name in text
    before, after = model.task.seen, load_model(published).task.seen
    new = EyeName("new", "somebody", "")
    for arguments in ((names, digest, "same.h5"), ([*names, new], "other", "other.h5")):
        assert before.held_out(*arguments).keys == after.held_out(*arguments).keys != ()
    renamed = [name._replace(key="renamed", patient="renamed") for name in names[:8]]
    assert before.held_out(renamed, "other", "").keys == after.held_out(renamed, "other", "").keys
    assert before.trained([*names, new]) == after.trained([*names, new]) != set()
    seen = SeenEyes.of_keys(["a"], ["b"], ["c"], "/clinic/here.h5, there.h5").for_publishing()
    assert seen.path == "here.h5, there.h5" and seen.parts["train"][0].key == hidden("a")


def test_float16_halves_the_size_and_is_float32_in_use(model, published, tmp_path):
    half = write(model, tmp_path / "half", half=True)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (half, published)]
    again = load_model(half)
    assert sizes[0] < 0.6 * sizes[1]
    for name, value in used(model).items():
        assert used(again)[name].dtype == value.dtype
        torch.testing.assert_close(used(again)[name], value.half().to(value.dtype), rtol=0, atol=0)
    assert torch.equal(again.task.poses.mean_um, model.task.poses.mean_um), "never less exact"


def test_what_cannot_be_published_is_refused_by_name(tiny_checkpoint, tmp_path):
    model = load_model(tiny_checkpoint)
    model.hparams["loss"] = torch.nn.MSELoss()
    with pytest.raises(ValueError, match=r"loss: expected a plain value .* found MSELoss"):
        write(model, tmp_path / "loss")
    del model.hparams["loss"]
    model.generator_ema.module.encoder.stem.weight.data[0, 0, 0, 0] = 1e6
    with pytest.raises(ValueError, match=r"encoder.stem.weight: 1e\+06 is too large for float16"):
        write(model, tmp_path / "large", half=True)
    assert not (tmp_path / "large/config.json").exists()


def test_a_class_of_ones_own_has_to_be_named(model, tmp_path):
    own = OwnModel(SHAPE, **TINY_PIX2VOL)
    own.configure_model()
    own.task = model.task
    folder = write(own, tmp_path / "own")
    with pytest.raises(CheckpointError, match=r"OwnModel, which is not part of fund2oct; pass the class"):
        load_model(folder)
    assert type(load_model(folder, OwnModel)) is OwnModel


def test_no_text_of_a_folder_is_imported_opened_or_fetched(copied, trap):
    config = json.loads((copied / "config.json").read_text())
    for place in strings(config):
        for word in trap[::2] if place[0] in ("hyper_parameters", "class") else trap[:1]:
            (copied / "config.json").write_text(json.dumps(put(config, place, word)))
            try:
                load_model(copied)
            except CheckpointError as error:
                assert "copied" in str(error)
    with (
        values_of_a_file("config.json", {"encoder": "hf://sprung/model"}),
        pytest.raises(ValueError, match="'hf://sprung/model' was read from"),
    ):
        fetch_from_hub("hf://sprung/model")


def config_with(change):
    def write(folder):
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return write


def tensors_without(ending):
    def write(folder):
        tensors = load_file(folder / "model.safetensors")
        save_file({n: v for n, v in tensors.items() if not n.endswith(ending)}, folder / "model.safetensors")

    return write


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: is damaged"),
        (lambda folder: (folder / "config.json").write_text(""), "config.json: is empty"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "config.json: is damaged"),
        (
            lambda folder: (folder / "config.json").write_bytes(b"\xff\xd8\xff"),
            "config.json: is a JPEG picture",
        ),
        (
            lambda folder: (folder / "config.json").write_text("[]"),
            "config.json: expected class, with_encoder",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_text(LFS),
            "safetensors: is a pointer of Git LFS",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(
                (folder / "model.safetensors").read_bytes()[:-40]
            ),
            "model.safetensors: is damaged",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "is a folder, expected a file"),
        (config_with(lambda c: c.update(format=2)), "written in form 2 .* install a newer fund2oct"),
        (config_with(lambda c: c["hyper_parameters"].update(colour=1)), "does not fit"),
        (config_with(lambda c: c["task"].pop("scan")), "does not fit"),
        (config_with(lambda c: c["task"].update(fundus_px=1e999)), "does not fit"),
        (config_with(lambda c: c["task"].update(seen=None)), "does not fit"),
        (tensors_without("stem.weight"), "does not fit"),
        (tensors_without("mean_um"), "does not fit"),
    ],
)
def test_what_is_broken_is_refused_in_a_line(copied, spoil, message):
    spoil(copied)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(copied)
    assert str(copied) in str(caught.value) and "\n" not in str(caught.value)


def without_packages(monkeypatch, tmp_path):
    """As on a machine that has no published weights."""
    for name in ("FUND2OCT_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setattr("fund2oct.networks.features.weights.importlib.util.find_spec", lambda name: None)


def test_an_encoder_in_the_file_needs_no_package(model, tmp_path, monkeypatch, need_weights):
    need_weights("efficientnet_lite0")
    pretrained = Pix2Vol(SHAPE, **TINY_PIX2VOL | {"encoder": "efficientnet_lite0", "encoder_px": 48})
    pretrained.configure_model()
    pretrained.task = model.task
    without, half = (
        write(pretrained, tmp_path / "a"),
        write(pretrained, tmp_path / "b", half=True, with_encoder=True),
    )
    whole = write(pretrained, tmp_path / "c", with_encoder=True)
    assert not [name for name in load_file(without / "model.safetensors") if "encoder.network" in name]
    # 2.2 million weights of the layers that are used, two bytes each, not the classifier's.
    assert 4e6 < (half / "model.safetensors").stat().st_size < 5.5e6
    without_packages(monkeypatch, tmp_path)
    assert same(used(load_model(whole)), used(pretrained))
    with pytest.raises(
        ModuleNotFoundError,
        match=r"a: needs a network that it does not hold: .*pip install \"fund2oct\[pretrained\]",
    ):
        load_model(without)


def test_a_model_on_the_hub_is_found_offline_where_it_lies(published, model, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    revision = "0" * 40
    repository = tmp_path / "models--owner--eyes"
    shutil.copytree(published, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(revision)
    download = hub.snapshot_download
    monkeypatch.setattr(
        hub, "snapshot_download", lambda *a, **b: download(*a, **b, cache_dir=tmp_path, local_files_only=True)
    )
    for address in ("hf://owner/eyes", "hf://owner/eyes@main", f"hf://owner/eyes@{revision}"):
        assert same(used(load_model(address)), used(model))
    with pytest.raises(CheckpointError, match=r"hf://owner/other: cannot be fetched: "):
        load_model("hf://owner/other")
    with pytest.raises(CheckpointError, match=r"hf://owner: expected hf://OWNER/NAME"):
        load_model("hf://owner")
    (repository / "snapshots" / revision / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"hf://owner/eyes: holds no config.json"):
        load_model("hf://owner/eyes")


def test_a_folder_is_put_on_the_hub(published, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    calls = []

    class Api:
        def create_repo(self, repository, private, exist_ok):
            calls.append((repository, private, exist_ok))

        def upload_folder(self, repo_id, folder_path, allow_patterns):
            calls.append((repo_id, folder_path, set(allow_patterns)))
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(hub, "HfApi", Api)
    assert push_to_hub(published, "hf://owner/eyes") == "https://hub/owner/eyes"
    files = {"config.json", "model.safetensors", "README.md", "*.webp"}
    assert calls == [("owner/eyes", True, True), ("owner/eyes", str(published), files)]
    with pytest.raises(
        ValueError, match=r"config.json: no such file; expected a folder that fund2oct publish"
    ):
        push_to_hub(tmp_path, "hf://owner/eyes")
    with pytest.raises(
        ValueError, match=r"eyes@v2: an upload makes a new version; expected hf://owner/eyes$"
    ):
        push_to_hub(published, "hf://owner/eyes@v2")
    assert len(calls) == 2


def test_a_hub_that_cannot_be_reached_is_told(published, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    class ConnectError(Exception):
        """That of the library of HTTP, which is no OSError."""

    def unreachable(*_, **__):
        raise ConnectError("Name or service not known")

    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(create_repo=unreachable))
    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    with pytest.raises(ValueError, match=r"eyes: cannot be uploaded: Name or service .* with --overwrite$"):
        push_to_hub(published, "hf://owner/eyes")
    with pytest.raises(ValueError, match=r"eyes: cannot be fetched: Name or service not known; check"):
        fetch_from_hub("hf://owner/eyes")


def test_words_of_a_command_line_that_name_a_model(published, tiny_checkpoint, tmp_path):
    (tmp_path / "model").write_bytes(tiny_checkpoint.read_bytes())
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/last.ckpt").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/eye.jpg").touch()
    models = [published, tiny_checkpoint, tmp_path / "model", tmp_path / "run", "absent.ckpt", "hf://a/b"]
    photos = [tmp_path / "photos", tmp_path / "photos/eye.jpg", "absent.jpg", "photos/*.jpg"]
    assert [names_a_model(str(word)) for word in (*models, *photos)] == [True] * 6 + [False] * 4
