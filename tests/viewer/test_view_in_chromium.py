"""The page in a browser: what it shows, what the hand does with it, and that it asks for nothing."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from headless_chromium import CHROMIUM, Chromium
from PIL import Image

from fund2oct.data import Eye, EyeWriter
from fund2oct.geometry import Placement, RadialScan
from fund2oct.models.thickness import ThicknessMap, save_thickness
from fund2oct.viewer import write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

S, Z, X, H = 6, 40, 64, 32
SCAN, PLACED = RadialScan(S, 8.0), Placement((0.1, -0.05), 5.0, 6.0)
DZ_UM = 5.0
READY = "typeof eye === 'object' && eye && !waiting && byId('main').getAttribute('aria-busy') === 'false'"


def eye_of(key, ilm_row, shift_rows=0):
    """A grey retina from row ``ilm_row`` to 30, moved down by its pose, with one bright voxel in slice 2."""
    volume = np.zeros((S, Z, X), np.uint8)
    volume[:, ilm_row + shift_rows : 30 + shift_rows] = 100
    volume[2, ilm_row + shift_rows, 20] = 255
    rows = np.array([ilm_row, 30, 30, 32], np.float32)[:, None, None] + shift_rows
    pose = np.zeros((S, 7), np.float32)
    pose[:, 0] = DZ_UM * (31 + shift_rows)
    photo = np.full((H, H, 3), 90, np.uint8)
    photo[4, 6] = 255
    lesions = np.zeros_like(volume)
    lesions[2, 25:28, 10:20] = 4
    return Eye(
        key=key, patient="p", laterality="OS", diagnosis="SRF", fundus=photo, volume=volume, scan=SCAN,
        placement=PLACED, spacing_mm=(float("nan"), DZ_UM / 1000, 8.0 / X), pose_um=pose, lesions=lesions,
        surfaces_um=np.tile(rows * DZ_UM, (1, S, X)).astype(np.float32),
        surface_confidence=np.ones((S, X), np.float32),
        source="generated from a photo" if shift_rows else "made up",
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two real eyes and two generated ones, each five rows lower and thinner, the first with a map."""
    folder = tmp_path_factory.mktemp("view")
    for name, ilm, shift in (("real.h5", 10, 0), ("made.h5", 14, 5)):
        with EyeWriter(folder / name) as writer:
            for key in ("one", "two"):
                writer.add(eye_of(key, ilm, shift))
    pages = np.stack([np.full((40, 40), um, np.float32) for um in (90, 70, 130)])
    save_thickness(ThicknessMap(*pages, np.zeros((40, 40, 2)), 0.2), folder / "one.thickness.tif")
    (folder / "map").mkdir()
    for name in ("made.h5", "one.thickness.tif"):
        (folder / name).rename(folder / "map" / name)
    out = folder / "view.html"
    assert write_page([folder / "real.h5", folder / "map" / "made.h5"], out, quality=100).in_3d
    return f"file://{out}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def opened(browser, page):
    browser.open(f"{page}#eye=one&slice=2")
    browser.wait_for(READY)
    browser.run("void (globalThis.fresh = {...state})")
    return browser


@pytest.fixture
def shown(opened, browser, page):
    """The page as it was opened, at slice 2; nothing may have gone wrong when the test is over."""
    browser.run("Object.assign(state, fresh); goToEye(0)")
    browser.wait_for(READY)
    yield browser
    assert browser.complaints == []
    assert {address for address in browser.requests if not address.startswith("data:")} == {page}


def state(browser, *names):
    browser.wait_for(READY)
    return [browser.run(f"state.{name}") for name in names]


def centre(browser, selector, x=0.5, y=0.5):
    left, top, width, height = browser.box(selector)
    return left + x * width, top + y * height


def test_the_page_holds_the_values_of_the_file(shown):
    assert shown.run("eye.sources.map((s) => [s.name, s.nSlices, s.rows, s.columns]).flat()") == [
        "real", S, Z, X, "made", S, Z, X,
    ]  # fmt: skip
    at = shown.run("[eye.sources[0].volume.indexOf(255), eye.sources[1].volume.indexOf(255)]")
    assert np.stack(np.unravel_index(at, (S, Z, X)), -1).tolist() == [[2, 10, 20], [2, 19, 20]]
    assert shown.run("eye.sources[0].lesions.indexOf(4)") == np.ravel_multi_index((2, 25, 10), (S, Z, X))
    assert shown.run("[...new Set(thicknessOf(eye.sources[0]))]") == [pytest.approx(100)]
    grid = PLACED.to_grid(SCAN.coordinates(X))[4, 50].tolist()
    assert shown.run(f"ascanAt(eyeFrame().lines, 4, 50.5 / {X})") == pytest.approx(grid, abs=1e-5)


def test_slices_are_compared_where_the_first_ones_retina_lies(shown):
    values = "[...sliceInFrame(eye.sources[{}], eyeFrame(), 2, '{}')]"
    posed, real, flat = (
        np.array(shown.run(values.format(1, pose))).reshape(Z, X) for pose in ("posed", "real", "flat")
    )
    assert np.unravel_index(posed.argmax(), posed.shape) == (19, 20)
    assert np.unravel_index(real.argmax(), real.shape) == (14, 20)  # its own retina begins four rows lower
    # Flattened, the pose lies at 0.6 of the height, row 24: seven rows higher than at 31.
    assert np.unravel_index(flat.argmax(), flat.shape) == (7, 20)
    assert (real[-5:] == -1).all() and (real[:-5] >= 0).all()  # what the shift leaves bare
    first = np.array(shown.run(values.format(0, "real"))).reshape(Z, X)
    blend = shown.run(
        "panesOf(eye, {...state, mode: 'blend', mix: 25}).panes[0].image.data[4 * (12 * 64 + 5)]"
    )
    assert blend == round(0.75 * first[12, 5] + 0.25 * real[12, 5])
    titles = "panesOf(eye, {...state, mode: 'side'}).panes.map((p) => p.title)"
    assert shown.run(titles) == ["real", "made", "made \N{MINUS SIGN} real"]
    assert shown.run("panesOf(eye, {...state, mode: 'flicker', swapped: true}).panes[0].title") == "made"


def test_a_volume_that_cannot_be_compared_says_why(shown):
    notes = """(() => {
        const [first, second] = eye.sources, moved = (values, by) => values.map((value) => value + by);
        return [[0, 0], [0.06, 0], [0.06, 0.06]].map(([grid, mm]) => {
          const { points, pointsMm } = second.lines;
          const lines = { ...second.lines, points: moved(points, grid), pointsMm: moved(pointsMm, mm) };
          const sources = [first, { ...second, lines }];
          return panesOf({ ...eye, sources }, { ...state, mode: "side" }).panes[1].note ?? "";
        });
    })()"""
    assert shown.run(notes) == ["", "lies elsewhere on the photo", "other scan lines"]


def test_a_scale_bar_is_that_of_its_slice(shown):
    widths = """(() => {
        const source = eye.sources[0], { ascanUm } = source, draw = drawScale, seen = [];
        drawScale = (context, frame, wideUm) => seen.push(wideUm);
        source.ascanUm = ascanUm.map((um, slice) => um * (1 + slice));
        drawSlices(eye, { ...state, mode: "side" });
        source.ascanUm = ascanUm;
        drawScale = draw;
        return seen;
    })()"""
    # The real slice 2, the generated one, and their difference in the frame of the real one.
    assert shown.run(widths) == pytest.approx([375, 125, 375])
    texts = """(() => {
        const said = [], note = (name) => (text) => { if (name === "fillText") said.push(text); };
        const context = new Proxy({}, { get: (_, name) => note(name) });
        drawScale(context, eyeFrame(), 62.5, { wide: 64, high: 40 }, { width: 640, height: 200 }, false);
        return said[0];
    })()"""
    assert shown.run(texts) == "500 µm", "a fifth of 4 mm is 0.8 mm"


def test_maps_and_slabs_have_the_values_of_the_anatomy(shown):
    assert shown.run("mapsOf(eye).map((m) => m.id)") == [
        "found:real", "found:made", "median:made", "low:made", "high:made", "width:made", "less:made",
    ]  # fmt: skip
    # 4 mm to the right of the fovea a line ends; half a millimetre further there is no value.
    near, far = (
        ((PLACED.to_grid(SCAN.coordinates(1)[0] * 0 + x_mm)[0] + 1) * 160).round().int().tolist()
        for x_mm in (2.0, 3.2)
    )
    for name, wanted in (("found:real", 100), ("median:made", 90), ("width:made", 60), ("less:made", -10)):
        plane = f"mapsOf(eye).find((m) => m.id === '{name}').make(true)"
        inside, outside = shown.run(f"(() => {{ const p = {plane}; return [p[{near[1]} * PLANE + {near[0]}], "
                                    f"p[{far[1]} * PLANE + {far[0]}]].map(String); }})()")  # fmt: skip
        assert float(inside) == pytest.approx(wanted, abs=0.3)
        assert outside == "NaN" or name.split(":")[0] in ("median", "width")
    slab = shown.run("[...slabOf(eye.sources[0], SLABS[1], [0, 0]).subarray(2 * 64 + 19, 2 * 64 + 21)]")
    assert slab == pytest.approx([100, (19 * 100 + 255) / 20])
    fields = shown.run("fieldMeans(planeOf(eye.sources[0], thicknessOf(eye.sources[0])), "
                       "eyeFrame().lines.placement).map((f) => f.mean)")  # fmt: skip
    assert fields == pytest.approx([100] * 9, abs=0.3)
    # The fields are upright on the photo, though the scan is turned: one millimetre above the fovea.
    up = shown.run("""(() => {
        const source = eye.sources[0], plane = planeOf(source, thicknessOf(source));
        const parts = fieldParts(plane, source.lines.placement);
        const [, part] = parts.filter((each) => each.classList.contains("mean"));
        return [part.getAttribute("x"), part.getAttribute("y")].map(Number);
    })()""")
    assert up == pytest.approx([0.1, -0.05 - 1 / 6.0], abs=1e-6)


def test_what_is_finer_than_the_gap_between_the_lines_is_not_drawn_as_rings(shown):
    # Every other vertex is bright: on the lines that is shown, and halfway between the outer ends it is grey.
    contrast = """(() => {
        const source = eye.sources[0], { nLines, nVertices, shares, mixed } = source.lines;
        const values = Float32Array.from({ length: nLines * source.columns },
          (_, at) => Math.floor((at % source.columns + 0.5) * nVertices / source.columns) % 2);
        const found = perVertex(values, source), first = nLines * nVertices;
        const outer = [...shares.keys()].filter((at) => Math.abs(shares[at] - 0.5) < 0.2
          && Math.min(mixed[2 * at] % nVertices, nVertices - 1 - mixed[2 * at] % nVertices) < 10);
        const mean = (all) => all.reduce((sum, one) => sum + one) / all.length;
        const off = (places) => mean(places.map((at) => Math.abs(found[at] - 0.5)));
        return [off(outer.map((at) => mixed[2 * at])), off(outer.map((at) => first + at))];
    })()"""
    on_lines, between = shown.run(contrast)
    assert on_lines > 0.3 and between < 0.05


def test_a_click_on_the_photo_goes_to_the_nearest_line(shown):
    x, y = ((PLACED.to_grid(SCAN.coordinates(X))[4, 50] + 1) / 2).tolist()
    shown.click(*centre(shown, "#photo", x + 0.004, y))
    slice_, ascan = state(shown, "slice", "ascan")
    assert slice_ == 4 and abs(ascan - 50) <= 1
    assert shown.run("document.querySelectorAll('#photo-lines .lit').length") == 1
    assert shown.run("document.querySelector('#photo-lines .number.on').textContent") == "4"
    assert f"slice=4&ascan={ascan}" in shown.run("location.hash")


def test_keys(shown):
    shown.press("ArrowDown")
    shown.press("ArrowRight")
    assert state(shown, "slice", "ascan") == [3, 33]
    for _ in range(9):
        shown.press("ArrowUp")
    for key in "3fsl":
        shown.press(key)
    assert state(shown, "slice", "mode", "pose", "surfaces", "lesions") == [0, "flicker", "flat", False, True]
    shown.press("n")
    shown.wait_for(f"eye.key === 'two' && {READY}")
    assert shown.run("byId('status').textContent").startswith("Eye two, slice 0")


def test_drag_wheel_and_zoom(shown):
    shown.drag(centre(shown, "#panes canvas", 0.25), centre(shown, "#panes canvas", 0.75))
    assert state(shown, "ascan") == [48]
    x, y = centre(shown, "#panes canvas")
    shown.mouse("Wheel", x, y, deltaX=0, deltaY=120)
    assert state(shown, "slice") == [3]
    shown.mouse("Wheel", x, y, deltaX=0, deltaY=-300, modifiers=2)
    shown.wait_for("view.zoom > 3")
    before = shown.run("view.x")
    shown.drag((x, y), (x - 60, y))
    assert state(shown, "ascan") == [48] and shown.run("view.x") > before
    left, top, width, height = shown.box("#slice")
    shown.drag((left + 3 / 5 * (width - 16) + 8, top + height / 2), (left + width - 2, top + height / 2))
    assert state(shown, "slice") == [5]


def scene(browser):
    """What three.js draws, RGBA, shape ``(rows, columns, 4)``."""
    url = browser.run("renderSolid(), solid.renderer.domElement.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))


def test_the_surfaces_turn(shown):
    place = "solid.camera.position.toArray()"
    before, picture = shown.run(place), scene(shown)
    assert 0.2 < (picture[..., 3] > 0).mean() < 0.9
    shown.drag(centre(shown, "#solid canvas", 0.4), centre(shown, "#solid canvas", 0.6))
    dragged = shown.run(place)
    assert np.linalg.norm(np.subtract(before, dragged)) > 1
    assert np.linalg.norm(before) == pytest.approx(np.linalg.norm(dragged))
    assert (scene(shown) != picture).any(-1).mean() > 0.01
    shown.press("ArrowLeft")
    assert shown.run(place) != dragged and state(shown, "ascan") == [32]


def test_a_link_opens_what_it_names_and_nonsense_opens_the_first_eye(shown, page):
    shown.run("location.hash = '#eye=two&slice=5&mode=blend&map=found:real'")
    shown.wait_for(f"eye.key === 'two' && {READY}")
    assert state(shown, "slice", "mode", "map") == [5, "blend", "found:real"]
    assert not shown.run("byId('bar').hidden")
    shown.run("location.hash = '#eye=none&slice=99&mode=x&slab=77&ascan=1e9&map=y'")
    shown.wait_for(f"eye.key === 'one' && {READY}")
    assert state(shown, "slice", "ascan", "mode", "map") == [5, X - 1, "blend", "none"]


def test_the_way_past_the_photo_leaves_the_eye_and_the_zoom_as_they_are(shown):
    shown.press("n")
    shown.wait_for(f"eye.key === 'two' && {READY}")
    shown.run("globalThis.moved = 0, addEventListener('hashchange', () => { moved++; }), zoomBy(2)")
    shown.wait_for(READY)
    shown.run("document.querySelector('.skip').click()")
    shown.wait_for(f"moved === 1 && {READY}")
    assert shown.run("[eye.key, view.zoom]") == ["two", 2]
    assert shown.run("location.hash").startswith("#eye=two&"), "the link is back"
    shown.run("location.hash = '#slice=4'")
    shown.wait_for(f"moved === 2 && {READY}")
    assert shown.run("[eye.key, state.slice]") == ["two", 4]


def test_a_dark_phone_shows_all_of_it_and_each_control_has_a_name(browser, opened, page):
    background = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert min(browser.run(background)) > 200
    browser.open(f"{page}#eye=one", 390, 844, dark=True, touch=True, fine=2)
    browser.wait_for(READY)
    assert browser.run("document.documentElement.scrollWidth") == 390
    outside = "[...document.querySelectorAll('main *')].filter((e) => e.getClientRects().length && "
    outside += "e.getBoundingClientRect().right > 391).map((e) => e.id)"
    assert browser.run(outside) == []
    assert max(browser.run(background)) < 50
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in nodes if not node.get("ignored") and node["role"]["value"] in (
        "button", "slider", "combobox", "checkbox", "spinbutton", "application")]  # fmt: skip
    assert len(controls) > 25
    assert [node["role"]["value"] for node in controls if not node["name"]["value"].strip()] == []


def test_without_three_js_the_rest_is_there(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("fund2oct.viewer.page.find_spec", lambda name: None)
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        writer.add(eye_of("one", 10))
    report = write_page([tmp_path / "eyes.h5"], tmp_path / "view.html")
    assert not report.in_3d and "fund2oct[view]" in report.lines()[1]
    browser.open(f"file://{tmp_path}/view.html")
    browser.wait_for(READY)
    assert browser.run("[byId('solid-card').hidden, byId('modes').hidden, eye.key]") == [True, True, "one"]
    assert browser.complaints == []


def test_an_eye_without_a_volume_and_one_without_a_retina_stop_nothing(browser, tmp_path):
    whole, made = eye_of("a", 10), eye_of("a", 14, 5)
    photo = Eye(key="b", patient="p", laterality="OS", fundus=whole.fundus)
    no_retina = replace(made, key="c", surfaces_um=np.full_like(made.surfaces_um, np.nan))
    for name, eyes in (("real.h5", [whole, photo, replace(whole, key="c")]), ("made.h5", [made, no_retina])):
        with EyeWriter(tmp_path / name) as writer:
            for eye in eyes:
                writer.add(eye)
    write_page([tmp_path / "real.h5", tmp_path / "made.h5"], tmp_path / "view.html")
    browser.open(f"file://{tmp_path}/view.html")
    browser.wait_for(READY)
    assert browser.run("byId('panes').contains(byId('profile-figure'))"), "there is room beside three panes"
    # The link is written last, once all else is drawn.
    for key in "bc":
        browser.press("n")
        browser.wait_for(f"eye.key === '{key}' && {READY}")
        assert browser.run("location.hash").startswith(f"#eye={key}&")
    assert browser.run("document.querySelectorAll('#profile .curve').length") == 1
    one_value = "planePixels(new Float32Array(PLANE * PLANE).fill(7), 7, 7, [[1, 2, 3], [9, 9, 9]]).data"
    assert browser.run(f"[...{one_value}.subarray(0, 4)]") == [1, 2, 3, 255]
    assert browser.complaints == []
