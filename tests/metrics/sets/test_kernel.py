import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from fund2oct.metrics.sets.kernel import kernel_distance


def _sets(n_real: int = 9, n_fake: int = 13, width: int = 5) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(2)
    real = torch.randn(n_real, width, generator=rng)
    return real, torch.randn(n_fake, width, generator=rng) + 0.2


def _by_loops(real: Tensor, fake: Tensor, degree: int, gamma: float, coefficient: float) -> float:
    def kernel(a: Tensor, b: Tensor) -> float:
        return (gamma * (a.double() @ b.double()).item() + coefficient) ** degree

    def inside(features: Tensor) -> float:
        pairs = [(i, j) for i in range(len(features)) for j in range(len(features)) if i != j]
        return sum(kernel(features[i], features[j]) for i, j in pairs) / len(pairs)

    between = sum(kernel(a, b) for a in real for b in fake) / (len(real) * len(fake))
    return inside(real) + inside(fake) - 2 * between


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"degree": 1},
        {"degree": 2, "gamma": 0.3, "coefficient": 0.5},
    ],
)
def test_agrees_with_loops_over_pairs(options: dict[str, float]) -> None:
    real, fake = _sets()
    expected = _by_loops(real, fake, **{"degree": 3, "gamma": 1 / 5, "coefficient": 1.0} | options)
    found = kernel_distance(real, fake, **options)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("width", [3, 40])
def test_agrees_with_torchmetrics(width: int) -> None:
    real, fake = (features.double() for features in _sets(20, 20, width))
    assert kernel_distance(real, fake).item() == pytest.approx(poly_mmd(real, fake).item(), rel=1e-10)


@pytest.mark.parametrize("block", [1, 4, 9, 10, 13, 1024])
def test_any_block_gives_the_same(block: int) -> None:
    real, fake = _sets()
    assert kernel_distance(real, fake, block=block).item() == pytest.approx(
        kernel_distance(real, fake).item(), rel=1e-12
    )


def test_memory_is_that_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    product = Tensor.__matmul__

    def watched(a: Tensor, b: Tensor) -> Tensor:
        nonlocal largest
        result = product(a, b)
        largest = max(largest, result.numel())
        return result

    monkeypatch.setattr(Tensor, "__matmul__", watched)
    kernel_distance(*_sets(300, 200), block=32)
    assert 0 < largest <= 32 * 32


def test_linear_kernel_is_the_distance_of_means() -> None:
    # E of the unbiased estimate: the squared distance of the expectations, here 5 * 0.2**2.
    values = torch.tensor([
        kernel_distance(*(torch.randn(40, 5, dtype=torch.float64) + s for s in (0, 0.2)), 1, 1.0, 0.0)
        for _ in range(500)
    ])  # fmt: skip
    assert values.mean().item() == pytest.approx(0.2, abs=4 * values.std().item() / 500**0.5)


def test_unbiased_whatever_the_number() -> None:
    for count in (4, 12):
        drawn = torch.randn(2000, 2, count, 6, dtype=torch.float64)
        values = torch.tensor([kernel_distance(*pair) for pair in drawn])
        assert abs(values.mean()) < 4 * values.std() / len(values) ** 0.5


BAD = {
    "one sample": (torch.rand(1, 4), torch.rand(5, 4), {}, "at least two samples"),
    "NaN": (torch.rand(5, 4), torch.full((5, 4), torch.nan), {}, "finite"),
    "widths": (torch.rand(5, 4), torch.rand(5, 3), {}, "one width"),
    "degree": (torch.rand(5, 4), torch.rand(5, 4), {"degree": 0}, "degree and block"),
    "block": (torch.rand(5, 4), torch.rand(5, 4), {"block": 0}, "degree and block"),
}


@pytest.mark.parametrize(("real", "fake", "options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(real: Tensor, fake: Tensor, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernel_distance(real, fake, **options)
