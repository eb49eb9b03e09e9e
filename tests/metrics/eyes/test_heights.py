"""Heights, pooled correlation and coverage, against closed forms and NumPy."""

import math

import numpy as np
import pytest
import torch

from fund2oct.metrics.eyes.heights import (
    correlation_of_sums,
    correlation_sums,
    epithelium_height_um,
    interval_coverage,
    pooled_correlation,
)
from fund2oct.retina import pose_surface_um


def test_an_epithelium_on_the_pose_has_no_height() -> None:
    pose = torch.randn(2, 3, 3) * 50 + 900
    rpe = pose_surface_um(pose, 7)
    rpe[1, 2, 4] -= 130
    height = epithelium_height_um(rpe, pose)
    assert height[1, 2, 4].item() == pytest.approx(130, abs=1e-2)
    height[1, 2, 4] = 0
    assert height.abs().max() < 1e-2


def test_the_pooled_correlation_is_that_of_all_ascans() -> None:
    a, b = torch.randn(4, 3, 9), torch.randn(4, 3, 9)
    b = b + a * torch.tensor([0.0, 1, 2, 3]).view(4, 1, 1)
    a[0, 1, 2], b[3, 0, 0] = math.nan, math.nan
    known = (a.isfinite() & b.isfinite()).numpy()
    expected = np.corrcoef(a.numpy()[known], b.numpy()[known])[0, 1]
    assert pooled_correlation(a, b).item() == pytest.approx(expected, abs=1e-5)
    assert pooled_correlation(a, 3 * a + 5).item() == pytest.approx(1)
    # Each eye's own shape, but all of one height: the mean of the eyes' correlations would be 1.
    shape = torch.linspace(0, 1, 27).view(1, 3, 9)
    assert pooled_correlation(shape.expand(2, -1, -1), torch.cat([shape, shape + 10])) < 0.2


def test_the_sums_of_each_eye_make_the_pooled_correlation_of_any_of_them() -> None:
    a, b = 300 + 40 * torch.randn(4, 3, 9), 100 + 40 * torch.randn(4, 3, 9)
    b = b + a * torch.tensor([0.0, 1, 2, 3]).view(4, 1, 1)
    a[0, 1, 2], b[3, 0, 0] = math.nan, math.nan
    sums = correlation_sums(a, b)
    for some in ([0, 1, 2, 3], [0, 2], [1]):
        found = correlation_of_sums({part: each[some].sum() for part, each in sums.items()})
        known = (a[some].isfinite() & b[some].isfinite()).numpy()
        expected = np.corrcoef(a[some].numpy()[known], b[some].numpy()[known])[0, 1]
        assert found.item() == pytest.approx(expected, abs=1e-6)


def test_what_cannot_be_correlated_is_nan() -> None:
    assert pooled_correlation(torch.ones(1, 2, 3), torch.randn(1, 2, 3)).isnan()
    assert pooled_correlation(torch.full((1, 2, 3), math.nan), torch.randn(1, 2, 3)).isnan()
    with pytest.raises(ValueError, match="one shape"):
        pooled_correlation(torch.ones(1, 2, 3), torch.ones(1, 3, 2))
    assert correlation_of_sums(correlation_sums(torch.full((1, 2, 3), 7.1), torch.randn(1, 2, 3))).isnan()


def test_the_interval_of_a_normal_covers_what_it_says() -> None:
    real = torch.randn(2, 50, 400) * torch.tensor([1.0, 2.0]).view(2, 1, 1)
    interval = torch.tensor([-1.2816, 1.2816]).view(1, 2, 1, 1).expand(2, 2, 50, 400)
    found = interval_coverage(interval, real)
    assert found[0].item() == pytest.approx(0.8, abs=0.01)
    assert found[1].item() == pytest.approx(math.erf(0.6408 / math.sqrt(2)), abs=0.01)


def test_unknown_ascans_do_not_count_and_unknown_intervals_cover_nothing() -> None:
    real = torch.tensor([[[1.0, 2.0, math.nan, 4.0]]])
    interval = torch.tensor([[[[1.0, 0.0, 0.0, math.nan]], [[1.0, 1.0, 9.0, math.nan]]]])
    assert interval_coverage(interval, real).item() == pytest.approx(1 / 3)
    assert interval_coverage(interval, torch.full_like(real, math.nan)).isnan()
    with pytest.raises(ValueError, match=r"\(B, 2, S, X\)"):
        interval_coverage(interval[:, :1], real)
