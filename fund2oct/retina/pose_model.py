"""The distribution of poses, from which a generated volume gets its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fund2oct.retina.pose import N_PARABOLA

_SINGLE_UM = (60.0, 40.0, 20.0)
"""Standard deviations assumed where one pose is all that is known: height, tilt, curvature. Higher
degrees stay as they are."""


@dataclass(frozen=True, eq=False)
class PoseModel:
    """How poses are spread over eyes: a normal distribution over the coefficients of all slices together.

    Args:
        mean_um: mean pose, shape ``(S, K)``, K at least 3.
        factor_um: lower triangular root of the covariance, shape ``(K S, K S)``.

    Example:
        >>> from fund2oct.data import FundusOCTDataset
        >>> poses_um = FundusOCTDataset("eyes.h5").poses()
        >>> model = PoseModel.fit(poses_um)
        >>> poses_um.shape, model.sample(5, torch.Generator().manual_seed(0)).shape
        (torch.Size([24, 6, 7]), torch.Size([5, 6, 7]))
    """

    mean_um: Tensor
    factor_um: Tensor

    @classmethod
    def fit(cls, poses_um: Tensor) -> PoseModel:
        r"""Fit the distribution, its covariance shrunk towards its diagonal.

        .. math:: (1 - \lambda) C + \lambda \, \mathrm{diag}(C), \qquad \lambda = D / (D + N)

        with ``N`` poses of ``D`` coefficients: of few poses only the variances are believed.

        Args:
            poses_um: shape ``(N, S, K)``, N at least 1.

        Raises:
            ValueError: if the shape is another, or a value is not finite.
        """
        if poses_um.ndim != 3 or len(poses_um) < 1 or poses_um.shape[-1] < N_PARABOLA:
            raise ValueError(
                f"poses: expected (N, S, K), N at least 1 and K at least {N_PARABOLA}, "
                f"found {tuple(poses_um.shape)}"
            )
        if not poses_um.isfinite().all():
            raise ValueError("poses: expected finite micrometres, found NaN or infinity")
        n_coefficients = poses_um.shape[-1]
        flat = poses_um.detach().cpu().double().flatten(1)
        n, d = flat.shape
        if n == 1:
            deviations = torch.zeros(d // n_coefficients, n_coefficients, dtype=torch.float64)
            deviations[:, :N_PARABOLA] = torch.tensor(_SINGLE_UM)
            covariance = deviations.flatten().square().diag()
        else:
            sample = flat.T.cov()
            keep = n / (d + n)
            covariance = keep * sample + (1 - keep) * sample.diag().diag()
        # Slices that never moved have no variance, of which there is no root.
        factor = torch.linalg.cholesky(covariance + 1e-3 * torch.eye(d, dtype=torch.float64))
        return cls(flat.mean(0).view(-1, n_coefficients).float(), factor.float())

    def sample(self, n: int, rng: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` poses, shape ``(n, S, K)``."""
        noise = torch.randn(n, len(self.factor_um), generator=rng)
        return self.mean_um + (noise @ self.factor_um.T).view(n, *self.mean_um.shape)

    def to_dict(self) -> dict[str, Tensor]:
        """The tensors, as stored in a checkpoint."""
        return {"mean_um": self.mean_um, "factor_um": self.factor_um}

    @classmethod
    def from_dict(cls, values: dict[str, Tensor]) -> PoseModel:
        """Read what :meth:`to_dict` wrote."""
        return cls(values["mean_um"], values["factor_um"])
