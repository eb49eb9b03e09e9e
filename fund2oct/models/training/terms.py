"""Terms of a loss: their weights, and losses of your own that an experiment names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from fund2oct.by_path import import_by_path


def chosen_weights(given: Mapping[str, float] | None, known: Mapping[str, float]) -> dict[str, float]:
    """Check the weights of a model's terms, and leave out those that are 0.

    Args:
        given: weights by name; None takes ``known``. A name with a dot is the import path of a loss of your
            own, see :func:`own_terms`.
        known: default weights of the model's own terms, by name.

    Returns:
        The weights that are not 0, by name.

    Raises:
        ValueError: if a name is not known, a weight is not finite, that of a term of the model is negative,
            or all weights are 0.

    Example:
        >>> chosen_weights({"l1": 2.0, "ssim": 0.0, "my_losses.smoothness": 0.1}, {"l1": 1.0, "ssim": 1.0})
        {'l1': 2.0, 'my_losses.smoothness': 0.1}
    """
    unknown = sorted(name for name in given or {} if name not in known and "." not in name)
    if unknown:
        raise ValueError(
            f"weights: expected names of {', '.join(known)}, or the import path of a loss of your own "
            f"(my_losses.smoothness), found {', '.join(unknown)}"
        )
    for name, weight in (given or {}).items():
        # A term of your own may be something that should be large.
        if not math.isfinite(weight) or (weight < 0 and name in known):
            wanted = "0 or more" if name in known else "a number"
            raise ValueError(f"weights: {name}: expected {wanted}, found {weight:g}")
    weights = {name: weight for name, weight in (known if given is None else given).items() if weight}
    if not weights:
        raise ValueError("weights: at least one term must weigh something")
    return weights


def own_terms(weights: Mapping[str, float]) -> dict[str, Callable[..., Tensor]]:
    """Import the losses of your own that are named by their import path.

    A model calls each as ``loss(batch, fake)``, with the arguments of
    :meth:`fund2oct.models.VolumeModel.losses`; a :class:`fund2oct.models.SurfaceModel` draws no volume, and
    gives the predicted distribution of the surfaces in place of ``fake``. It returns a scalar tensor.

    Args:
        weights: weights by name; names with a dot are import paths.

    Returns:
        The imported losses, by name.

    Raises:
        ValueError: if one cannot be imported, or its name was read from a checkpoint.

    Example:
        >>> _ = open("my_losses.py", "w").write("def brightness(batch, fake): return fake.volume.mean()")
        >>> import sys
        >>> sys.path.insert(0, ".")
        >>> list(own_terms({"tissue": 1000.0, "my_losses.brightness": 0.1}))
        ['my_losses.brightness']
    """
    try:
        return {name: import_by_path(name) for name in weights if "." in name}
    except ValueError as error:
        raise ValueError(f"weights: {error}") from error


def check_judged(weights: Mapping[str, float], discriminators: nn.ModuleDict, widths: str) -> None:
    """Refuse terms of discriminators where there is none, and the term would be left out unsaid.

    Args:
        weights: weights by name.
        discriminators: by name, as they were built.
        widths: names of the arguments that give a model discriminators, for the message.

    Raises:
        ValueError: if there are such terms, and no discriminator.
    """
    asking = [name for name in ("adversarial", "feature_matching") if name in weights]
    if asking and not discriminators:
        raise ValueError(
            f"weights: {' and '.join(asking)}: expected a discriminator, found none; set {widths} above 0, "
            "or leave the term out"
        )


def check_scored(weights: Mapping[str, float]) -> None:
    """Warn where no term of a model of surfaces teaches how far these may be off.

    Their medians are learned all the same.

    Args:
        weights: weights by name.
    """
    if not {"energy", "crps"} & set(weights):
        rank_zero_warn(
            "weights: without energy and crps nothing teaches how far the predicted surfaces may be off: "
            "their intervals and draws are those of weights as they began; give energy and crps a weight "
            "(0.0333 is the default of both), or use the median surfaces alone"
        )


def check_terms(side: str, losses: Mapping[str, Any]) -> None:
    """Refuse terms that are no numbers.

    Raises:
        ValueError: if there is none, or one has another shape.
    """
    if not losses:
        raise ValueError(f"the {side}'s loss: expected at least one term, found none")
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.ndim:
            found = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"the {side}'s term {name}: expected a tensor without dimensions, as mean() gives, "
                f"found {found}"
            )
