"""Meshes and ETDRS fields, as other programs read them and against closed forms."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fund2oct.data import DataError
from fund2oct.export import export_eye
from fund2oct.geometry import CircularScan, LineScan, Placement, RadialScan, RasterScan
from fund2oct.models.thickness import ThicknessMap
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.retina import boundary_index

SLOPE = (12.0, -20.0)
"""Micrometres of thickness a millimetre, to the right and down."""


def with_planes(eye, scan, n_ascans):
    """An eye whose retina is 300 um at the fovea and a plane; its inner surface lies at 200 um."""
    places = scan.coordinates(n_ascans).numpy()
    thickness = 300 + places @ np.array(SLOPE)
    ilm = np.full_like(thickness, 200.0)
    rpe = ilm + thickness
    surfaces = np.stack([ilm, rpe, rpe, rpe + 25]).astype(np.float32)
    n_slices = scan.n_slices
    return replace(
        eye, scan=scan, volume=np.zeros((n_slices, 24, n_ascans), np.uint8), surfaces_um=surfaces,
        spacing_mm=(math.nan, 0.08, scan.length_mm[0] / n_ascans),
    )  # fmt: skip


def _rounded(points):
    return {tuple(point) for point in np.round(points, 4) + 0.0}


@pytest.mark.parametrize(
    ("scan", "n_ascans"),
    [(RasterScan(9, 6.4, 4.0), 32), (RadialScan(6, 6.4), 32), (RadialScan(6, 6.4), 33)],
    ids=["raster", "star", "star through the fovea"],
)
def test_a_mesh_has_its_points_and_its_area_in_millimetres(scan, n_ascans, raster_eye, tmp_path):
    trimesh, pyvista = pytest.importorskip("trimesh"), pytest.importorskip("pyvista")
    eye = with_planes(raster_eye, scan, n_ascans)
    folders = {format: export_eye(eye, tmp_path, "eye", format) for format in ("ply", "vtk")}
    assert sorted(each.name for each in folders["ply"].iterdir()) == [
        "BM.ply",
        "ILM.ply",
        "OS.ply",
        "RPE.ply",
    ]
    header = (folders["ply"] / "ILM.ply").read_bytes().partition(b"end_header")[0].decode("ascii")
    assert "x right and y down of the scan's centre" in header, "which need not be the fovea"
    places = scan.coordinates(n_ascans).numpy().reshape(-1, 2).astype(float)
    flat = trimesh.load(folders["ply"] / "ILM.ply", process=False)
    tilted = trimesh.load(folders["ply"] / "RPE.ply", process=False)
    assert flat.vertices[:, 2] == pytest.approx(0.2, abs=1e-6)
    x, y, z = tilted.vertices.T
    assert z == pytest.approx(0.5 + 0.001 * (SLOPE[0] * x + SLOPE[1] * y), abs=1e-5)
    assert (flat.face_normals[:, 2] < 0).all()  # towards the vitreous
    half = 1 - 1 / n_ascans  # from the first A-scan's centre to the last one's
    # A rectangle, or a regular polygon of 12 corners.
    area_mm2 = 6.4 * half * 4.0 if isinstance(scan, RasterScan) else 3 * (3.2 * half) ** 2
    assert flat.area == pytest.approx(area_mm2, rel=1e-5)
    assert _rounded(flat.vertices[:, :2]) == _rounded(places)

    read = pyvista.read(folders["vtk"] / "RPE.vtk")
    assert np.allclose(read.points, tilted.vertices, atol=1e-6)
    assert np.array_equal(read.regular_faces, tilted.faces)
    assert read["thickness_um"] == pytest.approx(1000 * (z - 0.2), abs=1e-2)


def test_a_mesh_has_a_hole_where_nothing_was_found(raster_eye, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    eye = with_planes(raster_eye, RasterScan(9, 6.4, 4.0), 32)
    eye.surfaces_um[:, 4, 10] = np.nan
    mesh = trimesh.load(export_eye(eye, tmp_path, "eye", "ply") / "ILM.ply", process=False)
    assert len(mesh.vertices) == 9 * 32 - 1
    assert mesh.euler_number == 0  # a disc with one hole


def test_surfaces_are_searched_where_none_are_stored(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    eye = simulate_eye(0, 5, PhantomConfig(fundus_px=48, n_depth=80, n_ascans=56, diagnosis="normal"))
    assert eye.surfaces_um is None
    mesh = trimesh.load(export_eye(eye, tmp_path, "eye", "ply") / "ILM.ply", process=False)
    truth_mm = eye.boundaries_um[boundary_index("ILM")].ravel() / 1000
    places = eye.scan.coordinates(56).numpy().reshape(-1, 2)
    nearest = np.array([np.hypot(*(places - point[:2]).T).argmin() for point in mesh.vertices])
    assert np.abs(mesh.vertices[:, 2] - truth_mm[nearest]).mean() < 0.02


def read_rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return {row["field"]: row for row in csv.DictReader(file)}


def mean_along_axis(near, far):
    """Mean of the distance along a ring's quarter's own axis, in closed form."""
    radius = 2 / 3 * (far**3 - near**3) / (far**2 - near**2)
    return radius * math.sin(math.pi / 4) / (math.pi / 4)


@pytest.mark.parametrize("scan", [RasterScan(25, 7.0, 7.0), RadialScan(6, 8.8)], ids=["raster", "star"])
def test_etdrs_fields_are_means_over_the_area(scan, raster_eye, tmp_path):
    rows = read_rows(export_eye(with_planes(raster_eye, scan, 64), tmp_path, "eye", "csv"))
    assert len(rows) == 9
    inner, outer = mean_along_axis(0.5, 1.5), mean_along_axis(1.5, 3.0)
    expected = {
        "centre": 300, "inner right": 300 + SLOPE[0] * inner, "inner up": 300 - SLOPE[1] * inner,
        "outer left": 300 - SLOPE[0] * outer, "outer down": 300 + SLOPE[1] * outer,
    }  # fmt: skip
    for field, thickness_um in expected.items():
        assert float(rows[field]["thickness_um"]) == pytest.approx(thickness_um, abs=0.4), field
    assert rows["inner right"]["name"] == "inner temporal" and rows["centre"]["name"] == "central"
    assert {row["known_from"] for row in rows.values()} == {"volume"}
    assert {row["low_um"] for row in rows.values()} == {"nan"}


def test_etdrs_counts_a_scans_and_is_nan_where_the_scan_does_not_reach(raster_eye, tmp_path):
    scan = RasterScan(5, 2.0, 2.0)  # lines at -1, -0.5, 0, 0.5 and 1 mm, A-scans 0.05 mm apart
    eye = with_planes(raster_eye, scan, 40)
    eye.surfaces_um[:, 2, :20] = np.nan
    rows = read_rows(export_eye(replace(eye, laterality=""), tmp_path, "eye", "csv"))
    assert (rows["centre"]["n_ascans"], rows["centre"]["n_known"]) == ("20", "10")
    for field in ("outer up", "outer right", "outer down", "outer left"):
        assert (rows[field]["n_ascans"], rows[field]["thickness_um"]) == ("0", "nan")
    assert rows["inner right"]["name"] == "" and rows["inner up"]["name"] == "inner superior"


def test_inside_a_circle_and_where_no_ascan_lies_nothing_is_known(raster_eye, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    eye = with_planes(raster_eye, CircularScan((0.6, 1.4)), 64)
    mesh = trimesh.load(export_eye(eye, tmp_path, "eye", "ply") / "ILM.ply", process=False)
    # A regular polygon of 64 corners with a hole of the same shape.
    assert mesh.area == pytest.approx(32 * math.sin(2 * math.pi / 64) * (1.4**2 - 0.6**2), rel=1e-5)
    assert mesh.euler_number == 0
    rows = read_rows(export_eye(eye, tmp_path, "eye", "csv"))
    right = float(rows["inner right"]["thickness_um"])
    assert right == pytest.approx(300 + SLOPE[0] * mean_along_axis(0.6, 1.4), abs=0.5)
    lines = with_planes(raster_eye, RasterScan(2, 6.4, 1.5), 64)  # 0.75 mm above and below
    far_apart = read_rows(export_eye(lines, tmp_path, "lines", "csv"))
    for row in (rows["centre"], rows["outer right"], far_apart["centre"]):
        assert (row["n_ascans"], row["thickness_um"]) == ("0", "nan")


def test_a_prediction_has_its_interval(raster_eye, tmp_path):
    line = (np.arange(80) + 0.5 - 40) * 0.08
    x, y = np.meshgrid(line, line)
    median = np.where(np.hypot(x, y) < 2.9, 250 + 10 * x, np.nan)
    found = ThicknessMap(median, median - 30, median + 40, np.stack([x, y], -1), 0.08)
    rows = read_rows(export_eye(raster_eye, tmp_path, "eye", "csv", thickness=found))
    row = rows["centre"]
    assert (row["thickness_um"], row["low_um"], row["high_um"]) == ("250.0", "220.0", "290.0")
    assert float(rows["inner right"]["thickness_um"]) == pytest.approx(
        250 + 10 * mean_along_axis(0.5, 1.5), 0.01
    )
    assert row["known_from"] == "photo"


def test_meshes_and_fields_are_turned_as_the_scan_is_on_the_photo(raster_eye, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    turned = replace(raster_eye, placement=Placement((0.1, -0.05), 90.0, 6.5))
    eye = with_planes(turned, RasterScan(25, 7.0, 7.0), 64)
    # What is to the right in the scan is down on the photo, and what is down in it is to the left.
    mesh = trimesh.load(export_eye(eye, tmp_path, "eye", "ply") / "RPE.ply", process=False)
    x, y, z = mesh.vertices.T
    assert z == pytest.approx(0.5 + 0.001 * (SLOPE[0] * y - SLOPE[1] * x), abs=1e-5)
    inner = mean_along_axis(0.5, 1.5)
    rows = read_rows(export_eye(eye, tmp_path, "eye", "csv"))
    assert float(rows["inner down"]["thickness_um"]) == pytest.approx(300 + SLOPE[0] * inner, abs=0.6)
    assert float(rows["inner right"]["thickness_um"]) == pytest.approx(300 - SLOPE[1] * inner, abs=0.6)
    # The same of a map that a model predicted.
    line = (np.arange(80) + 0.5 - 40) * 0.08
    points = np.stack(np.meshgrid(line, line), -1)
    median = 250 + 10 * points[..., 0]
    grid = turned.placement.to_grid(torch.from_numpy(points)).numpy()
    found = ThicknessMap(median, median - 30, median + 40, grid, 0.08)
    rows = read_rows(export_eye(turned, tmp_path, "map", "csv", thickness=found))
    assert float(rows["inner down"]["thickness_um"]) == pytest.approx(250 + 10 * inner, abs=1)
    assert float(rows["inner right"]["thickness_um"]) == pytest.approx(250, abs=1)


@pytest.mark.parametrize(
    "scan", [LineScan((((-3.2, 0.0), (3.2, 0.0)),)), CircularScan((1.0,))], ids=["line", "circle"]
)
@pytest.mark.parametrize("format", ["ply", "vtk", "csv"])
def test_one_line_spans_no_surface(format, scan, raster_eye, tmp_path):
    eye = replace(raster_eye, volume=raster_eye.volume[:1], scan=scan)
    with pytest.raises(DataError, match="eye 'eye 7': a surface needs lines that span an area, found 1"):
        export_eye(eye, tmp_path, "eye", format)
    assert not list(tmp_path.iterdir())


def test_a_volume_without_a_retina_is_said(raster_eye, tmp_path):
    eye = replace(raster_eye, surfaces_um=np.full((4, 5, 32), np.nan, np.float32))
    with pytest.raises(DataError, match="eye 'eye 7': no surface of the retina was found"):
        export_eye(eye, tmp_path, "eye", "ply")
