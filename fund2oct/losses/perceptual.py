"""Distance between the features that a frozen network sees in B-scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fund2oct.losses.masking import check_pair
from fund2oct.networks.features.base import FeatureNetwork


class PerceptualLoss(nn.Module):
    r"""Distance between generated and real B-scans in the feature maps of a frozen network.

    Two B-scans of one eye have different speckle: every pixel differs, though they look alike to us. A
    network that was trained on other pictures judges more as we do. Its first levels react to edges and
    textures, its later ones to shapes. At each position of each level, a B-scan's features are a vector.
    The vectors of the two B-scans are scaled to length 1, and the squared length of their difference is
    averaged:

    .. math:: \frac{1}{L} \sum_{l=1}^L E_{n,p} \left\|
        \frac{\phi_l(\hat V)_{np}}{\|\phi_l(\hat V)_{np}\|} - \frac{\phi_l(V)_{np}}{\|\phi_l(V)_{np}\|}
        \right\|^2

    over the levels :math:`l` of the network :math:`\phi`, the B-scans :math:`n` and the positions
    :math:`p`. The result is 0 where the features are equal and 4 where they are opposite. LPIPS is the same
    distance with learned weights of the channels; here all channels and levels weigh alike, so the values
    cannot be compared with those of LPIPS.

    The network is neither trained nor saved: it is not among this loss's ``parameters()`` nor in its
    ``state_dict()``, and it stays in evaluation mode. ``to()`` moves it with the loss.

    Args:
        network: maps images in [0, 1], shape ``(N, 1, H, W)``, to feature maps of shape ``(N, C, h, w)``, or
            to vectors ``(N, C)``, which have one position: one tensor, or a list or dictionary with one for
            each level; for example a network of images from
            :func:`fund2oct.networks.features.load_feature_network`.

    Raises:
        ValueError: if it is a feature network of videos, or one whose call returns no features.

    References:
        Johnson et al., ECCV 2016, arXiv:1603.08155; Zhang et al., LPIPS, CVPR 2018,
        arXiv:1801.03924, equation 1.

    Example:
        >>> class Edges(nn.Module):  # one level: the differences along Z and along X
        ...     def forward(self, images):
        ...         return [torch.cat(torch.gradient(images, dim=(2, 3)), dim=1)]
        >>> volume = torch.rand(1, 1, 2, 8, 10)
        >>> loss = PerceptualLoss(Edges())
        >>> round(loss(volume, volume).item(), 3), round(loss(1 - volume, volume).item(), 3)
        (0.0, 4.0)
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if isinstance(network, FeatureNetwork) and (
            network.ndim != 4 or type(network).forward is nn.Module.forward
        ):
            raise ValueError(
                "perceptual network: expected one that maps images (N, 1, H, W) to feature maps when it is "
                f"called, such as efficientnet_lite1, found {network.name}, which does not"
            )
        # A tuple hides it from nn.Module, which would register it.
        self._hidden = (network.eval().requires_grad_(False),)

    def forward(self, fake: Tensor, real: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare each B-scan of a generated volume with the same B-scan of the real one.

        Args:
            fake: generated volume in [0, 1], shape ``(B, 1, S, Z, X)``.
            real: real volume of the same shape; no gradient flows into it.
            mask: which voxels count, bool, shape ``(B, 1, S, Z, X)``; the others are made black in both. None
                counts all.

        Returns:
            The distance in [0, 4], a scalar.

        Raises:
            ValueError: if the shapes differ or there are several channels; or if the network returns
                something else than features of each B-scan, or no gradient flows through it.
        """
        check_pair(fake, real, mask)
        if fake.shape[1] != 1:
            raise ValueError(f"volume: expected one channel, found {fake.shape[1]}")
        if mask is not None:
            fake, real = fake * mask, real * mask
        fakes, reals = fake.flatten(0, 2).unsqueeze(1), real.flatten(0, 2).unsqueeze(1)
        with torch.no_grad():
            targets = self._features(reals)
        levels = self._features(fakes)
        if fakes.requires_grad and not any(level.requires_grad for level in levels):
            raise ValueError(
                "perceptual network: no gradient flows through it to the B-scans, from which nothing could "
                "learn; perhaps it rounds them to bytes"
            )
        distances = [
            (fake_level - real_level).square().sum(1).mean()
            for fake_level, real_level in zip(levels, targets, strict=True)
        ]
        return torch.stack(distances).mean()

    def _features(self, images: Tensor) -> list[Tensor]:
        network = self._hidden[0]
        # Whoever holds the same network may have called train() on it.
        network.eval()
        found = network(images)
        if isinstance(found, Tensor):
            found = [found]
        levels: list[Tensor] = list(found.values() if isinstance(found, Mapping) else found)
        for level in levels:
            if level.ndim < 2 or len(level) != len(images):
                raise ValueError(
                    f"perceptual network: expected features ({len(images)}, C, ...), one of each B-scan, "
                    f"found {tuple(level.shape)}"
                )
        return [F.normalize(level.to(images.dtype), dim=1, eps=1e-6) for level in levels]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> PerceptualLoss:
        # Every move and cast of a module goes through here.
        self._hidden[0]._apply(fn)
        return super()._apply(fn, recurse)
