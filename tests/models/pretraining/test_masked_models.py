"""Pre-trainings: what they compare, and what a later training takes of them."""

import math
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import TINY_PIX2VOL, quick_trainer
from torch.utils.data import DataLoader

from fund2oct.data import DataError, EyeReader, FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.table import import_table
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.models import CheckpointError, Pix2Vol, load_model
from fund2oct.models.pretraining import MaskedPairs, MaskedPhotos, MaskedVolumes
from fund2oct.models.pretraining.photos import hidden_photo_loss
from fund2oct.models.pretraining.volumes import hidden_tissue_losses, hide_voxels
from fund2oct.models.training.memory import batch_without_values, step_memory
from fund2oct.networks.layered.surfaces import increments_of, usual_heights_um
from fund2oct.networks.layered.tissue import Tissue
from fund2oct.networks.noise import NoiseSource
from fund2oct.retina import align
from fund2oct.run.train import build

SHAPE = (6, 32, 48)
SMALL = {
    "photos": ["encoder=own"],
    "volumes": ["shape=[6,32,48]", "tissue_width=16", "bscan_width=8", "cells=[4,6]"],
    "pairs": ["encoder=own", "shape=[6,32,48]", "tissue_width=16", "bscan_width=8", "cells=[4,6]"],
}


# --- what is compared -----------------------------------------------------------------------------


def test_the_loss_of_a_photo_is_that_of_its_hidden_retina():
    rng = np.random.default_rng(0)
    photo, drawn = rng.random((2, 2, 3, 8, 9), np.float32)
    photo[:, :, :, :3] = 0.01  # beside the retina
    hidden = rng.random((2, 1, 8, 9)) < 0.5
    found = hidden_photo_loss(*map(torch.from_numpy, (drawn, photo, hidden)))
    counted = np.broadcast_to(hidden & (photo.max(1, keepdims=True) > 0.06), photo.shape)
    np.testing.assert_allclose(found, np.abs(drawn - photo)[counted].mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "wrong", "message"),
    [
        (
            partial(MaskedPhotos, "own"),
            (0, 0.0, 1, 1.0, -0.1, 1.5, math.nan, 0.001, 0.999),
            r"in \(0, 1\), by",
        ),
        (partial(MaskedVolumes, SHAPE), (-0.1, 1.5, 2, math.nan, 0.001), r"in \[0, 1\], 0 or enough"),
        (partial(MaskedPairs, SHAPE, "own"), (0, 0.0, 0.4, 1.1, math.nan), r"mean share in \[0.5, 1\]"),
    ],
)
def test_a_share_that_hides_nothing_is_refused(build, wrong, message):
    for hidden in wrong:
        with pytest.raises(ValueError, match=rf"hidden: expected a .*{message}.*, found {hidden}"):
            build(hidden=hidden)


@pytest.mark.parametrize(
    ("build", "wrong", "message"),
    [
        (partial(MaskedPhotos, "own"), {"cells": 0}, "cells: expected at least 1, found 0"),
        (partial(MaskedVolumes, SHAPE), {"cells": [10]}, r"cells: expected two numbers .*, found \[10\]"),
        (partial(MaskedVolumes, SHAPE), {"cells": [4, 0]}, r"cells: .*, found \[4, 0\]"),
        (partial(MaskedPairs, SHAPE, "own"), {"photo_cells": -1}, "photo_cells: .*, found -1"),
        (partial(Pix2Vol, SHAPE, "own"), {"texture": []}, r"texture: expected one or more .*, found \[\]"),
        (partial(Pix2Vol, SHAPE, "own"), {"judged_slices": -1}, "judged_slices: expected 0, .*, found -1"),
    ],
)
def test_numbers_of_which_nothing_can_be_built_are_refused(build, wrong, message):
    with pytest.raises(ValueError, match=message):
        build(**wrong)


def test_photos_alone_are_asked_for_where_there_are_pairs(tiny_eyes):
    trainer, data = quick_trainer(max_steps=1), FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    with pytest.raises(ValueError, match=r"photos alone, .*set data\.init_args\.content=photos"):
        trainer.fit(MaskedPhotos("own"), datamodule=data)


@pytest.mark.parametrize("shape", [(3, 32, 48), (6, 40, 48), (6, 32, 40)])
@pytest.mark.parametrize("is_datamodule", [True, False])
def test_volumes_of_another_shape_than_the_model_has_are_refused(is_datamodule, shape, tiny_eyes):
    options = {"content": "volumes", "volume_shape": shape}
    if is_datamodule:
        given = {"datamodule": FundusOCTDataModule(str(tiny_eyes), batch_size=2, **options)}
    else:
        given = {"train_dataloaders": DataLoader(FundusOCTDataset(tiny_eyes, **options), 2)}
    message = f"its shape is [6, 32, 48], but the data's volumes are {list(shape)} (slices, rows, A-scans)"
    with pytest.raises(ValueError, match=re.escape(message)):
        quick_trainer(max_steps=1, limit_val_batches=0).fit(MaskedVolumes(SHAPE), **given)


def test_shares_at_the_edge_are_taken():
    assert MaskedPhotos("own", hidden=1 / 64).hidden == 1 / 64
    assert MaskedVolumes(SHAPE, hidden=0).hidden == 0, "a plain autoencoder"
    assert MaskedPairs(SHAPE, "own", hidden=1).hidden == 1


@pytest.fixture
def scanned():
    """A volume of noise, in which nothing is dark enough to be fluid."""
    n_depth, n_ascans = 40, 24
    batch = {
        "volume": 0.4 + 0.2 * torch.rand(2, 1, 3, n_depth, n_ascans),
        "pose_um": torch.zeros(2, 3, 7),
        "spacing_z_mm": torch.full((2,), 0.04),
    }
    batch["pose_um"][..., 0] = 0.6 * n_depth * 40  # where the aligned frame has it: nothing is moved
    heights = usual_heights_um().expand(2, 4, 3, n_ascans)
    return batch, heights


def test_the_loss_of_a_volume_is_that_of_its_hidden_voxels(scanned):
    batch, heights = scanned
    aligned, hidden = batch["volume"], torch.rand(batch["volume"].shape) < 0.5
    tissue = Tissue(torch.zeros(2, 1, 3, 42, 24), torch.zeros(2, 1, 3, 14, 24), torch.zeros(()))
    found = hidden_tissue_losses(tissue, heights, aligned, hidden, batch, spacing_x_mm=0.08)
    assert set(found) == {"tissue", "pockets"}
    expected = ((0.5 - aligned) ** 2)[hidden].mean()  # logits of 0 are grey, between any surfaces
    torch.testing.assert_close(found["tissue"], 1000 * expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(found["pockets"], torch.tensor(100 * np.log(2)).float())
    other = torch.where(hidden, aligned, aligned + 0.01)
    batch["volume"] = other
    again = hidden_tissue_losses(tissue, heights, other, hidden, batch, spacing_x_mm=0.08)
    assert torch.equal(again["tissue"], found["tissue"])


def test_a_volume_is_filled_in_from_what_is_seen_of_it():
    model = MaskedVolumes(SHAPE, tissue_width=16, bscan_width=8, cells=(4, 6))
    model.configure_model()
    model.eval()  # spectral normalisation moves a weight at each look
    volume = torch.rand(2, 1, *SHAPE)
    hidden = model.hidden_voxels(volume, 0.5, NoiseSource())
    assert hidden.shape == volume.shape and hidden.float().mean() == 0.5
    increments = increments_of(usual_heights_um().expand(2, 4, 6, 48))

    def drawn(given):
        with torch.no_grad():
            return model.generator(model.read(hide_voxels(given, hidden)), increments)

    first, same = drawn(volume), drawn(torch.where(hidden, torch.rand_like(volume), volume))
    assert torch.equal(first.columns, same.columns) and torch.equal(first.pockets, same.pockets)
    other = drawn(torch.where(hidden, volume, torch.rand_like(volume)))
    assert not torch.allclose(first.columns, other.columns)


@pytest.mark.parametrize("build", [partial(MaskedVolumes, SHAPE), partial(MaskedPairs, SHAPE, "own")])
def test_no_copy_of_what_is_hidden_is_seen(build, monkeypatch):
    """The aligned frame repeats the first rows of the scan above it."""
    model = build(tissue_width=16, bscan_width=8)
    model.configure_model()
    batch = {
        "volume": torch.zeros(1, 1, *SHAPE), "pose_um": torch.zeros(1, 6, 7),
        "spacing_z_mm": torch.tensor([0.04]), "spacing_x_mm": torch.tensor([0.08]),
        "surfaces_um": torch.full((1, 4, 6, 48), torch.nan), "fundus": torch.rand(1, 3, 48, 48),
        "grid": torch.zeros(1, 6, 48, 2),
    }  # fmt: skip
    batch["volume"][..., 0, :] = 1
    batch["pose_um"][..., 0] = (0.6 * 32 - 2) * 40  # the scan begins in the third row of the aligned frame
    hidden = torch.zeros(batch["volume"].shape, dtype=torch.bool)
    hidden[..., 2, :] = True
    monkeypatch.setattr(model, "hidden_voxels", lambda *_: hidden)
    looked, read = [], model.read

    def look(seen, *lines):
        looked.append(seen)
        return read(seen, *lines)

    monkeypatch.setattr(model, "read", look)
    model.filling_losses(model.generator, batch, NoiseSource())
    aligned = align(batch["volume"], batch["pose_um"], batch["spacing_z_mm"])
    assert hide_voxels(aligned, hidden).max() > 0.9, "there is a copy"
    assert looked[0].max() < 1e-3


# --- trainings ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["photos", pytest.param("volumes", marks=pytest.mark.slow), "pairs"])
def pretrained(request, tiny_eyes, tmp_path_factory):
    """A checkpoint of each shipped pre-training after two steps, and its weights before."""
    name = request.param
    data = [f"path={tiny_eyes}", "batch_size=2", "photo_maps=0.5"]
    data += {"photos": ["fundus_px=48"], "volumes": ["volume_shape=[6,32,48]"], "pairs": ["n_eyes=24"]}[name]
    lines = [f"data.init_args.{line}" for line in data] + [f"model.init_args.{each}" for each in SMALL[name]]
    _, model, datamodule = build(f"pretrain_{name}", [*lines, "trainer.accelerator=cpu"])
    model.configure_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer = quick_trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1)
    trainer.fit(model, datamodule=datamodule)
    path = tmp_path_factory.mktemp("pretrained") / f"{name}.ckpt"
    trainer.save_checkpoint(path)
    return name, path, model, before, trainer


def test_all_of_it_learns_and_is_validated(pretrained):
    name, _, model, before, trainer = pretrained
    after = model.state_dict()
    moved = {key for key in before if not torch.equal(after[key], before[key])}
    trained = {key for key, weight in model.named_parameters() if weight.requires_grad}
    assert len(trained & moved) > 0.9 * len(trained)
    terms = {"photos": {"photo"}, "volumes": {"tissue", "pockets"}}
    wanted = terms.get(name, {"photo", "colours", "tissue", "pockets"})
    assert {f"val/{term}" for term in {*wanted, "total"}} <= set(trainer.callback_metrics)


def test_what_is_validated_does_not_depend_on_the_batches(pretrained, tiny_eyes):
    name, _, model, _, _ = pretrained
    found = []
    for size in (1, 4):
        content = {"pairs": "pairs"}.get(name, name)
        data = FundusOCTDataModule(
            str(tiny_eyes), batch_size=size, content=content, val_fraction=0.4, fundus_px=48
        )
        trainer = quick_trainer()
        (values,) = trainer.validate(model, datamodule=data, verbose=False)
        found.append(values)
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_what_is_validated_is_one_set_of_weights(tiny_eyes):
    """The discriminator reads for the network: an older network would not understand what it says."""
    model = MaskedVolumes(
        SHAPE, tissue_width=16, bscan_width=8, cells=(4, 6), learning_rate=0.02, ema_decay=0.999
    )
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, content="volumes")
    trainer = quick_trainer(max_epochs=1, limit_train_batches=5, num_sanity_val_steps=0)
    trainer.fit(model, datamodule=data)
    of_eyes = []
    with torch.no_grad():
        for number in range(len(data.val_dataset)):
            batch = torch.utils.data.default_collate([data.val_dataset[number]])
            rng = NoiseSource.of_keys(batch["key"], model.seed)
            of_eyes.append(sum(model.eval().filling_losses(model.generator, batch, rng).values()))
    expected = float(torch.stack(of_eyes).mean())
    assert float(trainer.callback_metrics["val/total"]) == pytest.approx(expected, rel=1e-3)


def test_its_memory_is_estimated(pretrained):
    _, _, model, _, trainer = pretrained
    data = trainer.datamodule
    # Nothing of a step may be read back: on tensors without values, as on a GPU that would be waited for.
    memory = step_memory(model, batch_without_values(data.train_dataset, data.batch_size))
    assert memory.step > 0 < memory.training


def begun(tiny_eyes, paths, split_seed=0):
    """A Pix2Vol that begins with files, as it is before its first step."""
    model = Pix2Vol(SHAPE, **TINY_PIX2VOL, init_from=[str(path) for path in paths])
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, split_seed=split_seed)
    model._fabric, model._trainer = None, SimpleNamespace(datamodule=data)
    model.setup("fit")
    return model


TAKEN = {
    "photos": ("generator.encoder.",),
    "volumes": (
        "generator.tissue.encoder.norm.", "generator.tissue.encoder.layers.", "generator.tissue.heights.",
        "generator.tissue.columns.", "generator.tissue.pockets.", "generator.tissue.fluid",
        "discriminators.bscan.",
    ),
    "pairs": ("generator.encoder.", "generator.tissue.", "discriminators.bscan."),
}  # fmt: skip


def check_taken(later, model, beginnings, caplog):
    """A later model began with all weights of a pre-trained one whose names begin so, and said it."""
    given, taken = model.state_dict(), later.state_dict()
    wanted = {key for key in taken if key.startswith(beginnings) and not key.startswith("generator_ema")}
    for key in wanted:
        source = key.replace("generator.", "generator_ema.module.", 1) if "generator" in key else key
        assert torch.equal(taken[key], given[source]), key
    n_ours = sum(key.startswith(("generator.", "discriminators.")) for key in taken)
    (line,) = [one.message for one in caplog.records if one.message.startswith("init_from")]
    assert f": {len(wanted)} of {n_ours} weights taken;" in line


def test_a_translation_begins_with_it_and_says_so(pretrained, tiny_eyes, caplog):
    name, path, model, _, _ = pretrained
    with caplog.at_level("INFO"):
        later = begun(tiny_eyes, [path])
    check_taken(later, model, TAKEN[name], caplog)


def test_single_bscans_are_a_start_for_a_translation_of_six_slices(tiny_eyes, tmp_path, caplog):
    """The way of the page on pre-trainings: a picture a row, a volume of one slice each, weights for six."""
    with EyeReader(tiny_eyes) as reader:
        eyes = [reader.read(key) for key in reader.keys[:8]]
    rows = ["volume,patient,diagnosis"]
    for number, eye in enumerate(eyes):
        Image.fromarray(eye.volume[number % 6]).save(tmp_path / f"amd_{number}.png")
        rows.append(f"amd_{number}.png,p{number},AMD")
    (tmp_path / "octdl.csv").write_text("\n".join(rows))
    _, z_mm, x_mm = eyes[0].spacing_mm
    file, options = tmp_path / "octdl.h5", ImportOptions(ScanOptions((math.nan, z_mm, x_mm)))
    assert len(import_table(tmp_path / "octdl.csv", file, options).imported) == 8
    lines = [f"data.init_args.path={file}", "data.init_args.batch_size=2", "trainer.accelerator=cpu"]
    _, _, data = build("pretrain_volumes", lines)
    with pytest.raises(DataError, match=r"of 1 slice or more: .* shape=\[1,80,112\] of the model$"):
        data.prepare_data()
    lines += [f"model.init_args.{each}" for each in SMALL["volumes"][1:]]
    lines += ["data.init_args.volume_shape=[1,32,48]", "model.init_args.shape=[1,32,48]"]
    _, model, data = build("pretrain_volumes", lines)
    trainer = quick_trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1)
    trainer.fit(model, datamodule=data)
    assert data.shape == model.shape == (1, 32, 48) and trainer.global_step == 2
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with caplog.at_level("INFO"):
        later = begun(tiny_eyes, [tmp_path / "last.ckpt"])
    check_taken(later, model, TAKEN["volumes"], caplog)


def test_no_translation_is_judged_by_eyes_of_its_pretraining(pretrained, tiny_eyes):
    with pytest.raises(ValueError, match=r"begins with were trained on .* for the test"):
        begun(tiny_eyes, [pretrained[1]], split_seed=1)


def test_a_pretraining_is_no_translation(pretrained):
    with pytest.raises(CheckpointError, match=r"is a pre-training .* model\.init_args\.init_from="):
        load_model(pretrained[1])
