"""Eyes as plain JSON values: pictures as WebP, numbers as compressed bytes, both as base64 text."""

from __future__ import annotations

import base64
import io
import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial import Delaunay, QhullError

from fund2oct.data.formats.images import resize
from fund2oct.data.preparing.surfaces import resample_ascans
from fund2oct.eye import Array
from fund2oct.geometry import Placement, ScanPattern
from fund2oct.geometry.patterns import ascan_spacing_mm
from fund2oct.geometry.triangles import inside_a_ring
from fund2oct.retina import pose_surface_um
from fund2oct.viewer.collect import Source

if TYPE_CHECKING:
    from fund2oct.models.thickness import ThicknessMap

DEPTH_STEP_UM = 0.2
"""Step of a packed depth or thickness: a tenth of what the finest scanner resolves."""
UNKNOWN = -(2**31)
_VERTICES = 48
_MAP_COLUMNS = 112
_STAR_MM = 0.05
_ARC_STEP = np.radians(6)
LOSSLESS = 100


def pack_eye(key: str, sources: Sequence[Source], width_px: int, quality: int) -> dict[str, Any]:
    """Pack what several files say of one eye.

    Args:
        key: name of the eye.
        sources: one for each file, the real one first.
        width_px: greatest width of a packed slice; wider ones are made smaller in proportion.
        quality: quality of the pictures, from 1 to 100; 100 keeps each voxel as it is.

    Returns:
        What ``page.js`` reads: the photo, the lines under it and the triangles between them, and for
        each file its slices, depths in steps of :data:`DEPTH_STEP_UM` and label maps.
    """
    first = sources[0].eye
    photo = next((each.eye.fundus for each in sources if each.eye.fundus is not None), None)
    # The scanner's own picture stands in for a photo; then the lines lie on it as it says.
    on_localizer = photo is None and first.localizer is not None
    picture = first.localizer if on_localizer else photo
    scans: dict[tuple[ScanPattern, Placement], int] = {}
    packed = []
    for source in sources:
        eye, scan = source.eye, None
        if eye.volume is not None and eye.scan is not None:
            where = eye.localizer_placement if on_localizer else eye.placement
            scan = scans.setdefault((eye.scan, where), len(scans))
        packed.append({"scan": scan} | _pack_source(source, width_px, quality))
    places = list(scans) if picture is not None else _on_one_square(list(scans))
    return {
        "key": key,
        "laterality": first.laterality,
        "diagnosis": first.diagnosis,
        "photo": None if picture is None else picture_url(picture, quality),
        "photoIsLocalizer": on_localizer,
        "scans": [_pack_scan(scan, placement) for scan, placement in places],
        "sources": packed,
    }


def picture_url(picture: Array, quality: int) -> str:
    """A grey or RGB picture, uint8, as a ``data:`` URL of WebP; lossless for quality 100."""
    file = io.BytesIO()
    options: dict[str, Any] = {"lossless": True} if quality >= LOSSLESS else {"quality": quality}
    Image.fromarray(picture).save(file, "WEBP", method=4, **options)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def pack_array(values: Array) -> dict[str, Any]:
    """Numbers as their type, their shape, and their little-endian bytes, compressed, in base64."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    data = base64.b64encode(zlib.compress(little.tobytes(), 9)).decode()
    return {"type": values.dtype.name, "shape": list(values.shape), "data": data}


def pack_depths(values_um: Array) -> dict[str, Any]:
    """Micrometres in steps of :data:`DEPTH_STEP_UM` as int32; :data:`UNKNOWN` stands for NaN."""
    steps = np.round(values_um.astype(np.float64) / DEPTH_STEP_UM)  # float32 does not hold every int32
    steps = np.clip(np.nan_to_num(steps), UNKNOWN + 1, -UNKNOWN - 1)
    return pack_array(np.where(np.isfinite(values_um), steps, UNKNOWN).astype(np.int32))


def _pack_source(source: Source, width_px: int, quality: int) -> dict[str, Any]:
    eye = source.eye
    packed: dict[str, Any] = {
        "name": source.name,
        "source": eye.source,
        "searched": source.searched,
        "map": None if source.thickness is None else _pack_map(source.thickness, eye.placement),
    }
    if eye.volume is None:
        return packed | {"shape": None}
    n_slices, rows, columns = eye.volume.shape
    share = min(1.0, width_px / columns)
    shape = (n_slices, max(1, round(rows * share)), max(1, round(columns * share)))
    assert eye.scan is not None
    z_mm, x_mm = eye.spacing_mm[1] * rows / shape[1], eye.spacing_mm[2] * columns / shape[2]
    return packed | {
        "shape": shape,
        "rowUm": 1000 * z_mm,
        "ascanUm": [1000 * mm for mm in ascan_spacing_mm(x_mm, eye.scan.length_mm)],
        "slices": [picture_url(resize(bscan, *shape[1:]), quality) for bscan in eye.volume],
        "lesions": _pack_labels(eye.lesions, shape),
        "surfaces": _pack_surfaces(eye.surfaces_um, shape[2]),
        "layers": _pack_surfaces(eye.boundaries_um, shape[2]),
        "pose": None if eye.pose_um is None else pack_depths(_pose_um(eye.pose_um, shape[2])),
    }


def _pack_labels(labels: Array | None, shape: tuple[int, int, int]) -> list[str | None] | None:
    """Each slice's labels, None for a slice without any; None where no slice has any."""
    if labels is None or not labels.any():
        return None
    rows, columns = (
        ((np.arange(wanted) + 0.5) * found / wanted).astype(int)
        for wanted, found in zip(shape[1:], labels.shape[1:], strict=True)
    )
    return [picture_url(each[rows][:, columns], LOSSLESS) if each.any() else None for each in labels]


def _pack_surfaces(depths_um: Array | None, n_ascans: int) -> dict[str, Any] | None:
    if depths_um is None:
        return None
    return pack_depths(resample_ascans(torch.from_numpy(depths_um), n_ascans).numpy())


def _pose_um(pose_um: Array, n_ascans: int) -> Array:
    return pose_surface_um(torch.from_numpy(pose_um), n_ascans).numpy()


def _on_one_square(places: list[tuple[ScanPattern, Placement]]) -> list[tuple[ScanPattern, Placement]]:
    """The scans on a square that holds them all, where there is no picture with edges of its own."""
    reach = max(math.hypot(*place.shift) + scan.reach_mm / place.half_width_mm for scan, place in places)
    by = max(reach, 1.0)
    found = []
    for scan, place in places:
        x, y = place.shift
        found.append((scan, Placement((x / by, y / by), place.rotation_deg, by * place.half_width_mm)))
    return found


def _pack_scan(scan: ScanPattern, placement: Placement) -> dict[str, Any]:
    """Points along each line in grid units and in millimetres, and the mesh between the lines.

    The mesh has more points than the lines where these form a star: ``mixed`` says of which two points
    of the lines, and with which share of the second, each of the others is the mean.
    """
    along = scan.coordinates(_VERTICES, dtype=torch.float64)
    points_mm = along.reshape(-1, 2).numpy()
    extra_mm, pairs, shares = between_spokes(along.numpy())
    mesh_mm = torch.from_numpy(np.concatenate([points_mm, extra_mm]))
    return {
        "nLines": scan.n_slices,
        "nVertices": _VERTICES,
        "points": pack_array(placement.to_grid(mesh_mm).numpy().astype(np.float32)),
        "pointsMm": pack_array(mesh_mm.numpy().astype(np.float32)),
        "mixed": pack_array(pairs.astype(np.uint32)),
        "shares": pack_array(shares.astype(np.float32)),
        "triangles": pack_array(_triangles(mesh_mm.numpy(), scan)),
        "placement": placement.to_dict(),
    }


def between_spokes(along_mm: Array) -> tuple[Array, Array, Array]:
    """Points on arcs between the lines of a star, so that a map turns round and has no corners.

    Args:
        along_mm: points along each line, float64, shape ``(S, V, 2)``.

    Returns:
        The points ``(N, 2)``; for each the two points of the lines between which it lies, as indices
        into ``S * V``, shape ``(N, 2)``; and the share of the second, shape ``(N,)``. None of them where
        the lines are no star.
    """
    n_lines, n_points, _ = along_mm.shape
    radius = np.linalg.norm(along_mm, axis=-1)
    middle = along_mm.mean(1)
    half = n_points // 2
    # Circles have their middle there too, but do not pass through it.
    through = (radius.min(1) < radius[:, -1] / 2).all() and np.abs(middle).max() < _STAR_MM
    is_star = n_lines > 1 and through and np.ptp(radius[:, -1]) < _STAR_MM
    if not is_star:
        return np.empty((0, 2)), np.empty((0, 2), int), np.empty(0)
    # Each line is two spokes, from its ends inwards.
    numbers = np.arange(n_lines * n_points).reshape(n_lines, n_points)
    spokes = np.concatenate([numbers[:, :half], numbers[:, : -half - 1 : -1]])
    ends = along_mm.reshape(-1, 2)[spokes[:, 0]]
    turn = np.arctan2(ends[:, 1], ends[:, 0])
    order = np.argsort(turn)
    spokes, turn = spokes[order], turn[order]
    after, gap = np.roll(spokes, -1, 0), np.diff(turn, append=turn[0] + 2 * np.pi)
    points, pairs, shares = [], [], []
    for spoke, neighbour, start, wide in zip(spokes, after, turn, gap, strict=True):
        steps = max(1, round(wide / _ARC_STEP))
        for share in np.arange(1, steps) / steps:
            angle = start + share * wide
            points.append(radius.reshape(-1)[spoke, None] * np.array([np.cos(angle), np.sin(angle)]))
            pairs.append(np.stack([spoke, neighbour], 1))
            shares.append(np.full(half, share))
    if not points:
        return np.empty((0, 2)), np.empty((0, 2), int), np.empty(0)
    return np.concatenate(points), np.concatenate(pairs), np.concatenate(shares)


def _triangles(points: Array, scan: ScanPattern) -> Array:
    """Delaunay's triangles but for those inside a circle; none where all points lie on one line."""
    try:
        found = Delaunay(points).simplices
    except QhullError:
        return np.empty((0, 3), np.uint32)
    return found[~inside_a_ring(scan, found, _VERTICES)].astype(np.uint32)


def _pack_map(found: ThicknessMap, placement: Placement) -> dict[str, Any]:
    from fund2oct.models.thickness import INTERVAL

    step = -(-len(found.median_um) // _MAP_COLUMNS)
    pages = np.stack([found.median_um, found.low_um, found.high_um])[:, step // 2 :: step, step // 2 :: step]
    first = found.points_mm[step // 2, step // 2]
    return {
        "depths": pack_depths(pages),
        "firstMm": first.tolist(),
        "pitchMm": found.pitch_mm * step,
        "interval": INTERVAL,
        "placement": placement.to_dict(),
    }
