import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import map_coordinates

from fund2oct.metrics.sets.resize import RESIZES, resize_images

SIZES = [((17, 23), (8, 11)), ((17, 23), (34, 31)), ((40, 56), (28, 28))]


def _by_scipy(image: np.ndarray, size: tuple[int, int], offset: float) -> np.ndarray:
    rows, columns = (
        np.clip((np.arange(new) + offset) * old / new - offset, 0, old - 1)
        for old, new in zip(image.shape, size, strict=True)
    )
    return map_coordinates(image, np.meshgrid(rows, columns, indexing="ij"), order=1)


@pytest.mark.parametrize(("method", "offset"), [("legacy", 0.0), ("bilinear", 0.5)])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_agrees_with_scipy(method, offset, old, new) -> None:
    images = torch.rand(2, 3, *old, dtype=torch.float64)
    found = resize_images(images, new, method)
    assert found.shape == (2, 3, *new)
    for image, expected in zip(found.flatten(0, 1), images.flatten(0, 1), strict=True):
        np.testing.assert_allclose(image, _by_scipy(expected.numpy(), new, offset), atol=1e-12)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_antialias_agrees_with_pillow(old, new) -> None:
    image = torch.rand(1, 1, *old)
    expected = Image.fromarray(image[0, 0].numpy()).resize(new[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(resize_images(image, new, "antialias")[0, 0], np.asarray(expected), atol=1e-5)


def test_legacy_copies_pixels_read_in_their_places() -> None:
    image = torch.rand(1, 1, 6, 8)
    assert torch.equal(resize_images(image, (3, 4), "legacy"), image[..., ::2, ::2])


@pytest.mark.parametrize("method", RESIZES)
def test_nothing_to_do_and_range(method) -> None:
    image = torch.rand(1, 1, 6, 8).round()
    assert torch.equal(resize_images(image, (6, 8), method), image)
    small = resize_images(image, (4, 5), method)
    assert small.min() >= -1e-6
    assert small.max() <= 1 + 1e-6


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="expected one of legacy, bilinear, antialias, found 'crop'"):
        resize_images(torch.rand(1, 1, 6, 8), (3, 4), "crop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        resize_images(torch.rand(6, 8), (3, 4), "legacy")
