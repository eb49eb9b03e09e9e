"""SAME padding against SciPy and by brute force, at even and odd sizes."""

import numpy as np
import numpy_reference
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from fund2oct.networks.features.i3d import _SamePool
from fund2oct.networks.features.padding import padded_for, same_padding

# TensorFlow's documentation of SAME: 13 inputs, kernel 6, stride 5 are padded by 1 and 2.
EVEN_AND_ODD = [(12, 7, 2), (13, 7, 2), (6, 3, 2), (7, 3, 2), (3, 2, 2), (4, 2, 2), (5, 3, 1), (13, 6, 5)]


@pytest.mark.parametrize("size, kernel, stride", EVEN_AND_ODD)
def test_same_padding(size, kernel, stride):
    ((before, after),) = same_padding([size], [kernel], [stride])
    if (size, kernel, stride) == (13, 6, 5):
        assert (before, after) == (1, 2)
    assert after - before in (0, 1)
    n_windows = (size + before + after - kernel) // stride + 1
    assert n_windows == -(-size // stride)
    if before + after:
        assert (n_windows - 1) * stride + kernel == size + before + after


@pytest.mark.parametrize("kernel, stride", [(7, 2), (3, 1)])
@pytest.mark.parametrize("shape", [(5, 8, 9), (4, 7, 6)])
def test_convolution_is_scipys_at_the_windows_centres(shape, kernel, stride):
    rng = np.random.default_rng(0)
    volume, weight = rng.normal(size=shape), rng.normal(size=(kernel,) * 3)
    full = ndimage.correlate(volume, weight, mode="constant")
    # A window begins at o s - before, and SciPy writes its sum at its centre.
    centres = [
        np.arange(-(-size // stride)) * stride - same_padding([size], [kernel], [stride])[0][0] + kernel // 2
        for size in shape
    ]
    x, w = (torch.tensor(array)[None, None] for array in (volume, weight))
    given, padding = padded_for(x, (kernel,) * 3, (stride,) * 3)
    assert (given is x) == (stride == 1)  # nothing is copied where both ends are alike
    found = F.conv3d(given, w, stride=stride, padding=padding)[0, 0]
    np.testing.assert_allclose(found, full[np.ix_(*centres)], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "kernel, stride",
    [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))],
)
@pytest.mark.parametrize("shape", [(3, 8, 9), (6, 7, 4), (5, 6, 7), (2, 1, 3)])
def test_pooling_never_sees_the_padding(shape, kernel, stride):
    # All negative, so that a padding with zeros would win at the edges.
    volume = -1 - np.random.default_rng(0).random((2, *shape, 4))
    expected = numpy_reference.max_pool(volume, kernel, stride)
    found = _SamePool(kernel, stride)(torch.tensor(volume).permute(0, 4, 1, 2, 3))
    np.testing.assert_array_equal(found.permute(0, 2, 3, 4, 1), expected)
    brute = np.empty(expected.shape)
    for index in np.ndindex(*expected.shape[1:4]):
        spans = []
        for o, size, k, s in zip(index, shape, kernel, stride, strict=True):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            start = o * s - total // 2
            spans.append(slice(max(start, 0), min(start + k, size)))
        brute[:, *index] = volume[:, *spans].max((1, 2, 3))
    np.testing.assert_array_equal(expected, brute)
