r"""Twins: eyes with one and the same photo, to the last bit, and other hidden anatomy.

What a photo does not show, no model can tell. A twin of an eye is drawn from the simulator's own
distribution *given the photo*: everything that :mod:`fund2oct.phantom.rendering.fundus` reads is the eye's,
the rest is drawn anew. So a twin's volume is a sample of the true posterior :math:`p(V \mid \text{photo})`,
and the median of many twins' thickness maps has the least mean absolute error that any model can reach.

==================== ============================================================================
stays, for the photo placement, laterality, vessels, disc, cup to disc ratio, raphe, pigment and its
reads it             hue, all lesion maps (their heights show in tint and relief), large choroidal
                     vessels, mottle and clouds of the pigment, thickness of the nerve fibre layer and
                     radius of the foveal pit (both shape its sheen, however faintly)
drawn anew           thickness of the eight layers below the nerve fibres, given its own; depth of the
                     cup; thickness and clearness of the choroid, its small vessels; uneven thickness
                     of inner and outer layers and choroid; streaks, grain, gain and speckle
stays, though hidden the pose, and what Bruch's membrane has beside it: volumes are compared at one pose
==================== ============================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fund2oct.eye import Eye
from fund2oct.phantom.anatomy import Anatomy, sample_anatomy
from fund2oct.phantom.config import PhantomConfig
from fund2oct.phantom.grid import Array
from fund2oct.phantom.rendering.fundus import Retina
from fund2oct.phantom.rendering.texture import Texture
from fund2oct.phantom.simulate import (
    Streams,
    acquire_volume,
    membrane_under,
    sample_retina,
    scan_retina,
    simulate_eye,
    streams,
    surfaces_under,
)
from fund2oct.processes import one_order_of_sums
from fund2oct.retina.layers import BOUNDARIES

_TWINS = 5953
_SAME_SCALE = 0.01
_TRIES = 100


@one_order_of_sums()
def simulate_twins(seed: int, number: int, n: int, config: PhantomConfig | None = None) -> list[Eye]:
    """Simulate twins of an eye: eyes with the very same photo, and other anatomy where no photo shows it.

    How far twins differ is what no model can tell from a photo. The same arguments give the same twins.

    Args:
        seed: seed of the set that holds the eye.
        number: number of the eye.
        n: how many twins; the first are the same, whatever their number.
        config: sizes, scan and diseases, the same as for the eye. No twins are simulated of long eyes.

    Returns:
        The twins, without rescans. Photo, placement, pose and diagnosis are the eye's,
        volumes and true boundaries their own; their keys end in ``-twin1``, ``-twin2`` and so on.

    Raises:
        ValueError: if ``seed`` or ``number`` is negative, ``n`` is not positive, or ``config`` asks for long
            eyes.

    Example:
        >>> eye, (twin,) = simulate_eye(0, 32), simulate_twins(0, 32, 1)
        >>> bool((twin.fundus == eye.fundus).all()), bool((twin.volume == eye.volume).all())
        (True, False)
    """
    config = config or PhantomConfig()
    eye, pose_um = _eye_and_pose(seed, number, n, config)
    twins = []
    for place, (rng, retina) in enumerate(_drawn(seed, number, n, config), 1):
        scan, signal = scan_retina(rng, retina, config, pose_um)
        volume = acquire_volume(rng["speckle"], signal, config)
        twins.append(replace(eye, key=f"{eye.key}-twin{place}", volume=volume, rescan=None, **scan))
    return twins


@one_order_of_sums()
def twin_boundaries(seed: int, number: int, n: int, config: PhantomConfig | None = None) -> Array:
    """Compute the true boundaries of the twins of :func:`simulate_twins`, without drawing their volumes.

    Args:
        seed: seed of the set that holds the eye.
        number: number of the eye.
        n: how many twins.
        config: sizes, scan and diseases, the same as for the eye. No twins are simulated of long eyes.

    Returns:
        Depths of :data:`fund2oct.retina.BOUNDARIES` in micrometres from the top of the frame, float32, NaN
        inside the disc, shape ``(n, 11, S, X)``.

    Raises:
        ValueError: if ``seed`` or ``number`` is negative, ``n`` is not positive, or ``config`` asks for long
            eyes.

    Example:
        >>> depths_um = twin_boundaries(seed=0, number=0, n=3)
        >>> thickness_um = depths_um[:, BOUNDARIES.index("BM")] - depths_um[:, BOUNDARIES.index("ILM")]
        >>> spread_um = np.nanmean(thickness_um.std(axis=0))  # no photo tells the thickness better
        >>> depths_um.shape, round(float(spread_um))
        ((3, 11, 6, 112), 5)
    """
    config = config or PhantomConfig()
    _, pose_um = _eye_and_pose(seed, number, n, config)
    return np.stack([
        surfaces_under(retina, config).stacked(BOUNDARIES, membrane_under(retina, pose_um, config))
        for _, retina in _drawn(seed, number, n, config)
    ])  # fmt: skip


def _eye_and_pose(seed: int, number: int, n: int, config: PhantomConfig) -> tuple[Eye, Array]:
    """The eye of which so many twins are asked for, and how it lies, which is how they lie."""
    if n < 1:
        raise ValueError(f"n: expected at least one twin, found {n}")
    if config.population != "ordinary":
        raise ValueError(
            f"population: expected 'ordinary', found {config.population!r}, whose twins are not simulated"
        )
    eye = simulate_eye(seed, number, config)
    assert eye.pose_um is not None
    return eye, eye.pose_um


def _drawn(seed: int, number: int, n: int, config: PhantomConfig) -> Iterator[tuple[Streams, Retina]]:
    retina, _ = sample_retina(streams(seed, number), seed, number, config)
    for twin in range(n):
        rng = streams(seed, number, twin, _TWINS)
        yield rng, redraw_hidden(rng, retina)


def redraw_hidden(rng: Streams, retina: Retina) -> Retina:
    """Draw anew what the photo of a retina does not show.

    Args:
        rng: random numbers for the hidden anatomy and texture.
        retina: that of the eye.
    """
    seen, drawn = retina.texture, Texture.sample(rng["texture"], retina.grid)
    texture = replace(
        drawn, lumens=seen.lumens, mottle=seen.mottle, clouds=seen.clouds, residual=seen.residual
    )
    return replace(retina, anatomy=_hidden_anatomy(rng["anatomy"], retina.anatomy), texture=texture)


def _hidden_anatomy(rng: np.random.Generator, seen: Anatomy) -> Anatomy:
    """Hidden parts from an anatomy whose nerve fibre layer is as thick as the one that is seen.

    The layers of an eye are thick or thin together, so the seen one says something of the others:
    drawing until it agrees samples the others given it.
    """
    scale = seen.layer_scale[0]
    closest = drawn = sample_anatomy(rng, rng)
    for _ in range(_TRIES):
        if abs(drawn.layer_scale[0] - scale) < abs(closest.layer_scale[0] - scale):
            closest = drawn
        if abs(closest.layer_scale[0] - scale) < _SAME_SCALE:
            break
        drawn = sample_anatomy(rng, rng)
    return replace(
        seen,
        layer_scale=(scale, *closest.layer_scale[1:]),
        choroid_um=closest.choroid_um,
        cup_um=closest.cup_um * seen.cup_ratio / closest.cup_ratio,
        clearness=closest.clearness,
    )
