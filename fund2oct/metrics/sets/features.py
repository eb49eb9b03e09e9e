"""What two sets of features must be to be compared."""

from __future__ import annotations

from torch import Tensor


def check_features(real: Tensor, fake: Tensor) -> None:
    """Refuse sets of features between which no distance is defined.

    Args:
        real: one sample a row, shape ``(N, d)``.
        fake: shape ``(M, d)``.

    Raises:
        ValueError: if a set has fewer than two samples, is not finite, or has another width.
    """
    for name, features in (("real", real), ("fake", fake)):
        if features.ndim != 2:
            raise ValueError(f"{name} features: expected (N, d), found shape {tuple(features.shape)}")
        if len(features) < 2:
            raise ValueError(f"{name} features: expected at least two samples, found {len(features)}")
        finite = features.isfinite().all(1)
        if not finite.all():
            row = int((~finite).int().argmax())
            raise ValueError(f"{name} features: expected finite numbers, found others in sample {row}")
    if real.shape[1] != fake.shape[1] or real.shape[1] == 0:
        raise ValueError(
            f"real and fake features: expected one width, found {real.shape[1]} and {fake.shape[1]}"
        )
