"""Generated files beside real ones, from every kind of file, and what a challenge submission holds."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fund2oct.cli import main
from fund2oct.data import DataError, EyeReader, EyeWriter
from fund2oct.evaluation import evaluate_files
from fund2oct.evaluation.compare import compare
from fund2oct.evaluation.distances import Distances, Wanted
from fund2oct.evaluation.files import _given, _given_to_others
from fund2oct.evaluation.generated import write_generated
from fund2oct.evaluation.pairs import PairedEyes
from fund2oct.evaluation.protocol import FILES
from fund2oct.evaluation.sources import open_source
from fund2oct.models import load_model
from fund2oct.processes import Here
from fund2oct.visual.style import new_figure

NOTHING = Wanted((), required=True, thorough=False)


@pytest.fixture(scope="module")
def six_eyes(tiny_eyes, tmp_path_factory):
    """A file of the first six tiny eyes, without their poses."""
    path = tmp_path_factory.mktemp("files") / "six.h5"
    with EyeReader(tiny_eyes) as reader, EyeWriter(path) as writer:
        for key in reader.keys[:6]:
            writer.add(replace(reader.read(key), pose_um=None, surfaces_um=None))
    return path


def test_volumes_beside_themselves_have_no_error(six_eyes, real_slices, zipped, tmp_path, monkeypatch):
    for draw in ("draw_panel", "draw_scatter"):  # to draw takes longer than to measure
        monkeypatch.setattr(f"fund2oct.evaluation.report.pictures.{draw}", lambda *_, **__: new_figure(1, 1))
    result = evaluate_files(six_eyes, zipped(real_slices), tmp_path / "out", distances=NOTHING)
    own = result["summary"]["generated"]
    for name in ("posed/l1", "aligned/l1", "thickness/error_um", "ilm/error_um"):
        assert own[name]["mean"] == 0
    others = result["summary"]["generated, other eyes"]
    floor = result["summary"]["floor: rescan"]
    assert 0 < floor["aligned/l1"]["mean"] < others["aligned/l1"]["mean"]
    assert own["aligned/ssim"]["mean"] == pytest.approx(1)
    written = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert [row["key"] for row in written["eyes"]["generated"]] == list(open_source(six_eyes).keys)
    assert written["protocol"]["fake"].endswith("slices.zip")
    assert "ilm/truth_error_um" in own
    files = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {f"{label}-generated.png" for label in ("best", "median", "worst")}
    assert files == {"metrics.json", "report.html", "report.md", "scatter.png"} | figures


def paired(real, fake):
    """The eyes of a real file, each beside the volume that answers for it."""
    return PairedEyes(open_source(real), open_source(fake), FILES, torch.device("cpu"))


def measured(real, fake):
    """What a report says of the generated volumes, without its other rows, which take most of its time."""
    return compare(paired(real, fake), [_given()], Distances([]), Here()).summary()["generated"]


def test_every_kind_of_file_gives_the_same_numbers(six_eyes, rescan_slices, tmp_path):
    split = tmp_path / "split"
    split.mkdir()
    with EyeReader(six_eyes) as reader:
        for key in reader.keys:
            eye = reader.read(key)
            with EyeWriter(split / f"{key}.h5") as writer:
                writer.add(
                    type(eye)(
                        key=key,
                        patient=eye.patient,
                        laterality="",
                        fundus=eye.fundus,
                        scan=eye.scan,
                        spacing_mm=eye.spacing_mm,
                        volume=eye.rescan,
                    )
                )
    assert measured(six_eyes, rescan_slices) == measured(six_eyes, split)


def test_the_answer_of_another_eye_is_of_another_patient_and_of_the_same_side(tiny_eyes, tmp_path):
    path = tmp_path / "sides.h5"
    sides = ["OD", "OS", "OD", "OS", "OS", "OD"]
    patients = ["a", "a", "b", "b", "c", "c"]
    with EyeReader(tiny_eyes) as reader, EyeWriter(path) as writer:
        for key, side, patient in zip(reader.keys[:6], sides, patients, strict=True):
            writer.add(replace(reader.read(key), laterality=side, patient=patient))
    eyes = paired(path, path)
    of = dict(zip(eyes.keys, zip(patients, sides, strict=True), strict=True))
    for key in eyes.keys:
        other = eyes.other(key)
        assert of[other][0] != of[key][0] and of[other][1] == of[key][1]


def test_a_shift_of_the_whole_eye_is_pose(six_eyes, tmp_path):
    with EyeReader(six_eyes) as reader:
        volumes = {key: reader.read(key).volume for key in reader.keys}
    for key, volume in volumes.items():
        (tmp_path / "moved" / key).mkdir(parents=True)
        for number, bscan in enumerate(np.roll(volume, 2, axis=1)):
            Image.fromarray(bscan).save(tmp_path / "moved" / key / f"{key}_{number}.png")
    eyes = paired(six_eyes, tmp_path / "moved")
    batch = eyes.batch(eyes.keys[1])
    moved_um = (batch["fake_pose_um"] - batch["pose_um"])[0, :, 0]
    assert moved_um.median() == pytest.approx(2 * 60, abs=15)
    own = compare(eyes, [_given()], Distances([]), Here()).summary()["generated"]
    assert own["aligned/l1"]["mean"] < 0.5 * own["posed/l1"]["mean"]


def rolled(tmp_path, six_eyes, rows, all_alike=False):
    """The eyes beside themselves, each rolled by some rows; all alike: all volumes are the first eye's."""
    with EyeReader(six_eyes) as reader:
        found = [reader.read(key) for key in reader.keys]
    if all_alike:
        found = [replace(eye, volume=found[0].volume, patient=eye.key, laterality="") for eye in found]
    for name, by in (("real", [0] * len(rows)), ("fake", rows)):
        with EyeWriter(tmp_path / f"{name}.h5") as writer:
            for eye, n_rows in zip(found, by, strict=True):
                writer.add(replace(eye, volume=np.roll(eye.volume, n_rows, axis=1)))
    return paired(tmp_path / "real.h5", tmp_path / "fake.h5")


def test_the_epithelium_is_measured_from_the_pose_of_its_own_volume(six_eyes, tmp_path):
    eyes = rolled(tmp_path, six_eyes, [-2, 2, 1, -1, 3, -3])
    found = compare(eyes, [_given()], Distances([]), Here())
    assert found.sets["generated"]["epithelium/correlation"] > 0.9


def test_the_answer_of_another_eye_counts_where_it_was_scanned_itself(six_eyes, tmp_path):
    """All real volumes are one, so that the two rows hold the same pairs in another order."""
    eyes = rolled(tmp_path, six_eyes, [-3, 2, 1, -1, 4, 0], all_alike=True)
    found = compare(eyes, [_given(), _given_to_others(eyes)], Distances([]), Here())
    own, others = (found.summary()[name] for name in ("generated", "generated, other eyes"))
    for name in ("aligned/l1", "aligned/psnr", "aligned/retina_local_mean", "rpe/error_um"):
        assert others[name]["mean"] == pytest.approx(own[name]["mean"], rel=1e-4)


def test_the_answer_of_another_eye_is_as_thick_as_it_is_where_rows_differ(six_eyes, tmp_path):
    """Two of the eyes have rows half as high, and the same retina: all eyes are the first one."""
    with EyeReader(six_eyes) as reader:
        first = reader.read(reader.keys[0])
        keys = reader.keys
    s_mm, z_mm, x_mm = first.spacing_mm
    middle = first.volume.shape[1] // 4
    fine = np.repeat(first.volume, 2, axis=1)[:, middle : middle + first.volume.shape[1]]
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        for number, key in enumerate(keys):
            volume, rows_mm = ((first.volume, z_mm), (fine, z_mm / 2))[number // 2 % 2]
            named = {"key": key, "patient": key, "laterality": "", "spacing_mm": (s_mm, rows_mm, x_mm)}
            more = {"rescan": None, "lesions": None, "surfaces_um": None, "boundaries_um": None}
            writer.add(replace(first, volume=volume, pose_um=None, surface_confidence=None, **named, **more))
    eyes = paired(tmp_path / "eyes.h5", tmp_path / "eyes.h5")
    pairs = {tuple(keys.index(one) // 2 % 2 for one in (key, eyes.other(key))) for key in keys}
    assert {(0, 1), (1, 0)} & pairs, "some eyes are answered by one with other rows"
    found = compare(eyes, [_given(), _given_to_others(eyes)], Distances([]), Here())
    own, others = (found.summary()[name] for name in ("generated", "generated, other eyes"))
    assert others["thickness/error_um"]["mean"] < own["thickness/error_um"]["mean"] + 1000 * z_mm / 2


@pytest.mark.usefixtures("plain_pictures")
def test_a_checkpoint_translates_the_photos_of_the_real_file(six_eyes, tiny_checkpoint, tmp_path):
    result = evaluate_files(six_eyes, tiny_checkpoint, tmp_path / "out", distances=NOTHING, seed=1)
    assert result["protocol"]["fake"] == str(tiny_checkpoint)
    model, real = load_model(tiny_checkpoint), open_source(six_eyes)
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        write_generated(model, real, tmp_path / f"{name}.h5", seed)
    first, again, other = (open_source(tmp_path / f"{name}.h5") for name in ("first", "again", "other"))
    assert first.keys == real.keys
    for row in result["eyes"]["generated"]:
        drawn = first.read(row["key"]).volume
        assert np.array_equal(drawn, again.read(row["key"]).volume)
        assert not np.array_equal(drawn, other.read(row["key"]).volume)
        l1 = np.abs(drawn / 255 - real.read(row["key"]).volume / 255).mean()
        assert row["posed/l1"] == pytest.approx(l1, rel=1e-4)


def test_volumes_that_a_model_draws_lie_beside_the_report_meanwhile(
    six_eyes, tiny_checkpoint, tmp_path, monkeypatch
):
    places = []

    def stop(model, real, path, seed):
        places.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr("fund2oct.evaluation.files.write_generated", stop)
    (tmp_path / "there").mkdir()
    for out in ("new/report", "there"):
        with pytest.raises(KeyboardInterrupt):
            evaluate_files(six_eyes, tiny_checkpoint, tmp_path / out, distances=NOTHING)
    assert [path.parents[1] for path in places] == [tmp_path / "new", tmp_path / "there"]
    assert not [*(tmp_path / "new").iterdir(), *(tmp_path / "there").iterdir()]
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**14))
    found = r"there: expected room for 0 MiB of generated volumes, .*, found 0 MiB; make room, or write"
    with pytest.raises(DataError, match=found):
        evaluate_files(six_eyes, tiny_checkpoint, tmp_path / "there", distances=NOTHING)


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    """Two real eyes as the challenge exports them, and a submission of their rescans."""
    from fund2oct.phantom import PhantomConfig, simulate_eye

    folder = tmp_path_factory.mktemp("challenge")
    for number in range(2):
        eye = simulate_eye(0, number, PhantomConfig(fundus_px=48, n_depth=320, n_ascans=448))
        for name, volume in (("real", eye.volume), ("fake", eye.rescan)):
            (folder / name / eye.key).mkdir(parents=True)
            for line, bscan in enumerate(volume):
                picture = Image.fromarray(bscan)
                if name == "real":
                    export = Image.new("L", (768 + 496, 496), 90)
                    export.paste(picture.resize((768, 496), Image.Resampling.BICUBIC), (496, 0))
                    picture = export
                picture.save(folder / name / eye.key / f"{eye.key}_{line}.jpg", quality=95)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("plain_pictures")
def test_a_challenge_submission(challenge, zipped, tmp_path, capsys):
    arguments = ["--real", str(challenge / "real"), "--fake", str(zipped(challenge / "fake"))]
    arguments += [
        "--out",
        str(tmp_path),
        "--protocol",
        "aptos2024",
        "--distances",
        "image:tiny_network:build",
        "--json",
    ]
    assert main(["evaluate", *arguments]) == 0
    report = (tmp_path / "report.md").read_text()
    assert "cannot be compared with its leaderboard" in " ".join(report.split())
    assert "6 slices of 448 x 320 pixels (width x height)" in report
    assert "The outer retina" not in report and "a depth of 1.92 mm" in report
    header = next(line for line in report.splitlines() if line.startswith("| answer |"))
    assert header.startswith("| answer | PSNR, dB ↑ | aligned | SSIM ↑ | aligned |")
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["protocol"]["name"] == "aptos2024" and result["protocol"]["shape"] == [6, 320, 448]
    own, others = (result["summary"][name] for name in ("generated", "generated, other eyes"))
    assert own["thickness/error_um"]["mean"] < 12 < others["thickness/error_um"]["mean"]
    assert list(result["distances"]) == ["generated"]
    # A program is told all of it but the single eyes, and nothing else is printed.
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told.pop("report") == str(tmp_path / "report.html")
    assert told == {name: result[name] for name in ("protocol", "summary", "sets", "distances")}
