"""Parts that are computed once more give the same gradients from a fraction of the memory."""

import pytest
import torch

from fund2oct.data import FundusOCTDataModule
from fund2oct.models import Pix2Vol, SurfaceModel, VoxelGAN
from fund2oct.models.baselines import Pix2PixHD
from fund2oct.models.pretraining import MaskedPhotos
from fund2oct.models.task import Task
from fund2oct.models.training.memory import step_memory
from fund2oct.networks.blocks import set_recompute
from fund2oct.networks.features import EfficientNetLite0, EfficientNetLite1
from fund2oct.networks.features.base import weights_follow
from fund2oct.networks.noise import NoiseSource

SHAPE = (6, 32, 48)
GIB = 2**30


def built(kind, shape, **options):
    torch.manual_seed(0)
    with weights_follow():
        model = kind(**options) if kind is MaskedPhotos else kind(shape, **options)
        model.configure_model()
        model.configure_training()
    return model


def gradients(model, batch, share):
    """Of all weights after a step of both sides."""
    model.share_done = lambda step=None: share
    model.step_noise = lambda: NoiseSource([torch.Generator().manual_seed(3)])
    model.step_generator = lambda losses, *_: sum(losses.values()).backward()
    model._step_discriminators = model.step_generator
    model.zero_grad()
    model.training_step(dict(batch), 0)
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Pix2Vol, {"encoder": "own", "feature_width": 8, "bscan_width": 8, "volume_width": 8}),
        (VoxelGAN, {"channels": (8, 8, 16), "volume_width": 8, "n_layers": 2}),
        (SurfaceModel, {"encoder": "own", "surface_width": 8}),
        (MaskedPhotos, {"encoder": "own"}),
        (Pix2PixHD, {"width": 4, "n_halvings": 2, "n_blocks": 2, "discriminator_width": 4, "n_scales": 2}),
    ],
)
def test_gradients_are_the_same(tiny_eyes, monkeypatch, kind, options):
    monkeypatch.setattr(
        EfficientNetLite1, "stages", tuple(stage._replace(blocks=1) for stage in EfficientNetLite0.stages)
    )
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    models = [built(kind, SHAPE, **options) for _ in range(2)]
    for model, on in zip(models, (False, True), strict=True):
        model.task = Task.of(data, SHAPE)
        set_recompute(model, on)
    for share in (0.0, 1.0):
        kept, recomputed = (gradients(model, batch, share) for model in models)
        assert kept.keys() == recomputed.keys() and len(kept) > 10
        for name, value in kept.items():
            torch.testing.assert_close(recomputed[name], value, msg=name)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(SurfaceModel, {"encoder": "own", "surface_width": 8}), (MaskedPhotos, {"encoder": "own"})],
)
def test_the_own_encoder_keeps_less(kind, options):
    sizes = {
        "fundus": (2, 3, 96, 96), "grid": (2, 6, 48, 2), "pose_um": (2, 6, 7), "surfaces_um": (2, 4, 6, 48)
    }  # fmt: skip
    batch = {name: torch.empty(size, device="meta") for name, size in sizes.items()}
    model = built(kind, SHAPE, **options)
    kept = step_memory(model, batch).step
    set_recompute(model, True)
    assert step_memory(model, batch).step < 0.5 * kept


def test_what_cannot_be_recomputed_is_said():
    model = built(SurfaceModel, SHAPE, encoder="own", surface_width=8)
    model.generator.encoder.requires_grad_(False)
    with pytest.warns(UserWarning, match="recompute: no trained part of this model can be"):
        set_recompute(model, True)


@pytest.mark.slow
def test_all_of_64_slices_fit_into_24_gib():
    shape = s, z, x = 64, 320, 448
    batch = {
        "fundus": (1, 3, 384, 384), "volume": (1, 1, s, z, x), "grid": (1, s, x, 2), "pose_um": (1, s, 7),
        "surfaces_um": (1, 4, s, x), "spacing_z_mm": (1,), "spacing_x_mm": (1,),
    }  # fmt: skip
    batch = {name: torch.empty(size, device="meta") for name, size in batch.items()} | {"key": ["eye"]}
    model = built(
        Pix2Vol, shape, encoder="efficientnet_lite0", texture=(16, 24, 32, 48, 64), judged_slices=0,
        volume_width=32, adversaries_from=0.5,
    )  # fmt: skip
    model.task = type("Task", (), {"spacing_mm": (0.1, 0.006, 0.02)})()
    kept = step_memory(model, batch).total
    set_recompute(model, True)
    recomputed = step_memory(model, batch).total
    assert kept > 20 * GIB and recomputed < 10 * GIB  # what CUDA takes itself comes on top
