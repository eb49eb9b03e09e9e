"""The retina's surfaces as meshes in millimetres: PLY and VTK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import Delaunay, QhullError

from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.export.origin import statement_on
from fund2oct.eye import Array, DataError, Eye
from fund2oct.geometry.triangles import inside_a_ring
from fund2oct.retina.layers import SURFACES


def with_surfaces(eye: Eye) -> Eye:
    """The eye with the surfaces that the search finds in its volume, where it has none stored."""
    if eye.surfaces_um is not None:
        return eye
    assert eye.volume is not None
    return replace(eye, **searched_fields(eye.volume, eye.spacing_mm, []))


def ascan_places_mm(eye: Eye) -> Array:
    """Where each A-scan lies around the scan's centre, x right and y down on the photo, ``(S, X, 2)``."""
    assert eye.volume is not None and eye.scan is not None
    places: Array = eye.placement.turned(eye.scan.coordinates(eye.volume.shape[2]).double()).numpy()
    return places


def triangulate(eye: Eye) -> tuple[Delaunay, Array]:
    """Triangles between the A-scans, of a raster as of a star, by their places in millimetres.

    Returns:
        All triangles, and which of them lie over what was scanned: those inside of a circle do not.

    Raises:
        DataError: if the scan spans no area, as a single line and a single circle do not.

    References:
        Delaunay triangulation by Qhull, Barber et al., ACM Trans. Math. Software 1996.
    """
    assert eye.volume is not None and eye.scan is not None
    needs = f"eye {eye.key!r}: a surface needs lines that span an area, found {eye.scan.n_slices}"
    try:
        found = Delaunay(ascan_places_mm(eye).reshape(-1, 2))
    except QhullError:
        raise DataError(f"{needs} on one straight line") from None
    scanned = ~inside_a_ring(eye.scan, found.simplices, eye.volume.shape[2])
    if not scanned.any():
        raise DataError(f"{needs} along one circle, inside of which nothing was scanned")
    return found, scanned


def save_ply(eye: Eye, folder: Path) -> None:
    """Write a triangle mesh a surface, ``ILM.ply`` and so on, binary PLY.

    A point is ``(x, y, z)`` in millimetres: to the right and down of the scan's centre as the photo is
    displayed, and depth below the frame's top edge. Triangles face the vitreous. Where a surface was not
    found, the mesh has a hole.

    Args:
        eye: an eye with a volume.
        folder: the folder to make, with a file for each surface that was found.

    Raises:
        DataError: if the scan spans no area, or no surface was found.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_ply(eye, Path("meshes"))
        >>> Path("meshes/ILM.ply").read_bytes()[:3]
        b'ply'
    """
    for name, points, triangles, _ in _meshes(eye, folder):
        header = [
            "ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in _lines_on(eye, name)),
            f"element vertex {len(points)}", *(f"property float {axis}" for axis in "xyz"),
            f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header",
        ]  # fmt: skip
        faces = np.empty(len(triangles), [("n", "u1"), ("corners", "<i4", 3)])
        faces["n"], faces["corners"] = 3, triangles
        body = points.astype("<f4").tobytes() + faces.tobytes()
        (folder / f"{name}.ply").write_bytes("\n".join([*header, ""]).encode("ascii") + body)


def save_vtk(eye: Eye, folder: Path) -> None:
    """Write the meshes of :func:`save_ply` as legacy VTK, with the retina's thickness at each point.

    Args:
        eye: an eye with a volume.
        folder: the folder to make, with a file for each surface that was found.

    Raises:
        DataError: if the scan spans no area, or no surface was found.

    References:
        VTK file formats, https://docs.vtk.org/en/latest/vtk_file_formats/vtk_legacy_file_format.html.

    Example:
        >>> from fund2oct.data import EyeReader
        >>> with EyeReader("eyes.h5") as reader:
        ...     eye = reader.read(reader.keys[0])
        >>> save_vtk(eye, Path("meshes"))
        >>> Path("meshes/ILM.vtk").read_bytes()[:26]
        b'# vtk DataFile Version 3.0'
    """
    for name, points, triangles, thickness_um in _meshes(eye, folder):
        title = " ".join(_lines_on(eye, name))[:255]
        parts: list[str | Array] = [
            f"# vtk DataFile Version 3.0\n{title}\nBINARY\nDATASET POLYDATA\nPOINTS {len(points)} float\n",
            points.astype(">f4"),
            f"\nPOLYGONS {len(triangles)} {4 * len(triangles)}\n",
            np.insert(triangles, 0, 3, axis=1).astype(">i4"),
            f"\nPOINT_DATA {len(points)}\nSCALARS thickness_um float 1\nLOOKUP_TABLE default\n",
            thickness_um.astype(">f4"),
            "\n",
        ]
        data = (part.encode("ascii") if isinstance(part, str) else part.tobytes() for part in parts)
        (folder / f"{name}.vtk").write_bytes(b"".join(data))


def _lines_on(eye: Eye, surface: str) -> list[str]:
    return [
        statement_on(eye),
        f"Surface {surface} in mm, x right and y down of the scan's centre as on the photo, z deeper.",
    ]


def _meshes(eye: Eye, folder: Path) -> list[tuple[str, Array, Array, Array]]:
    """Of each surface that was found: its name, points, triangles, and the thickness at its points."""
    triangulation, scanned = triangulate(eye)
    triangles = triangulation.simplices[scanned][:, ::-1]
    eye = with_surfaces(eye)
    assert eye.surfaces_um is not None
    places = ascan_places_mm(eye).reshape(-1, 2)
    thickness_um = found_thickness_um(eye).ravel()
    found = []
    for name, depth_um in zip(SURFACES, eye.surfaces_um.reshape(len(SURFACES), -1), strict=True):
        kept = triangles[np.isfinite(depth_um)[triangles].all(1)]
        if kept.size:
            used, corners = np.unique(kept, return_inverse=True)
            points = np.column_stack([places[used], depth_um[used] / 1000])
            found.append((name, points, corners.reshape(kept.shape), thickness_um[used]))
    if not found:
        raise DataError(f"eye {eye.key!r}: no surface of the retina was found in its volume")
    folder.mkdir()
    return found


def found_thickness_um(eye: Eye) -> Array:
    """Thickness of the retina at each A-scan, NaN where it is not known, shape ``(S, X)``."""
    assert eye.surfaces_um is not None
    thickness: Array = eye.surfaces_um[SURFACES.index("RPE")] - eye.surfaces_um[SURFACES.index("ILM")]
    return thickness
