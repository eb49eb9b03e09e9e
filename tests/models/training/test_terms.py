"""Terms of a loss: what they need, and what losses of one's own are given."""

import importlib
import warnings

import pytest
from tiny_models import quick_trainer
from torch import nn

from fund2oct.data import FundusOCTDataModule
from fund2oct.models import Pix2Vol, SurfaceModel, VoxelGAN
from fund2oct.networks.layered.surfaces import SurfaceDistribution

SHAPE = (6, 32, 48)
OWN = """
given = []


def height(batch, found):
    given.append((batch, found))
    return found.free_um.abs().mean()
"""


def test_a_loss_of_surfaces_is_given_a_prepared_batch_and_the_surfaces(tiny_eyes, tmp_path, monkeypatch):
    (tmp_path / "own_terms_of_surfaces.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    weights = {"surfaces": 1.0, "own_terms_of_surfaces.height": 0.1}
    model = SurfaceModel(SHAPE, encoder="own", surface_width=8, weights=weights)
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    ((batch, found),) = importlib.import_module("own_terms_of_surfaces").given
    assert batch["aligned"].shape == batch["mask"].shape == batch["volume"].shape
    assert batch["lines"].shape == (2, 3, 6, 48) and isinstance(found, SurfaceDistribution)
    assert trainer.callback_metrics["train/generator/own_terms_of_surfaces.height"] > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Pix2Vol(SHAPE, encoder="own", feature_width=0, bscan_width=0),
            "adversarial: expected a discriminator, found none; set feature_width, bscan_width or volume",
        ),
        (lambda: VoxelGAN(SHAPE, bscan_width=0), "adversarial: .* set bscan_width or volume_width above 0"),
        (
            lambda: VoxelGAN(SHAPE, bscan_width=0, weights={"l1": 1.0, "feature_matching": 1.0}),
            "weights: feature_matching: expected a discriminator",
        ),
    ],
)
def test_terms_of_discriminators_need_one(make, message):
    with pytest.raises(ValueError, match=message):
        make().configure_training()


def test_surfaces_whose_spread_nothing_teaches_are_warned_of():
    def made(kind, *terms):
        return kind(SHAPE, encoder="own", weights=dict.fromkeys(terms, 1.0))

    for kind in (SurfaceModel, Pix2Vol):
        with pytest.warns(
            UserWarning, match="without energy and crps nothing teaches .* give energy and crps"
        ):
            made(kind, "surfaces").configure_training()
        with warnings.catch_warnings(action="error"):
            made(kind, "surfaces", "energy").configure_training()
            made(kind, "surfaces", "crps").configure_training()


def test_the_network_that_measures_is_warned_of_as_a_loss(monkeypatch):
    named = []

    def load(name):
        named.append(name)
        return nn.Conv2d(1, 2, 3)

    monkeypatch.setattr("fund2oct.models.voxel_gan.load_feature_network", load)
    weights = {"l1": 1.0, "perceptual": 1.0}
    with warnings.catch_warnings(action="error"):
        VoxelGAN(SHAPE, weights=weights).configure_training()
    with pytest.warns(UserWarning, match="perceptual: efficientnet_lite0 also measures the image distance"):
        VoxelGAN(SHAPE, weights=weights, perceptual="efficientnet_lite0").configure_training()
    assert named == ["efficientnet_lite1", "efficientnet_lite0"]
