"""One simulated eye from a seed and a number."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from fund2oct.eye import SIMULATED, Eye, padded_pose
from fund2oct.geometry import LineScan, Placement, ScanPattern
from fund2oct.phantom.anatomy import sample_anatomy
from fund2oct.phantom.config import PhantomConfig
from fund2oct.phantom.grid import Array, PhotoGrid
from fund2oct.phantom.lesions import LesionMaps, sample_diagnosis, sample_lesions
from fund2oct.phantom.long_eyes import lengthen, sample_long_eye
from fund2oct.phantom.pose import keep_in_frame, pose_surface, sample_pose
from fund2oct.phantom.rendering.fundus import Retina, render_fundus
from fund2oct.phantom.rendering.oct import Columns, reflect
from fund2oct.phantom.rendering.scanner import acquire
from fund2oct.phantom.rendering.texture import Texture, ascan_gain, tissue_grain
from fund2oct.phantom.surfaces import TrueSurfaces, build_surfaces
from fund2oct.phantom.vessels import draw_vessels, grow_vessels
from fund2oct.processes import one_order_of_sums
from fund2oct.retina.layers import BOUNDARIES

SOURCE = re.compile(rf"{re.escape(SIMULATED)}, seed (\d+)")
"""What a simulated eye says of its source, with the seed."""
_STREAMS = ("anatomy", "vessels", "texture", "lesions", "photo", "motion", "speckle", "rescan", "long")
_SHARED_BY_PATIENT = 7919
_RESIDUAL_UM = 2.5
_LONG_BETWEEN = (0.01, 0.94)


@one_order_of_sums()
def simulate_eye(seed: int, number: int, config: PhantomConfig | None = None) -> Eye:
    """Simulate one eye; the same arguments give the same eye in any process and in any order.

    Eyes ``2 k`` and ``2 k + 1`` are the right and the left eye of one patient. ``rescan`` is the
    same scan with other speckle and noise and nothing else, so a distance between ``volume`` and
    ``rescan`` is the least that any model can reach.

    Args:
        seed: seed of the whole set, at least 0.
        number: number of the eye, at least 0.
        config: sizes, scan and diseases.

    Returns:
        The eye with its truth, which is boundaries, lesion labels, diagnosis, pose and placement.

    Raises:
        ValueError: if ``seed`` or ``number`` is negative.

    Example:
        >>> eye = simulate_eye(seed=0, number=1)
        >>> eye, eye.diagnosis
        (Eye('sim-0000001-OS', OS, fundus 128 px, volume (6, 80, 112)), 'PED+GA')
    """
    if seed < 0 or number < 0:
        raise ValueError(f"seed and number: expected at least 0, found {seed} and {number}")
    config = config or PhantomConfig()
    rng = streams(seed, number)
    # Eyes of another seed are other people, and are called otherwise.
    name = f"sim{seed or ''}"
    laterality = "OD" if number % 2 == 0 else "OS"
    retina, diagnosis = sample_retina(rng, seed, number, config)
    scan, signal = scan_retina(rng, retina, config)
    return Eye(
        key=f"{name}-{number:07d}-{laterality}",
        patient=f"{name}-{number // 2:07d}",
        laterality=laterality,
        fundus=render_fundus(rng["photo"], retina, config.fundus_px),
        scan=config.scan,
        placement=retina.grid.placement,
        lesion_fundus=_reduce_labels(retina.lesions, config.fundus_px),
        diagnosis=diagnosis,
        source=f"{SIMULATED}, seed {seed}",
        history=retina.long.history if retina.long else {},
        volume=acquire_volume(rng["speckle"], signal, config),
        rescan=acquire_volume(rng["rescan"], signal, config),
        **scan,
    )


Streams = dict[str, np.random.Generator]
"""Sources of randomness of one eye, by what they decide."""


def streams(*entropy: int) -> Streams:
    """Independent streams from a few numbers."""
    children = np.random.SeedSequence(entropy).spawn(len(_STREAMS))
    return {name: np.random.default_rng(child) for name, child in zip(_STREAMS, children, strict=True)}


def sample_retina(rng: Streams, seed: int, number: int, config: PhantomConfig) -> tuple[Retina, str]:
    """Draw all that an eye's photo and volume are cut from, and its diagnosis."""
    patient = np.random.default_rng(np.random.SeedSequence([seed, number // 2, _SHARED_BY_PATIENT]))
    anatomy = sample_anatomy(rng["anatomy"], patient)
    side = 1 if number % 2 == 0 else -1
    long = None
    if config.population == "long":
        long, anatomy = sample_long_eye(rng["long"]), lengthen(rng["long"], anatomy)
    grid = PhotoGrid(_sample_placement(rng["anatomy"], config), config.map_px, side)
    arterioles, venules = (
        draw_vessels(grid, grow_vessels(rng["vessels"], anatomy, arterioles=kind)) for kind in (True, False)
    )
    texture = Texture.sample(rng["texture"], grid)
    diagnosis = config.diagnosis or sample_diagnosis(rng["lesions"], config.normal_share, config.second_share)
    lesions = sample_lesions(rng["lesions"], grid, diagnosis)
    if long:
        lesions.crescent = long.crescent(grid, anatomy)
    return Retina(grid, anatomy, arterioles, venules, texture, lesions, long), diagnosis


def surfaces_under(retina: Retina, config: PhantomConfig) -> TrueSurfaces:
    """Boundaries of the retina under each A-scan, above Bruch's membrane."""
    x, y = _points(retina, config)
    texture = retina.texture
    wobble = retina.grid.sample([texture.outer, texture.inner, texture.depth], x, y)
    return build_surfaces(retina.anatomy, retina.lesions.under(retina.grid, x, y), wobble, x, y)


def membrane_under(retina: Retina, pose: Array, config: PhantomConfig) -> Array:
    """Depth of Bruch's membrane under each A-scan, ``(S, X)`` micrometres."""
    return pose_surface(pose, config.n_ascans) + _residual(retina, config)


def _residual(retina: Retina, config: PhantomConfig) -> Array:
    return _RESIDUAL_UM * retina.grid.sample([retina.texture.residual], *_points(retina, config))[0]


def _points(retina: Retina, config: PhantomConfig) -> tuple[Array, Array]:
    """Nasal and downward millimetres of each A-scan, ``(S, X)`` each."""
    points = config.scan.coordinates(config.n_ascans).numpy()
    return points[..., 0] * retina.grid.side, points[..., 1]


def scan_retina(
    rng: Streams, retina: Retina, config: PhantomConfig, pose: Array | None = None
) -> tuple[dict[str, Any], Array]:
    """The truth of a scan by its names in an eye, and the signal ``(S, Z, X)`` before its speckle.

    Args:
        rng: random numbers for the pose, the tissue's grain and the gain.
        retina: what is scanned.
        config: sizes and scan.
        pose: how the retina lies, ``(S, K)`` micrometres; None draws it, as it has to be for a long eye.
    """
    anatomy, texture = retina.anatomy, retina.texture
    x, y = _points(retina, config)
    maps = [texture.small_lumens, texture.lumens, texture.streaks]
    sampled = retina.grid.sample([*maps, np.maximum(retina.arterioles, retina.venules)], x, y)
    surfaces = surfaces_under(retina, config)
    lesions = retina.lesions.under(retina.grid, x, y)

    depth_um = config.depth_mm * 1000
    dz_um, dx_um = config.pixel_um
    above, residual = surfaces.boundary["ILM"], _residual(retina, config)
    if retina.long:
        if pose is not None:
            raise ValueError("pose: expected None for a long eye, whose wall is more than a pose")
        pose, rest = retina.long.pose(rng["motion"], x, y, depth_um)
        residual = residual + rest
        pose = keep_in_frame(pose, above - residual, residual, depth_um, _LONG_BETWEEN)
    elif pose is None:
        pose = sample_pose(rng["motion"], config.scan, depth_um)
        pose = keep_in_frame(pose, above - residual, residual, depth_um)
    membrane = pose_surface(pose, config.n_ascans) + residual

    n_slices = config.scan.n_slices
    columns = Columns(
        surfaces=surfaces,
        lesions=lesions,
        vessels=sampled[3],
        lumens=sampled[:2],
        streaks=sampled[2],
        streak=float(rng["texture"].uniform(0.02, 0.06)),
        grain=tissue_grain(rng["texture"], (n_slices, config.n_depth, config.n_ascans), (dz_um, dx_um)),
        gain=ascan_gain(rng["motion"], n_slices, config.n_ascans),
        scatter_um=(170 - 90 * anatomy.pigment) * anatomy.clearness,
        vitreous=retina.long.vitreous(rng["long"], x, y, above) if retina.long else (),
    )
    signal, labels = reflect(columns, membrane, config.n_depth, dz_um, config.optics)
    truth = {
        "boundaries_um": surfaces.stacked(BOUNDARIES, membrane),
        "lesions": labels,
        "pose_um": padded_pose(pose),
        "spacing_mm": (_slice_spacing(config.scan), dz_um / 1000, dx_um / 1000),
    }
    return truth, signal


def acquire_volume(rng: np.random.Generator, signal: Array, config: PhantomConfig) -> Array:
    """One scan of a signal, uint8 ``(S, Z, X)``; another ``rng`` gives other speckle."""
    return acquire(rng, signal, *config.pixel_um, config.optics)


def _sample_placement(rng: np.random.Generator, config: PhantomConfig) -> Placement:
    """No photographer centres the fovea exactly, nor holds each head upright."""
    shift = np.clip(rng.normal(0, 0.025, 2), -0.06, 0.06)
    turn = float(np.clip(rng.normal(0, 2.5), -6, 6))
    zoom = float(np.clip(rng.normal(1, 0.03), 0.92, 1.08))
    return Placement((float(shift[0]), float(shift[1])), turn, config.half_width_mm * zoom)


def _slice_spacing(scan: ScanPattern) -> float:
    """Distance between parallel slices in mm, NaN where they are not parallel or not equally far apart."""
    if not isinstance(scan, LineScan) or scan.n_slices < 2:
        return math.nan
    steps = np.diff(np.array(scan.lines), axis=0)
    if not np.allclose(steps, steps[0, 0], atol=1e-6):
        return math.nan
    along = np.diff(scan.lines[0], axis=0)[0]
    across = abs(float(along[0] * steps[0, 0, 1] - along[1] * steps[0, 0, 0])) / float(np.hypot(*along))
    return across if across > 1e-6 else math.nan


def _reduce_labels(lesions: LesionMaps, size_px: int) -> Array:
    label = lesions.label()
    factor = len(label) // size_px
    return np.ascontiguousarray(label[factor // 2 :: factor, factor // 2 :: factor])
