"""The OCT network against a port in NumPy, resized by SciPy."""

import numpy as np
import numpy_reference
import pytest
import torch
from scipy import ndimage

from fund2oct.networks.features.weight_files import read_tensors


@pytest.mark.slow
def test_equals_the_port(oct3d, oct3d_file):
    volume = ndimage.gaussian_filter(np.random.default_rng(0).random((6, 50, 40)), (0, 2, 2))
    volume = (volume - volume.min()) / np.ptp(volume)
    zoom = [new / old for new, old in zip((64, 128, 64), volume.shape, strict=True)]
    cube = 255 * ndimage.zoom(volume, zoom, order=1)
    axial_first = cube.transpose(1, 0, 2)[None, ..., None].astype(np.float32)
    expected = numpy_reference.oct3d(read_tensors(oct3d_file), axial_first)
    with torch.no_grad():
        found = oct3d.features(torch.tensor(volume)[None, None].float())
    for name, value in zip(("logits", "pooled"), expected, strict=True):
        assert found[name].shape == (1, oct3d.num_features[name])
        error = np.abs(found[name].numpy() - value).max() / np.abs(value).max()
        print(f"{name}: {error:.1e} of the largest")
        assert error < 1e-4


def test_turned_volumes_are_others(oct3d, real_data):
    import tifffile

    (file,) = sorted((real_data / "macular_hole").rglob("*.tif*"))[:1]
    scan = torch.tensor(tifffile.imread(file).astype(np.float32) / 255)[None, None]
    with torch.no_grad():
        upright, upside_down = (oct3d.features(x)["pooled"] for x in (scan, scan.flip(3)))
        noisy = oct3d.features((scan + 0.001 * torch.randn_like(scan)).clamp(0, 1))["pooled"]
    assert (upright - upside_down).norm() > 20 * (upright - noisy).norm()


def test_colour_is_averaged_and_the_network_is_frozen(oct3d):
    assert oct3d.min_frames == 1 and not any(p.requires_grad for p in oct3d.parameters())
    volume = torch.rand(1, 3, 1, 128, 64)
    with torch.no_grad():
        colour, grey = (oct3d.features(x)["pooled"] for x in (volume, volume.mean(1, keepdim=True)))
    torch.testing.assert_close(colour, grey, rtol=1e-4, atol=1e-4)


def test_images_are_refused(oct3d):
    with pytest.raises(ValueError, match=r"oct3d: expected videos .* found \(1, 1, 128, 64\)"):
        oct3d.features(torch.zeros(1, 1, 128, 64))
