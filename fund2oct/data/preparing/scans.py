"""From a volume as it was read to one as it is stored: borders, slices, scan and size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fund2oct.data.formats.exam import between_slices_mm
from fund2oct.data.formats.images import resize
from fund2oct.data.formats.stacks import Spacing
from fund2oct.data.preparing.slices import spaced_slices
from fund2oct.eye import Array, DataError, Plain
from fund2oct.geometry import LineScan, RadialScan, RasterScan, ScanPattern
from fund2oct.levels import GUESSED, Levels, find_levels, is_guessed, to_bytes
from fund2oct.plausible import check_spacing

_WHITE = 250
_THICK = 5
_SMALLEST = 8
_LEAST_CONTRAST = 8
_MOST_OF_BYTES = 255


@dataclass(frozen=True)
class ScanOptions:
    """What an import does to a volume.

    Args:
        spacing_mm: distance of slices, rows and A-scans ``(s, z, x)`` of the volume as it lies on disk; None
            takes what the file says, and NaN one of them from the file or else the lines. It changes the size
            of a file's raster, and leaves its star, circles and other lines where they are.
        radial: whether the slices are a star, the first vertical and the others clockwise, instead of what
            the file says, or of a raster from above to below.
        n_slices: how many evenly spaced slices to keep; None keeps them all.
        star: a star to cut out of a raster, in place of its own slices.
        shape: ``(Z, X)`` to resize B-scans to; None keeps their size.
        mask_borders: whether to blacken what a registration filled with white.
        axes: order of the axes in a file, see :func:`~fund2oct.data.formats.stacks.read_stack`.
        flip: letters of the axes that run the other way in a file, such as ``"z"``.
        levels: the numbers that are black and white; None takes what the file, or else its type and range,
            tells, see :func:`~fund2oct.levels.find_levels`. Numbers above 255 are not applied to a volume of
            bytes, which gets a note.
        pattern: where the slices lie; goes before what the file says, and before ``radial``.

    Raises:
        ValueError: if options contradict each other, or a size is too small.

    Example:
        >>> options = ScanOptions(spacing_mm=(0.12, 0.004, 0.0115), n_slices=6, shape=(320, 448))
        >>> options.mask_borders, options.levels
        (True, None)
    """

    spacing_mm: Spacing | None = None
    radial: bool = False
    n_slices: int | None = None
    star: RadialScan | None = None
    shape: tuple[int, int] | None = None
    mask_borders: bool = True
    axes: str | None = None
    flip: str = ""
    levels: Levels | None = None
    pattern: ScanPattern | None = None

    def __post_init__(self) -> None:
        if self.star and (self.radial or self.n_slices):
            raise ValueError("star: is cut out of a whole raster; leave out radial and slices")
        sizes = [*(self.shape or ()), *([self.n_slices] if self.n_slices is not None else [])]
        if self.shape and min(self.shape) < _SMALLEST:
            raise ValueError(f"shape: expected at least {_SMALLEST} rows and A-scans, found {self.shape}")
        if any(size < 1 for size in sizes):
            raise ValueError(f"slices, shape: expected positive sizes, found {self.n_slices}, {self.shape}")


@dataclass(frozen=True)
class PreparedScan:
    """A volume as it is stored, and what was done to it.

    Args:
        volume: B-scans, uint8, shape ``(S, Z, X)``.
        scan: where its slices lie.
        spacing_mm: ``(s, z, x)``; s is NaN where the slices are not parallel.
        history: what was done, for the eye's ``history``.
        slices: numbers of the slices in the file that were kept, shape ``(S,)``; None where the slices were
            cut anew out of a raster.
        notes: what is worth knowing.

    Example:
        >>> raster = np.random.default_rng(0).integers(0, 256, (5, 40, 60), np.uint8)
        >>> kept = prepare_scan(raster, (1.0, 0.05, 0.1), ScanOptions(n_slices=3))
        >>> kept.slices, kept.spacing_mm[0]  # every second slice, twice as far apart
        ((0, 2, 4), 2.0)
    """

    volume: Array
    scan: ScanPattern
    spacing_mm: Spacing
    history: dict[str, Plain]
    slices: tuple[int, ...] | None
    notes: tuple[str, ...] = ()


def prepare_scan(
    volume: Array,
    spacing_mm: Spacing | None,
    options: ScanOptions,
    lines: ScanPattern | None = None,
    levels: Levels | None = None,
) -> PreparedScan:
    """Bring a volume to the form that it is stored in: bytes, the wanted slices, and the wanted size.

    Args:
        volume: numbers of any type, shape ``(S, Z, X)``.
        spacing_mm: what the file says; ``options.spacing_mm`` goes before it, but for NaN.
        options: what to do.
        lines: where the file says that its slices lie; None takes a raster from above to below.
        levels: what the file says of black and white; ``options.levels`` goes before it.

    Returns:
        The volume as bytes, with its scan and spacing.

    Raises:
        DataError: if there is no spacing or no retina has it, nothing tells black and white, the volume is
            black, of less than 8 rows or A-scans, or has fewer slices than wanted.

    Example:
        >>> deep = np.random.default_rng(0).integers(0, 4096, (5, 40, 60), np.uint16)  # 12 bits
        >>> scan = prepare_scan(deep, (1.0, 0.05, 0.1), ScanOptions(shape=(20, 30)))
        >>> scan.volume.shape, scan.volume.dtype.name, scan.spacing_mm
        ((5, 20, 30), 'uint8', (1.0, 0.1, 0.2))
    """
    if min(volume.shape[1:]) < _SMALLEST:
        raise DataError(
            f"expected B-scans of at least {_SMALLEST} rows and A-scans, found {volume.shape[1]} x "
            f"{volume.shape[2]}; --axes says in which order a file has its axes"
        )
    if options.pattern is not None and options.spacing_mm is not None and spacing_mm is not None:
        # What the options leave open their pattern tells, not the file, but for the distance of rows.
        spacing_mm = (math.nan, spacing_mm[1], math.nan)
    given = filled_spacing(options.spacing_mm, spacing_mm)
    if given is None:
        raise DataError(
            "expected the spacing of slices, rows and A-scans, but the file does not tell it; "
            "give --spacing-mm S Z X"
        )
    own = None if options.radial or options.pattern is not None else lines
    s_mm, z_mm, x_mm = given
    if isinstance(own, RasterScan) and options.spacing_mm is not None and s_mm > 0 and x_mm > 0:
        # A raster is as wide and as high as its spacing says. Other lines stay where they are.
        upwards = own.lines[0][0][1] > own.lines[-1][0][1]
        own = RasterScan(own.n_slices, x_mm * volume.shape[2], s_mm * (own.n_slices - 1), upwards)
    # What the options say goes before the file.
    lines = options.pattern or own
    if lines is not None and lines.n_slices != len(volume):
        raise DataError(f"expected a line for each of {len(volume)} slices, found {lines.n_slices} lines")
    if lines is not None:
        s_mm = between_slices_mm(lines, s_mm)
        x_mm = x_mm if x_mm > 0 else float(np.mean(lines.length_mm)) / volume.shape[2]
    parallel = not options.radial and lines is None and len(volume) > 1
    if not (z_mm > 0 and x_mm > 0 and (s_mm > 0 or not parallel)):
        raise DataError(
            f"spacing_mm: expected positive millimetres (s, z, x), found {(s_mm, z_mm, x_mm)}; give "
            "--spacing-mm S Z X"
        )
    n_slices, n_depth, n_ascans = volume.shape
    # Of a star, circles and other lines that tell no distance it is NaN already.
    check_spacing((n_slices, n_depth, n_ascans), (math.nan if options.radial else s_mm, z_mm, x_mm))
    history: dict[str, Plain] = {"stored_shape": "x".join(map(str, volume.shape))}
    notes: list[str] = []
    volume = _bytes(volume, _wanted_levels(volume, options.levels, notes) or levels, history, notes)
    if options.mask_borders:
        fill = np.stack([white_border(bscan) for bscan in volume])
        if fill.any():
            volume = np.where(fill, 0, volume)
            history["border_masked"] = round(float(fill.mean()), 6)
    scan: ScanPattern
    if lines is not None:
        scan = lines
    elif options.radial:
        scan, s_mm = RadialScan(n_slices, length_mm=x_mm * n_ascans), math.nan
    elif n_slices < 2:
        scan, s_mm = LineScan((((-x_mm * n_ascans / 2, 0.0), (x_mm * n_ascans / 2, 0.0)),)), math.nan
    else:
        scan = RasterScan(n_slices, width_mm=x_mm * n_ascans, height_mm=s_mm * (n_slices - 1))
    slices: tuple[int, ...] | None = tuple(range(n_slices))
    if options.star is not None:
        if not isinstance(scan, RasterScan):
            raise DataError("star: is cut out of a raster, but the file's slices are none; leave it out")
        downwards = scan.lines[0][0][1] < scan.lines[-1][0][1]
        volume = cut_scan(volume if downwards else volume[::-1], (s_mm, z_mm, x_mm), options.star)
        slices = None
        scan, s_mm = options.star, math.nan
        x_mm = max(scan.length_mm) / volume.shape[2]
        history["cut"] = f"a star of {scan.n_slices} lines of {scan.length_mm[0]:g} mm out of the raster"
    elif options.n_slices is not None and options.n_slices != n_slices:
        if options.n_slices > n_slices:
            raise DataError(f"expected at least {options.n_slices} slices, found {n_slices}")
        chosen = spaced_slices(scan, options.n_slices)
        kept = scan.chosen(chosen)
        x_mm *= float(np.mean(kept.length_mm) / np.mean(scan.length_mm))
        volume, scan, slices = volume[list(chosen)], kept, chosen
        s_mm = s_mm * (chosen[-1] - chosen[0]) / max(len(chosen) - 1, 1) if len(chosen) > 1 else math.nan
        history["slices"] = ",".join(map(str, chosen))
    if options.shape is not None and options.shape != volume.shape[1:]:
        rows, columns = options.shape
        z_mm, x_mm = z_mm * volume.shape[1] / rows, x_mm * volume.shape[2] / columns
        volume = np.stack([resize(bscan, rows, columns) for bscan in volume])
    return PreparedScan(np.ascontiguousarray(volume), scan, (s_mm, z_mm, x_mm), history, slices, tuple(notes))


def filled_spacing(wanted: Spacing | None, told: Spacing | None) -> Spacing | None:
    """Spacing that goes before the file's, which stands in for NaN; None where nobody tells any.

    Args:
        wanted: ``(s, z, x)`` as the user says, NaN for what stays as the file says.
        told: ``(s, z, x)`` as the file says, NaN for what it does not tell.

    Returns:
        ``(s, z, x)`` in millimetres, NaN where neither tells; None where nobody tells any.

    Example:
        >>> filled_spacing((math.nan, 0.0039, math.nan), (0.12, 0.004, 0.0115))
        (0.12, 0.0039, 0.0115)
    """
    if wanted is None or told is None:
        return wanted or told
    s_mm, z_mm, x_mm = (other if math.isnan(one) else one for one, other in zip(wanted, told, strict=True))
    return s_mm, z_mm, x_mm


def _wanted_levels(volume: Array, wanted: Levels | None, notes: list[str]) -> Levels | None:
    """The levels that the user says, unless they are meant for the deeper files of an import."""
    if wanted is None or volume.dtype.itemsize > 1 or max(wanted) <= _MOST_OF_BYTES:
        return wanted
    black, white = wanted
    notes.append(
        f"--levels {black:g} {white:g} was not applied to it: its numbers are bytes, which end at "
        f"{_MOST_OF_BYTES}"
    )
    return None


def _bytes(volume: Array, levels: Levels | None, history: dict[str, Plain], notes: list[str]) -> Array:
    """All slices by one black and white, which the history tells."""
    try:
        black, white = levels or find_levels(volume)
        bscans = to_bytes(volume, (black, white))
    except DataError as error:
        raise DataError(f"{error}; give --levels BLACK WHITE") from error
    if int(bscans.max()) - int(bscans.min()) < _LEAST_CONTRAST:
        raise DataError(
            f"expected B-scans, found {volume.dtype} from {volume.min():.5g} to {volume.max():.5g}, of one "
            f"brightness where {black:g} is black and {white:g} white; give --levels BLACK WHITE"
        )
    if levels is None and is_guessed(volume, (black, white)):
        history[GUESSED["volume"]] = white
        notes.append(
            f"white was taken for {white:g}, for its largest number is {np.nanmax(volume):g}; "
            "--levels BLACK WHITE takes others"
        )
    history |= {"black_level": float(black), "white_level": float(white)}
    if volume.dtype.kind == "f" and (absent := float(np.isnan(volume).mean())):
        history["nan_blackened"] = round(absent, 6)
        notes.append(f"{absent:.2%} of the volume are NaN, and were made black")
    return bscans


def cut_scan(volume: Array, spacing_mm: Spacing, scan: ScanPattern, n_ascans: int | None = None) -> Array:
    """Cut B-scans along other lines out of a raster, by linear interpolation between its A-scans.

    Args:
        volume: uint8, shape ``(S, Z, X)``, a raster from above to below, centred on the fovea.
        spacing_mm: ``(s, z, x)``.
        scan: lines to cut along.
        n_ascans: A-scans of a line; None takes them as far apart as they are in the raster.

    Returns:
        uint8, shape ``(lines, Z, n_ascans)``.

    Raises:
        DataError: if a line leaves the raster by more than half a slice.

    Example:
        >>> raster = np.zeros((21, 4, 40), np.uint8)  # 6 x 6 mm
        >>> cut_scan(raster, (0.3, 0.004, 0.15), RadialScan(6, length_mm=5.0)).shape
        (6, 4, 33)
    """
    s_mm, _, x_mm = spacing_mm
    n_slices, n_depth, columns = volume.shape
    n_ascans = n_ascans or max(1, round(max(scan.length_mm) / x_mm))
    x, y = scan.coordinates(n_ascans).numpy().astype(float).transpose(2, 0, 1)
    slices = y / s_mm + (n_slices - 1) / 2
    ascans = x / x_mm + (columns - 1) / 2
    over = max(-slices.min(), slices.max() - (n_slices - 1), -ascans.min(), ascans.max() - (columns - 1))
    if over > 0.5:
        raise DataError(
            f"expected lines within the raster of {columns * x_mm:.3g} x {n_slices * s_mm:.3g} mm, found "
            f"{max(scan.length_mm):.3g} mm; give a shorter --star-mm"
        )
    cut = np.empty((scan.n_slices, n_depth, n_ascans), np.uint8)
    for row in range(n_depth):
        values = ndimage.map_coordinates(
            volume[:, row].astype(np.float32), [slices, ascans], order=1, mode="nearest"
        )
        cut[:, row] = values.round()
    return cut


def white_border(bscan: Array) -> Array:
    """What is white and reaches the top or the bottom, as a fill does; a bright layer reaches only the sides.

    Args:
        bscan: uint8, shape ``(Z, X)``.

    Returns:
        Bool, same shape.

    Example:
        >>> bscan = np.zeros((40, 50), np.uint8)
        >>> bscan[:6] = bscan[20:28] = 255  # a fill, and a bright layer
        >>> np.flatnonzero(white_border(bscan)[:, 25]).tolist()  # its edge is blurred, and goes with it
        [0, 1, 2, 3, 4, 5, 6, 7]
    """
    # Top and bottom count as white, so that a line of one pixel along them is thick enough.
    white = np.pad(bscan >= _WHITE, ((0, 0), (_THICK, _THICK)), mode="edge")
    white = np.pad(white, ((_THICK, _THICK), (0, 0)), constant_values=True)
    parts, _ = ndimage.label(ndimage.binary_opening(white, np.ones((_THICK, _THICK))))
    inner = np.s_[_THICK:-_THICK, _THICK:-_THICK]
    border = np.isin(parts, [parts[_THICK // 2, _THICK], parts[-_THICK // 2, _THICK]])[inner]
    # The edge of a fill is blurred by compression.
    return ndimage.binary_dilation(border, iterations=2) if border.any() else border
