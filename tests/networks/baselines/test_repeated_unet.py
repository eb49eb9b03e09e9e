"""MONAI's U-Net in a volume's shape, and what is said where MONAI is not."""

import sys

import pytest
import torch

from fund2oct.networks.baselines.unet3d import RepeatedUNet
from fund2oct.run.config import ConfigError
from fund2oct.run.train import build


@pytest.mark.parametrize("shape", [(6, 32, 48), (5, 33, 47)])
def test_it_draws_its_shape_and_all_its_weights_learn(shape):
    generator = RepeatedUNet(shape, channels=(4, 8, 8), n_residual=1)
    photo, grid = torch.rand(2, 3, 40, 40), torch.zeros(2, shape[0], shape[2], 2)
    volume = generator(photo, grid)
    assert volume.shape == (2, 1, *shape)
    assert volume.min() >= 0 and volume.max() <= 1
    (volume * torch.rand_like(volume)).sum().backward()
    still = [name for name, weight in generator.named_parameters() if not weight.grad.abs().sum() > 0]
    # The convolutions before a normalisation have a bias, which that takes out.
    assert [name for name in still if not name.endswith("bias")] == []
    with pytest.raises(ValueError, match=r"grid: expected \(2, 5, 47, 2\)|grid: expected \(2, 6, 48, 2\)"):
        generator(photo, grid[:, :3])


def test_without_monai_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    message = r'unet3d needs MONAI: pip install "fund2oct\[monai\]"'
    with pytest.raises(ImportError, match=message):
        RepeatedUNet((6, 32, 48))
    # And before a training simulates its eyes.
    with pytest.raises(ConfigError, match=message):
        build("unet3d", ["trainer.accelerator=cpu"])
