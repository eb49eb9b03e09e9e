"""Files of simulated eyes: made where there are none, and refused where they are others."""

from dataclasses import replace

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
