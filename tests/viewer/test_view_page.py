"""What a page holds is what the files hold."""

import base64
import io
import json
import os
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from eye_files import write_eyes
from PIL import Image
from scipy import ndimage

from fund2oct.cli import main
from fund2oct.data import DataError, Eye
from fund2oct.geometry import CircularScan, LineScan, Placement, RadialScan, RasterScan
from fund2oct.models.thickness import ThicknessMap, load_thickness, save_thickness
from fund2oct.viewer import write_page
from fund2oct.viewer.collect import Collection, source_names
from fund2oct.viewer.pack import DEPTH_STEP_UM, UNKNOWN, between_spokes, pack_depths

S, Z, X, H = 6, 20, 32, 24


def tags(page):
    """The JSON that a page carries, by the tag's name."""
    found = re.findall(
        r'<script type="application/json" id="([^"]+)">(.*?)</script>', page.read_text("utf-8")
    )
    return {name: json.loads(text) for name, text in found}


def picture(url):
    head, data = url.split(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def array(packed):
    values = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), packed["type"])
    return values.reshape(packed["shape"])


def depths(packed):
    steps = array(packed)
    return np.where(steps == UNKNOWN, np.nan, steps * DEPTH_STEP_UM)


def eye_of(key, rng, scan=None, placement=None, **fields):
    """An eye with noise for pictures, and surfaces and a pose that no search has to find."""
    heights = np.array([30, 70, 75, 80], np.float32)[:, None, None] + rng.random((4, S, X), np.float32)
    return Eye(
        key=key, patient="Jane Doe", laterality="OD", diagnosis="</script><b>",
        fundus=rng.integers(0, 256, (H, H, 3), np.uint8),
        volume=rng.integers(0, 256, (S, Z, X), np.uint8),
        scan=scan or RadialScan(S, 8.0),
        placement=placement or Placement((0.1, -0.05), 5.0, 6.0),
        spacing_mm=(float("nan"), 0.005, 8.0 / X), pose_um=np.full((S, 7), 3, np.float32),
        surfaces_um=heights, surface_confidence=np.ones((S, X), np.float32), **fields,
    )  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_what_is_packed_is_what_the_file_holds(tmp_path, rng):
    lesions = np.zeros((S, Z, X), np.uint8)
    lesions[2, 5:9, 4:11] = 4
    layers = np.sort(rng.random((11, S, X), np.float32) * 100, 0)
    eye = eye_of("a", rng, lesions=lesions, boundaries_um=layers)
    eye.surfaces_um[0, 1, 5:8] = np.nan
    page = tmp_path / "view.html"
    report = write_page([write_eyes(tmp_path / "eyes.h5", [eye])], page, quality=100)
    assert report.size_bytes == page.stat().st_size
    packed = tags(page)["eye-0"]
    (source,) = packed["sources"]
    assert source["shape"] == [S, Z, X] and source["rowUm"] == pytest.approx(5)
    assert source["ascanUm"] == pytest.approx([250] * S)
    np.testing.assert_array_equal(picture(packed["photo"]), eye.fundus)
    for number, url in enumerate(source["slices"]):
        np.testing.assert_array_equal(picture(url), np.repeat(eye.volume[number][..., None], 3, -1))
    labels = [None if url is None else picture(url)[..., 0] for url in source["lesions"]]
    assert [each is None for each in labels] == [True, True, False, True, True, True]
    np.testing.assert_array_equal(labels[2], lesions[2])
    np.testing.assert_allclose(depths(source["surfaces"]), eye.surfaces_um, atol=DEPTH_STEP_UM / 2 + 1e-4)
    pose_um = np.polynomial.legendre.legval((2 * np.arange(X) + 1) / X - 1, [3] * 7)
    np.testing.assert_allclose(depths(source["pose"]), np.tile(pose_um, (S, 1)), atol=0.11)
    np.testing.assert_allclose(depths(source["layers"]), layers, atol=DEPTH_STEP_UM / 2 + 1e-4)
    assert not source["searched"]


def test_one_bright_voxel_stays_where_it_is_and_a_wide_slice_is_made_smaller(tmp_path, rng):
    eye = eye_of("a", rng)
    eye.volume[:] = 0
    eye.volume[4, 12:14, 24:28] = 255
    write_page([write_eyes(tmp_path / "eyes.h5", [eye])], tmp_path / "view.html")
    write_page([tmp_path / "eyes.h5"], tmp_path / "view.html", width_px=16, quality=100)
    (tmp_path / "mine.html").write_text("<!doctype html><p>my thesis")
    with pytest.raises(DataError, match=r"mine.html: exists, and is no page that fund2oct made"):
        write_page([tmp_path / "eyes.h5"], tmp_path / "mine.html")
    (source,) = tags(tmp_path / "view.html")["eye-0"]["sources"]
    assert source["shape"] == [S, Z // 2, X // 2] and source["rowUm"] == pytest.approx(10)
    assert source["ascanUm"] == pytest.approx([500] * S)
    slices = np.stack([picture(url)[..., 0] for url in source["slices"]])
    s, z, x = np.unravel_index(slices.argmax(), slices.shape)
    assert (s, z) == (4, 6) and x in (12, 13)
    assert depths(source["surfaces"]).shape == (4, S, X // 2)


def test_the_lines_lie_on_the_photo_as_the_placement_says(tmp_path, rng):
    eye = eye_of("a", rng)
    write_page([write_eyes(tmp_path / "eyes.h5", [eye])], tmp_path / "view.html")
    (scan,) = tags(tmp_path / "view.html")["eye-0"]["scans"]
    points = array(scan["points"])[: S * scan["nVertices"]].reshape(S, -1, 2)
    # By hand: line 0 runs straight up and line 3 to the right, both turned by 5 degrees clockwise.
    reach, turn = 4.0 * (1 - 1 / scan["nVertices"]) / 6.0, np.radians(5)
    up, right = np.array([np.sin(turn), -np.cos(turn)]), np.array([np.cos(turn), np.sin(turn)])
    fovea = np.array([0.1, -0.05])
    np.testing.assert_allclose(points[[0, 3], -1], fovea + reach * np.stack([up, right]), atol=1e-6)
    np.testing.assert_allclose(points[[0, 3], 0], fovea - reach * np.stack([up, right]), atol=1e-6)


def test_a_star_is_filled_along_arcs_and_anything_else_is_not():
    along = RadialScan(3, 6.0).coordinates(8, dtype=torch.float64).numpy()
    extra, pairs, shares = between_spokes(along)
    flat = along.reshape(-1, 2)
    radius = np.hypot(*flat.T)
    # Each lies between two points of its own radius, at an angle of its share.
    np.testing.assert_allclose(np.hypot(*extra.T), radius[pairs[:, 0]])
    np.testing.assert_allclose(radius[pairs[:, 1]], radius[pairs[:, 0]])
    angle = [
        np.arctan2(points[:, 1], points[:, 0]) for points in (flat[pairs[:, 0]], extra, flat[pairs[:, 1]])
    ]
    turned, wide = (angle[1] - angle[0]) % (2 * np.pi), (angle[2] - angle[0]) % (2 * np.pi)
    np.testing.assert_allclose(wide, np.pi / 3)
    np.testing.assert_allclose(turned, shares * wide)
    assert len(extra) == 6 * 9 * 4  # six gaps of 60 degrees, nine arcs in each, four radii
    for other in (RasterScan(5), LineScan((((-1, 0), (1, 0)),))):
        assert not len(between_spokes(other.coordinates(8, dtype=torch.float64).numpy())[0])


def test_depths_keep_what_is_unknown_and_are_cut_off_in_no_frame():
    values = np.array([np.nan, 0, -12.3, 6553, 6700, 20_000], np.float32)  # a frame has 20 mm at most
    np.testing.assert_allclose(depths(pack_depths(values)), values, atol=DEPTH_STEP_UM / 2 + 1e-4)


def test_eyes_of_one_key_come_together_and_their_surfaces_are_searched_for(tmp_path, rng):
    first = write_eyes(tmp_path / "eyes.h5", (eye_of(key, rng) for key in "abcd"))
    made = eye_of("c", rng)
    fields = {name: getattr(made, name) for name in ("patient", "laterality", "fundus", "scan", "spacing_mm")}
    (tmp_path / "made").mkdir()
    volume = Eye(key="c", volume=made.volume, source="generated from c.jpg", **fields)
    second = write_eyes(tmp_path / "made" / "c.h5", [volume])
    n = 8
    pages = np.arange(3 * n * n, dtype=np.float32).reshape(3, n, n)
    found = ThicknessMap(*pages, grid=np.zeros((n, n, 2)), pitch_mm=0.5)
    for beside in (tmp_path, second.parent):  # the first is of a prediction that lies beside the real eyes
        save_thickness(found, beside / "c.thickness.tif")
    report = write_page([first, second.parent], tmp_path / "view.html", n_eyes=2)
    assert report.keys == ("a", "c") and report.n_found == 4
    about, eye = (tags(tmp_path / "view.html")[name] for name in ("about", "eye-1"))
    assert about["names"] == ["real", "made"] and about["keys"] == ["a", "c"]
    real, generated = eye["sources"]
    assert (real["name"], real["searched"], real["map"]) == ("real", False, None)
    assert generated["searched"] and generated["scan"] == 1  # its placement is another
    np.testing.assert_allclose(depths(generated["map"]["depths"]), pages, atol=0.11)
    assert generated["map"]["firstMm"] == [-1.75, -1.75] and generated["map"]["pitchMm"] == pytest.approx(0.5)


def test_no_name_of_a_patient_and_no_address_is_on_the_page(tmp_path, rng):
    write_page([write_eyes(tmp_path / "eyes.h5", [eye_of("a<b>", rng)])], tmp_path / "view.html")
    text = (tmp_path / "view.html").read_text("utf-8")
    assert "Jane Doe" not in text
    assert tags(tmp_path / "view.html")["eye-0"]["diagnosis"] == "</script><b>"
    own = text.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xhtml", "")
    assert not re.findall(r"(?:src|href)=[\"']https?:|@import|url\(https?:|//cdn", own)


def test_twenty_eyes_with_their_predictions_stay_below_ten_megabytes(tmp_path, rng):
    # At the size of the challenge's submission, speckle all over: it is what no codec makes small.
    speckle = ndimage.gaussian_filter(rng.gamma(2.0, 30.0, (1, 320, 448)), (0, 1, 1))
    volume = np.clip(speckle, 0, 255).astype(np.uint8).repeat(S, 0)
    photo = np.kron(rng.integers(0, 256, (28, 28, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    common = {"scan": RadialScan(S, 8.8), "spacing_mm": (float("nan"), 0.006, 8.8 / 448)}
    plain = {
        "pose_um": np.zeros((S, 7), np.float32), "surface_confidence": np.ones((S, 448), np.float32),
        "surfaces_um": np.linspace(600, 900, 4, dtype=np.float32)[:, None, None].repeat(S, 1).repeat(448, 2),
    }  # fmt: skip
    eye = Eye(key="a", patient="p", laterality="OD", fundus=photo, volume=volume, **common, **plain)
    files = [write_eyes(tmp_path / name, [eye]) for name in ("real.h5", "made.h5")]
    one = write_page(files, tmp_path / "view.html").size_bytes
    shell = one - len(json.dumps(tags(tmp_path / "view.html")["eye-0"]))
    assert shell + 20 * (one - shell) < 10e6


def test_names_and_refusals(tmp_path, rng, capsys):
    assert source_names(["a/x.h5"]) == ("x",)
    assert source_names(["a.h5", "b/real.h5", "c/"]) == ("real", "real 2", "c")
    (tmp_path / "net-v1.2").mkdir()
    assert source_names(["a.h5", tmp_path / "net-v1.2", "x.y.h5"]) == ("real", "net-v1.2", "x.y")
    path = str(write_eyes(tmp_path / "eyes.h5", [eye_of("a", rng)]))
    out = str(tmp_path / "view.html")
    for arguments, message in (
        ([path, "--out", "view.txt"], "view.txt: expected the name of an .html file"),
        ([path, "--out", out, "--eye", "b"], "eye 'b': expected a key of"),
        ([path, "--out", out, "--quality", "0"], "a quality from 1 to 100, found 20, 512 and 0"),
        (["none.h5", "--out", out], "none.h5: no such file"),
    ):
        assert main(["view", *arguments]) == 1
        assert message in capsys.readouterr().err
    assert main(["view", path, "--out", out, "--eye", "a"]) == 0
    assert "1 eyes" in capsys.readouterr().out
    assert main(["view", path, "--out", str(tmp_path / "my view.html")]) == 0
    assert "/my%20view.html" in capsys.readouterr().out
    with pytest.raises(DataError, match="expected at least one file"):
        Collection([])
    odd = (tmp_path / "eyes.h5").rename(tmp_path / os.fsdecode(b"eye\xff.h5"))
    assert write_page(odd, out).size_bytes == (tmp_path / "view.html").stat().st_size
    assert tags(tmp_path / "view.html")["about"]["names"] == ["eye\udcff"]


def test_a_thickness_map_is_read_as_it_was_written(tmp_path):
    pages = np.random.default_rng(1).random((3, 10, 10), np.float32) * 300
    found = ThicknessMap(*pages, grid=np.zeros((10, 10, 2)), pitch_mm=0.08)
    save_thickness(found, tmp_path / "a.thickness.tif")
    read = load_thickness(tmp_path / "a.thickness.tif", Placement((0.2, 0.0)))
    np.testing.assert_array_equal(np.stack([read.median_um, read.low_um, read.high_um]), pages)
    assert read.pitch_mm == pytest.approx(0.08, rel=1e-3)
    np.testing.assert_allclose(read.grid[0, 0], [0.2 - 0.36 / 6.5, -0.36 / 6.5], atol=1e-4)
    (tmp_path / "b.thickness.tif").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"b.thickness.tif: expected a thickness map"):
        load_thickness(tmp_path / "b.thickness.tif", Placement())


def test_a_volume_without_a_photo_and_a_photo_without_a_volume(tmp_path, rng):
    full = eye_of("volume", rng)
    names = ("volume", "scan", "spacing_mm", "pose_um", "surfaces_um", "surface_confidence")
    volume = Eye(
        key="volume", patient="a", laterality="", **{name: getattr(full, name) for name in names},
        localizer=full.fundus[..., 0].copy(), localizer_placement=Placement(half_width_mm=4.0),
    )  # fmt: skip
    photo = Eye(key="photo", patient="b", laterality="", fundus=full.fundus)
    write_page([write_eyes(tmp_path / "eyes.h5", [volume, photo])], tmp_path / "view.html", quality=100)
    found = tags(tmp_path / "view.html")
    assert found["eye-0"]["key"] == "photo" and found["eye-0"]["sources"][0]["shape"] is None
    assert (
        found["eye-1"]["photoIsLocalizer"] and found["eye-1"]["scans"][0]["placement"]["half_width_mm"] == 4.0
    )
    np.testing.assert_array_equal(picture(found["eye-1"]["photo"])[..., 0], full.fundus[..., 0])


def test_a_scan_without_a_picture_is_shown_whole(tmp_path, rng):
    wide = {"scan": RasterScan(S, 15.0, 15.0), "spacing_mm": (3.0, 0.005, 15.0 / X)}
    eye = replace(eye_of("a", rng), fundus=None, **wide)
    write_page([write_eyes(tmp_path / "eyes.h5", [eye])], tmp_path / "view.html")
    packed = tags(tmp_path / "view.html")["eye-0"]
    (scan,) = packed["scans"]
    assert packed["photo"] is None
    # Its corners are 7.5 mm to the side and up or down; its centre is off by what the placement says.
    half_mm = scan["placement"]["half_width_mm"]
    assert half_mm == pytest.approx(np.hypot(7.5, 7.5) + 6.0 * np.hypot(0.1, 0.05))
    points, points_mm = array(scan["points"]), array(scan["pointsMm"])
    assert np.abs(points).max() < 1
    np.testing.assert_allclose(
        half_mm * np.hypot(*np.diff(points, axis=0).T), np.hypot(*np.diff(points_mm, axis=0).T), atol=1e-4
    )


def test_the_inside_of_a_circle_is_not_filled(tmp_path, rng):
    radii = np.linspace(-0.5, 0.5, S) + 8.0 / (2 * np.pi)  # 8 mm around in the mean
    eye = eye_of("a", rng, CircularScan(tuple(radii.tolist())))
    write_page([write_eyes(tmp_path / "eyes.h5", [eye])], tmp_path / "view.html")
    packed = tags(tmp_path / "view.html")["eye-0"]
    (scan,), (source,) = packed["scans"], packed["sources"]
    assert source["ascanUm"] == pytest.approx((2000 * np.pi * radii / X).tolist())
    a, b, c = array(scan["pointsMm"])[array(scan["triangles"])].transpose(1, 2, 0).astype(float)
    area_mm2 = np.abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])).sum() / 2
    # Regular polygons with a corner a vertex, the smallest cut out of the largest.
    half = scan["nVertices"] / 2
    assert area_mm2 == pytest.approx(half * np.sin(np.pi / half) * (radii[-1] ** 2 - radii[0] ** 2), rel=1e-4)
    one = eye_of("a", rng, CircularScan((8.0 / (2 * np.pi),) * S))
    write_page([write_eyes(tmp_path / "eyes.h5", [one])], tmp_path / "view.html")
    (scan,) = tags(tmp_path / "view.html")["eye-0"]["scans"]
    assert (scan["triangles"]["shape"], scan["shares"]["shape"]) == ([0, 3], [0])
