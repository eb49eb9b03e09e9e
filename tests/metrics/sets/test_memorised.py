"""One pattern in every eye: identical fences, independent noise, and pairs counted one by one."""

import itertools

import numpy as np
import pytest
import torch

from fund2oct.metrics.sets.memorised import correlation_between_eyes, deep_contrast
from fund2oct.retina import ALIGNED_DEPTH

N, S, Z, X = 5, 3, 60, 41


def test_the_same_fence_in_all_eyes_is_one_and_noise_is_none() -> None:
    fence = torch.rand(1, 1, S, 1, X).expand(N, 1, S, Z, X)
    assert correlation_between_eyes(deep_contrast(fence, 0.024)).item() == pytest.approx(1)
    noise = torch.rand(N, 1, S, Z, X)
    assert abs(correlation_between_eyes(deep_contrast(noise, 0.024)).item()) < 0.05
    half = correlation_between_eyes(deep_contrast((fence + noise) / 2, 0.024)).item()
    assert half == pytest.approx(0.5, abs=0.1)


def test_it_is_the_mean_over_the_pairs() -> None:
    contrast = torch.randn(N, S, 4, X) + torch.randn(1, S, 4, X)
    expected = np.mean([
        np.corrcoef(contrast[i, s].numpy().ravel(), contrast[j, s].numpy().ravel())[0, 1]
        for s in range(S)
        for i, j in itertools.permutations(range(N), 2)
    ])  # fmt: skip
    assert correlation_between_eyes(contrast).item() == pytest.approx(expected, abs=1e-5)


def test_the_mean_profile_is_no_pattern_and_the_retina_above_does_not_count() -> None:
    profile = torch.linspace(0, 1, Z)[:, None].expand(N, 1, S, Z, X) / 2
    volume = profile + 0.01 * torch.rand(N, 1, S, Z, X)
    outer = int(ALIGNED_DEPTH * Z)
    volume[:, :, :, : outer + 1] += 0.5 * torch.rand(1, 1, S, outer + 1, X)
    contrast = deep_contrast(volume, 0.024)
    assert abs(correlation_between_eyes(contrast).item()) < 0.05
    # Rows 36 to 42 of 24 um: centres at 36.5 - 36 and so on, from 30 to 150 um below row 36.
    assert contrast.shape == (N, S, 5, X)
    bright = torch.zeros(1, 1, S, Z, X)
    bright[0, 0, 1, outer + 1, 7] = 1
    assert deep_contrast(bright, 0.024)[0, 1, 0, 7] > 0.9


def test_what_cannot_be_compared_is_said() -> None:
    assert correlation_between_eyes(torch.randn(1, S, 2, X)).isnan()
    assert correlation_between_eyes(torch.zeros(2, S, 2, X)) == 0
    with pytest.raises(ValueError, match="one for all eyes"):
        deep_contrast(torch.rand(2, 1, S, Z, X), torch.tensor([0.024, 0.012]))
    with pytest.raises(ValueError, match="no row"):
        deep_contrast(torch.rand(1, 1, S, 10, X), 0.4)
