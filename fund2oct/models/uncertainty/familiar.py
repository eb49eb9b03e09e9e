"""How much a photo is like those that a model was trained on, as its encoder sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fund2oct.data.preparing.photo import photo_tensor
from fund2oct.eye import Array, DataError

if TYPE_CHECKING:
    from fund2oct.models.base import VolumeModel

UNLIKE = 1.5
"""Distance from which on a photo counts as unlike; of new photos like those of the training few are there."""
_LEAST, _MOST, _BATCH = 64, 256, 16
"""Photos of a training: fewer cannot tell what is usual, more are not needed; and as many at a time."""
_N_DIRECTIONS = 16
_FOLDS = 16
"""Parts of the photos, each of which is judged by the others; with few parts each is judged by too few."""
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class FamiliarPhotos:
    r"""Distribution of the encoder's features over the photos of a training.

    Each of the encoder's maps is averaged over the photo. The features, divided by their standard deviations,
    are taken as normal, with a covariance of few directions and the same variance :math:`r` in all
    others [1]. With the directions :math:`v_k`, their variances :math:`\lambda_k`, and :math:`D` scaled
    features :math:`z`, the distance of a photo is that of Mahalanobis, as it tells photos of another kind
    apart in [2],

    .. math::
        d^2 = \frac1D \left( \sum_k \frac{(v_k \cdot z)^2}{\lambda_k} +
        \frac1r \Bigl| z - \sum_k (v_k \cdot z) \, v_k \Bigr|^2 \right)

    Photos from which it was learned lie nearer than new ones, the more so the fewer there were. So parts of
    them are judged by the others, and all variances are multiplied by one number with which the median
    distance of photos that are judged so is 1: 1 is usual for *new* photos of the same kind.

    Args:
        mean: of the features, shape ``(D,)``.
        scale: their standard deviations, same shape.
        directions: unit vectors, shape ``(K, D)``.
        variances: along these, shape ``(K,)``.
        rest: variance along all others.

    References:
        [1] Tipping and Bishop, Probabilistic principal component analysis, J R Stat Soc B 1999.

        [2] Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018,
        arXiv:1807.03888, equation 2.

    Example:
        >>> features = torch.randn(500, 40)
        >>> usual = FamiliarPhotos.fit(features)
        >>> abs(float(usual.distance(torch.randn(500, 40)).median()) - 1) < 0.05
        True
        >>> bool(usual.distance(features[:5] + 4).min() > UNLIKE)
        True
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    variances: Tensor
    rest: float

    @classmethod
    def fit(cls, features: Tensor) -> FamiliarPhotos:
        """Learn from the features ``(N, D)`` of training photos; those of one patient follow each other."""
        features = features.detach().double().cpu()
        away = []
        for part in torch.arange(len(features)).chunk(_FOLDS):
            others = torch.ones(len(features), dtype=torch.bool).index_fill(0, part, False)
            away.append(cls._fitted(features[others]).distance(features[part]))
        found, factor = cls._fitted(features), float(torch.cat(away).median()) ** 2
        return replace(found, variances=factor * found.variances, rest=factor * found.rest)

    @classmethod
    def _fitted(cls, features: Tensor) -> FamiliarPhotos:
        """Learn, with a mean square distance of 1 over these very photos."""
        mean, scale = features.mean(0), features.std(0, correction=0).clamp(min=_TINY)
        scaled = (features - mean) / scale
        variances, directions = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
        kept = min(_N_DIRECTIONS, len(variances) - 1)
        rest = max(float(variances[:-kept].mean()), _TINY)
        directions, variances = directions[:, -kept:].T.contiguous(), variances[-kept:].clamp(min=_TINY)
        return cls(mean.float(), scale.float(), directions.float(), variances.float(), rest)

    def distance(self, features: Tensor) -> Tensor:
        """Distances of photos ``(N, D)``, shape ``(N,)``; 1 is usual, from 1.5 on unlike."""
        scaled = (features.detach().float().cpu() - self.mean) / self.scale
        along = scaled @ self.directions.T
        others = (scaled.square().sum(1) - along.square().sum(1)).clamp(min=0)
        return (((along.square() / self.variances).sum(1) + others / self.rest) / len(self.mean)).sqrt()

    def to_dict(self) -> dict[str, Any]:
        """Tensors by name, as stored in a checkpoint."""
        return self.__dict__ | {"rest": torch.tensor(self.rest)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FamiliarPhotos:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{**values, "rest": float(values["rest"])})


def photo_features(maps: Tensor | Sequence[Tensor]) -> Tensor:
    """Means of an encoder's maps, or its only one, over the photo, shape ``(B, D)``."""
    maps = [maps] if isinstance(maps, Tensor) else maps
    return torch.cat([each.detach().float().mean((2, 3)) for each in maps], 1)


def looked_at(n: int) -> Tensor:
    """Numbers of the photos, of ``n`` of a training, from which is learned what is usual.

    Example:
        >>> looked_at(3), len(looked_at(10_000))
        (tensor([0, 1, 2]), 256)
    """
    return torch.linspace(0, n - 1, min(n, _MOST)).long()


@torch.no_grad()
def familiar_photos(encoder: nn.Module, dataset: Any, device: torch.device) -> FamiliarPhotos | None:
    """How the photos of a training look to an encoder, as they are, without augmentation.

    Args:
        encoder: makes maps of photos.
        dataset: the eyes of the training, with ``photo(number)`` like
            :class:`fund2oct.data.FundusOCTDataset`.
        device: where the encoder is.

    Returns:
        What is usual; None if the dataset has no such photos, or too few. A photo that several eyes share, as
        those that were simulated behind one, counts once.
    """
    if not hasattr(dataset, "photo") or len(dataset) < _LEAST:
        return None
    seen, digests = list[Tensor](), set[bytes]()
    for numbers in looked_at(len(dataset)).split(_BATCH):
        photos = []
        for number in numbers.tolist():
            with suppress(DataError):  # a damaged eye is the loader's to tell of
                photo = dataset.photo(number)
                digest = hashlib.sha256(photo.numpy().tobytes()).digest()
                if digest not in digests:
                    photos.append(photo)
                digests.add(digest)
        if photos:
            seen.append(photo_features(encoder(torch.stack(photos).to(device))))
    features = torch.cat(seen) if seen else torch.empty(0)
    return FamiliarPhotos.fit(features) if len(features) >= _LEAST else None


@torch.inference_mode()
def photo_distance(model: VolumeModel, fundus: Array) -> float | None:
    """How far a photo is from those that a model was trained on.

    It tells other cameras, blur and eyes of another kind. It does not tell how wrong the model is there, and
    a usual photo may still hide a disease that the training did not have.

    Args:
        model: a trained model.
        fundus: photo, cropped and prepared as in the training, RGB, uint8, shape ``(H, H, 3)``.

    Returns:
        The distance, where 1 is usual, and 1.5 or more is unlike; None if the model does not know it.

    Example:
        >>> from fund2oct.models import load_model
        >>> import numpy as np
        >>> photo_distance(load_model("model.ckpt"), np.zeros((48, 48, 3), np.uint8))  # of too few photos
    """
    usual = model.task.photos if model.task else None
    if usual is None:
        return None
    encoder: nn.Module = model.generator_ema.module.encoder  # type: ignore[assignment]
    photo = photo_tensor(fundus).to(model.device)
    return float(usual.distance(photo_features(encoder(photo))))


def unlike_note(distance: float) -> str:
    """A warning if a photo at this distance, see :func:`photo_distance`, is unlike the others; else empty."""
    if distance < UNLIKE:
        return ""
    return (
        f"the photo is unlike those of the training (distance {distance:.1f}; 1 is usual, {UNLIKE:g} or "
        "more is unlike): the quality of the result and of its intervals is unknown"
    )


def unknown_note(model: VolumeModel) -> str:
    """A warning if a model cannot tell photos unlike those of its training, whose silence means nothing.

    Args:
        model: a trained model.

    Returns:
        The warning; empty if the model can tell them.

    Example:
        >>> from fund2oct.models import load_model
        >>> unknown_note(load_model("model.ckpt")).partition(":")[0]
        'the model cannot tell photos unlike those of its training'
    """
    if model.task is not None and model.task.photos is not None:
        return ""
    return (
        f"the model cannot tell photos unlike those of its training: it saw fewer than {_LEAST} photos, was "
        "saved before the end of its training, or is of a class that does not learn it, "
        f"{type(model).__name__}; that no photo is said to be unlike means nothing"
    )
