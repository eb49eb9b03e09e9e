"""Files of simulated eyes: made where there are none, and refused where they are others."""

from dataclasses import replace

import h5py
import pytest

from fund2oct.data import DataError, EyeReader, EyeWriter, PhantomDataModule
from fund2oct.data.importing.simulated_file import simulate_file
from fund2oct.phantom import PhantomConfig

SIZES = {"n_eyes": 2, "n_depth": 48, "n_ascans": 40, "simulated_fundus_px": 48}


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    """Two eyes are simulated in less time than a process for them starts in."""
    monkeypatch.setattr("fund2oct.data.modules.phantom_datamodule.n_cores", lambda: 1)


def test_simulated_eyes_are_of_the_population_asked_for(tmp_path):
    path = str(tmp_path / "long.h5")
    data = PhantomDataModule(path, population="long", **SIZES)
    data.prepare_data()
    with EyeReader(path) as reader:
        assert reader.read(reader.keys[1]).history["population"] == "long"
    data.prepare_data()
    with pytest.raises(DataError, match=r"population 'ordinary', found 'long'; set population=long"):
        PhantomDataModule(path, **SIZES).prepare_data()


def test_simulated_eyes_have_the_seed_and_the_sizes_asked_for(tmp_path):
    path = tmp_path / "eyes.h5"
    config = PhantomConfig(n_depth=48, n_ascans=40, fundus_px=48)
    simulate_file(path, 2, seed=3, config=config)
    PhantomDataModule(path, n_eyes=2).prepare_data()  # what is not asked for may be anything
    PhantomDataModule(path, phantom_seed=3, **SIZES).prepare_data()
    others = {
        "phantom_seed": (0, 3),
        "n_depth": (80, 48),
        "n_ascans": (112, 40),
        "simulated_fundus_px": (96, 48),
    }
    for name, (wanted, found) in others.items():
        message = (
            rf"eyes\.h5: expected simulated eyes of {name}={wanted}, found {found}; set {name}={found}, "
        )
        with pytest.raises(DataError, match=message):
            PhantomDataModule(path, n_eyes=2, **{name: wanted}).prepare_data()


def test_eyes_are_simulated_with_seed_0_and_the_usual_sizes(tmp_path, monkeypatch):
    made = {}

    def simulate(path, n_eyes, seed, config, **_):
        made.update(seed=seed, config=config)
        simulate_file(path, n_eyes, seed, PhantomConfig(n_depth=48, n_ascans=40, fundus_px=48))

    monkeypatch.setattr("fund2oct.data.importing.simulated_file.simulate_file", simulate)
    PhantomDataModule(tmp_path / "eyes.h5", n_eyes=2).prepare_data()
    assert made == {"seed": 0, "config": PhantomConfig(fundus_px=128, n_depth=80, n_ascans=112)}


@pytest.mark.parametrize(
    ("given", "found"), [("*.h5", "pattern"), ("clinic_*/eyes.h5", "pattern"), ("", "folder")]
)
def test_nothing_is_simulated_where_files_are_meant_that_are_there(given, found, tmp_path):
    (tmp_path / "mine.h5").touch()
    message = (
        rf"is a {found}, expected the name of one file .*class_path=fund2oct\.data\.FundusOCTDataModule$"
    )
    with pytest.raises(DataError, match=message):
        PhantomDataModule(tmp_path / given, **SIZES).prepare_data()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.h5"]


def test_a_folder_that_is_there_may_be_named_like_a_pattern(tmp_path):
    path = tmp_path / "eyes [2]" / "eyes.h5"
    path.parent.mkdir()
    PhantomDataModule(path, **SIZES).prepare_data()
    assert path.is_file()


@pytest.mark.parametrize("population", ["ordinary", "long"])
def test_eyes_that_another_version_simulated_are_told(population, tmp_path, recwarn):
    sizes = SIZES | {"population": population}
    PhantomDataModule(str(tmp_path / "eyes.h5"), phantom_seed=3, **sizes).prepare_data()
    PhantomDataModule(str(tmp_path / "eyes.h5"), **sizes).prepare_data()
    assert not [warning for warning in recwarn if "another version" in str(warning.message)]
    with EyeReader(tmp_path / "eyes.h5") as reader, EyeWriter(tmp_path / "old.h5") as writer:
        for key in reader.keys:
            eye = reader.read(key)
            writer.add(replace(eye, fundus=eye.fundus // 2))
    with pytest.warns(UserWarning, match=r"old\.h5: another version of fund2oct simulated these eyes"):
        PhantomDataModule(str(tmp_path / "old.h5"), **sizes).prepare_data()


@pytest.mark.parametrize("diagnosis", ["normal", "drusen+haemorrhage"])
def test_eyes_of_a_diagnosis_that_was_given_are_of_this_version(diagnosis, tmp_path, recwarn):
    config = PhantomConfig(n_depth=48, n_ascans=40, fundus_px=48, diagnosis=diagnosis)
    simulate_file(tmp_path / "eyes.h5", 2, seed=3, config=config)
    PhantomDataModule(tmp_path / "eyes.h5", n_eyes=2).prepare_data()
    assert not [warning for warning in recwarn if "another version" in str(warning.message)]


@pytest.mark.parametrize("options", [{"n_eyes": 3}, {}, {"n_eyes": 3, "population": "long"}])
def test_eyes_that_were_not_simulated_are_refused_and_not_to_be_deleted(options, make_file):
    message = (
        r"eyes\.h5: holds 3 eyes that were not simulated \(eye00, eye01, eye02\); "
        r"set data\.class_path=fund2oct\.data\.FundusOCTDataModule, or give another path$"
    )
    with pytest.raises(DataError, match=message) as caught:
        PhantomDataModule(make_file(3), **options).prepare_data()
    assert "delete" not in str(caught.value)


def test_one_eye_among_simulated_ones_is_found(tmp_path, make_eye):
    config = PhantomConfig(n_depth=48, n_ascans=40, fundus_px=48)
    simulate_file(tmp_path / "eyes.h5", 2, seed=3, config=config)
    with EyeReader(tmp_path / "eyes.h5") as reader, EyeWriter(tmp_path / "mixed.h5") as writer:
        for key in reader.keys:
            writer.add(reader.read(key))
        writer.add(make_eye(0, key="the last one"))
    with pytest.raises(DataError, match=r"holds 1 eyes that were not simulated \(the last one\)"):
        PhantomDataModule(tmp_path / "mixed.h5", n_eyes=3).prepare_data()


def test_a_damaged_first_eye_may_be_skipped(tmp_path, recwarn):
    path, sizes = tmp_path / "eyes.h5", SIZES | {"n_eyes": 4}
    PhantomDataModule(path, phantom_seed=3, **sizes).prepare_data()
    with EyeReader(path) as reader:
        first = reader.keys[0]
        photo = reader.read(first).fundus
    content = bytearray(path.read_bytes())
    content[content.index(photo.tobytes()) + 37] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"eye '{first}': fundus: the checksum is wrong"):
        PhantomDataModule(path, **sizes).prepare_data()
    PhantomDataModule(path, on_corrupt="skip", **sizes).prepare_data()
    with h5py.File(path, "r+") as file:
        del file[f"eyes/{first}"]
        file[f"eyes/{first}"] = 0
    data = PhantomDataModule(path, on_corrupt="skip", **sizes)
    data.prepare_data()
    assert list(data.corrupt) == [first]
    # Of the others nobody says that another version simulated them.
    assert not [warning for warning in recwarn if "another version" in str(warning.message)]
    with pytest.raises(DataError, match=r"phantom_seed=0, found 3; set phantom_seed=3, "):
        PhantomDataModule(path, phantom_seed=0, on_corrupt="skip", **sizes).prepare_data()
