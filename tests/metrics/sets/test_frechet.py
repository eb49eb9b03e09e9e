import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from fund2oct.metrics.sets.frechet import frechet_distance

SIZES = {
    "N < d": (20, 30, 50),
    "N = d": (40, 40, 40),
    "N > d": (90, 70, 12),
    "one side of d": (10, 80, 30),
    "two samples": (2, 2, 5),
}


def _sets(n_real: int, n_fake: int, width: int, rank: int | None = None) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(n_real + width)
    mixing = torch.randn(rank or width, width, generator=rng, dtype=torch.float64) / width**0.5
    real = torch.randn(n_real, len(mixing), generator=rng, dtype=torch.float64) @ mixing
    fake = 0.7 * torch.randn(n_fake, len(mixing), generator=rng, dtype=torch.float64) @ mixing
    return real, fake + 0.3


def _by_scipy(real: Tensor, fake: Tensor) -> float:
    real, fake = real.numpy(), fake.numpy()
    first, second = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    # Symmetric roots, which SciPy finds for singular matrices as well.
    root = scipy.linalg.sqrtm(first).real
    middle = scipy.linalg.sqrtm(root @ second @ root).real
    means = np.square(real.mean(0) - fake.mean(0)).sum()
    return float(means + np.trace(first) + np.trace(second) - 2 * np.trace(middle))


class _Identity(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def _by_torchmetrics(real: Tensor, fake: Tensor) -> float:
    metric = FrechetInceptionDistance(feature=_Identity(real.shape[1]))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return metric.compute().item()


@pytest.mark.filterwarnings("ignore:Matrix is singular")
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_agrees_with_scipy_and_torchmetrics(sizes: tuple[int, int, int]) -> None:
    real, fake = _sets(*sizes)
    found = frechet_distance(real, fake)
    assert found.dtype == torch.float64
    assert found.ndim == 0
    assert found.item() == pytest.approx(_by_scipy(real, fake), rel=1e-6)
    assert found.item() == pytest.approx(_by_torchmetrics(real, fake), rel=1e-6)


@pytest.mark.parametrize(("n_real", "n_fake"), [(60, 70), (8, 9)])
def test_rank_deficient(n_real: int, n_fake: int) -> None:
    real, fake = _sets(n_real, n_fake, 30, rank=4)
    assert frechet_distance(real, fake).item() == pytest.approx(_by_scipy(real, fake), rel=1e-6)
    constant = torch.full((6, 30), 0.25, dtype=torch.float64)
    # The covariance is 0: what remains are the means and the other side's variance.
    expected = (real.mean(0) - 0.25).square().sum() + real.var(0).sum()
    assert frechet_distance(real, constant).item() == pytest.approx(expected.item(), rel=1e-12)
    assert frechet_distance(constant, constant).item() == 0


def _gaussian(mean: Tensor, covariance: Tensor, count: int) -> Tensor:
    """Samples that have exactly these moments."""
    drawn = torch.randn(count, len(mean), dtype=torch.float64)
    white = torch.linalg.qr(drawn - drawn.mean(0)).Q * math.sqrt(count - 1)
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_closed_form_of_two_gaussians() -> None:
    width = 5
    mean = torch.arange(width, dtype=torch.float64)
    # Covariances that commute: the trace of the root is that of the products of deviations.
    turn = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64)).Q
    first = torch.tensor([1.0, 4, 9, 16, 25], dtype=torch.float64)
    second = torch.tensor([4.0, 1, 1, 25, 9], dtype=torch.float64)
    real = _gaussian(0 * mean, turn @ first.diag() @ turn.T, 60)
    fake = _gaussian(mean, turn @ second.diag() @ turn.T, 45)
    expected = mean.square().sum() + (first.sqrt() - second.sqrt()).square().sum()
    assert frechet_distance(real, fake).item() == pytest.approx(expected.item(), rel=1e-10)


def test_closed_form_of_two_gaussians_that_do_not_commute() -> None:
    first = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    second = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    # Of a 2 x 2 matrix: tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)).
    product = first @ second
    root = math.sqrt(product.trace().item() + 2 * math.sqrt(torch.linalg.det(product).item()))
    real, fake = (_gaussian(torch.zeros(2, dtype=torch.float64), c, 30) for c in (first, second))
    assert frechet_distance(real, fake).item() == pytest.approx(8 - 2 * root, rel=1e-10)


def test_symmetric_and_zero_for_equal_sets() -> None:
    real, fake = _sets(20, 33, 50)
    assert frechet_distance(real, fake).item() == pytest.approx(
        frechet_distance(fake, real).item(), rel=1e-12
    )
    for size in SIZES.values():
        real, _ = _sets(*size)
        assert 0 <= frechet_distance(real, real.flip(0)).item() < 1e-12 * real.var(0).sum().item()


def test_of_single_precision_features_far_from_zero() -> None:
    real, fake = (100 + features.float() for features in _sets(30, 30, 50))
    expected = _by_scipy(real.double(), fake.double())
    assert frechet_distance(real, fake).item() == pytest.approx(expected, rel=1e-6)


BAD = {
    "one sample": (torch.rand(1, 4), torch.rand(5, 4), "real features: expected at least two samples"),
    "no sample": (torch.rand(5, 4), torch.rand(0, 4), "fake features: expected at least two.*found 0"),
    "NaN": (torch.rand(5, 4), torch.tensor([[0.0] * 4, [math.nan] * 4]), "fake.*finite.*sample 1"),
    "infinite": (torch.full((3, 4), math.inf), torch.rand(5, 4), "real.*finite.*sample 0"),
    "widths": (torch.rand(5, 4), torch.rand(5, 3), "one width, found 4 and 3"),
    "shape": (torch.rand(5, 4, 2), torch.rand(5, 4), r"expected \(N, d\)"),
}


@pytest.mark.parametrize(("real", "fake", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(real: Tensor, fake: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(real, fake)
