"""Protocols of the comparison of files: the sizes of both sides, and the statement in the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fund2oct.data.formats.images import resize
from fund2oct.data.importing.aptos import DEPTH_MM, SCAN, SHAPE, bscan_of
from fund2oct.eye import Array


@dataclass(frozen=True)
class Protocol:
    """A protocol by which two sets of volumes are compared.

    Args:
        name: name for ``--protocol``.
        statement: what a reader of the numbers has to know, in Markdown.
        shape: numbers of slices, rows and A-scans ``(S, Z, X)`` that each volume must have; None takes those
            of the first real volume.
        advice: advice for files of another shape, how to get this one.
        adapt_real: a function of each real picture of a folder, uint8 ``(rows, columns)``, that returns the
            B-scan; None takes the picture as it is.

    Example:
        >>> PROTOCOLS["aptos2024"].shape
        (6, 320, 448)
    """

    name: str
    statement: str
    shape: tuple[int, int, int] | None = None
    advice: str = ""
    adapt_real: Callable[[Array], Array] | None = None


def _challenge_bscan(picture: Array) -> Array:
    """Crop a vendor's export to its B-scan and resize it, as the importer does."""
    return resize(bscan_of(picture), *SHAPE)


FILES = Protocol(
    "files",
    "Volumes are compared as they lie in the files, without resizing. The aligned columns take the pose "
    "out: the outer retina is found in the real and in the generated volume by the same search, and "
    "each volume is flattened on its own; voxels count where both were scanned.",
)

APTOS2024 = Protocol(
    "aptos2024",
    "What a submission to the APTOS-2024 challenge holds, six grey slices an eye of 448 x 320 pixels "
    "(width x height), is compared with the real B-scans: of a vendor's export its right part of "
    "768 x 496 pixels, resized to 448 x 320 (bicubic, antialiased), as `fund2oct import aptos` does. "
    "The columns *as they lie* come first, because a submission is judged as it lies; the aligned "
    "columns beside them take the pose out, which is not in the photo.\n\n"
    "**The challenge's own protocol is not public**: which networks, layers, resizing and frames its "
    "image and video distances take is unknown. **These numbers cannot be compared with its "
    "leaderboard**; compare them with their floor and with each other.",
    (SCAN.n_slices, *SHAPE),
    f"submissions hold that size; import real eyes with --shape {SHAPE[0]} {SHAPE[1]}",
    _challenge_bscan,
)

PROTOCOLS = {protocol.name: protocol for protocol in (APTOS2024,)}
"""The protocols, by the name that ``--protocol`` takes."""

ASSUMED_DEPTH_MM = DEPTH_MM
ASSUMED_SCAN = SCAN
"""What pictures do not say of their scan: the challenge's."""
SEVERAL_SCANS = "The eyes were scanned along different lines: volumes of lesions are left out."
"""Note of a report on eyes that have no scan in common."""


def find_protocol(name: str | None) -> Protocol:
    """Look a protocol up; None compares files as they lie.

    Raises:
        ValueError: if there is none of that name.
    """
    if name is None:
        return FILES
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r}: expected one of {', '.join(sorted(PROTOCOLS))}")
    return PROTOCOLS[name]
