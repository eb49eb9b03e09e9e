"""Experiments: merged, resolved, checked."""

from importlib.util import find_spec

import pytest
import yaml

from fund2oct.run.config import ConfigError, experiments, load_experiment
from fund2oct.run.train import build


def test_every_shipped_experiment_resolves():
    names = set(experiments()) - {"base"}
    assert {"pix2vol", "voxels", "regression", "lift_repeat", "lift_channels", "aptos2024"} <= names
    for name in names:
        config = load_experiment(name)
        assert config["model"]["class_path"].startswith("fund2oct.models.")


@pytest.mark.skipif(
    not find_spec("fund2oct.experiments"), reason="fund2oct is not installed, its clone is used"
)
def test_a_checkout_has_its_own_experiments_and_a_package_those_that_it_brings(tmp_path, monkeypatch):
    shipped = {name: path.read_text() for name, path in experiments().items()}
    monkeypatch.setattr("fund2oct.run.config.__file__", str(tmp_path / "fund2oct/run/config.py"))
    assert {name: path.read_text() for name, path in experiments().items()} == shipped
    (tmp_path / "setup.cfg").touch()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mine.yaml").touch()
    assert experiments() == {"mine": tmp_path / "experiments/mine.yaml"}


@pytest.mark.parametrize("name", ["regression", "slices", "x2ct", "unet3d"])
def test_a_baseline_says_itself_how_it_is_augmented(name):
    told = yaml.safe_load(experiments()[name].read_text())["data"]["init_args"]
    assert {"symmetries", "photometric", "photo_maps"} <= set(told)
    resolved = load_experiment(name)["data"]["init_args"]
    # A map of the photo moves the grid, which one of them reads; a symmetry moves photo and slices together.
    assert resolved["photo_maps"] == (0.5 if name == "regression" else 0)
    assert resolved["symmetries"] == "flips" and resolved["photometric"] > 0


def test_overrides_win_over_the_experiment_which_wins_over_the_base():
    assert load_experiment("voxels")["model"]["init_args"]["lift"] == "geometry"
    config = load_experiment("lift_repeat", ["model.init_args.lift=channels", "trainer.max_epochs=1"])
    assert config["model"]["init_args"]["lift"] == "channels"
    assert config["trainer"]["max_epochs"] == 1
    assert config["data"]["init_args"]["batch_size"] == 2


def test_another_class_does_not_inherit_the_arguments_of_the_base_class():
    arguments = load_experiment("aptos2024")["data"]["init_args"]
    assert "n_eyes" not in arguments and arguments["path"] == "data/aptos2024.h5"


def test_references_are_resolved(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("data: {init_args: {volume_shape: '${model.init_args.shape}'}}\n")
    config = load_experiment(str(path))
    assert config["data"]["init_args"]["volume_shape"] == config["model"]["init_args"]["shape"]


@pytest.mark.parametrize(
    "text, overrides, message",
    [
        ("model: [", [], "not a readable YAML file"),
        ("- a\n- b\n", [], "expected a YAML mapping"),
        ("modle: {}\n", [], "unknown section 'modle'.*did you mean model"),
        ("model: {init_args: {lift: '${nowhere}'}}\n", [], "nowhere"),
        ("{}\n", ["trainer.max_epochs"], "expected key=value"),
        ("{}\n", ["=3"], "expected key=value"),
        (
            "data: [a.h5, b.h5]\n",
            [],
            r"data: expected a mapping of keys, as in data\.init_args\.path=.*\['a\.h5'",
        ),
        ("{}\n", ["data=data/eyes.h5"], r"data: expected a mapping of keys.*, found 'data/eyes\.h5'"),
        ("{}\n", ["data=data/eyes.h5", "data.init_args.batch_size=2"], r"data: expected .* 'data/eyes\.h5'"),
        ("model: {init_args: 3}\n", [], r"model\.init_args: expected a mapping of keys.*, found 3"),
        ("{}\n", ["model.init_args.shape.0=4"], r"model\.init_args\.shape: expected a list, found a mapping"),
        (
            "{}\n",
            ["trainer.callbacks.0.init_args.n=2"],
            r"trainer\.callbacks: expected a list, found a mapping",
        ),
        ("{}\n", ["trainer.callbacks=[a.B]", "trainer.callbacks.x.y=1"], r"mine\.yaml.*Index 'x'"),
        (
            "data: {init_args: {split: {train: [a]}}}\n",
            ["data.init_args.split=[b]"],
            r"split: .*, found a list",
        ),
        ("data: {class_path: '${nowhere}'}\n", [], r"mine\.yaml.*nowhere"),
        ("data: {init_args: {path: '${'}}\n", [], r"mine\.yaml"),
    ],
)
def test_what_is_not_valid_is_named(tmp_path, text, overrides, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_experiment(str(path), overrides)


@pytest.mark.parametrize("key", ["trainer", "model", "data", "report", "model.init_args", "data.init_args"])
def test_what_is_left_empty_is_as_in_the_base(tmp_path, key):
    section, _, inner = key.partition(".")
    whole, empty = tmp_path / "whole.yaml", tmp_path / "empty.yaml"
    whole.write_text("{}\n")
    empty.write_text(f"{section}:\n  {inner}:\n" if inner else f"{section}:\n")
    assert load_experiment(str(empty)) == load_experiment(str(whole))
    assert load_experiment("pix2vol", [f"{key}="]) == load_experiment("pix2vol")


def test_an_unknown_experiment_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'pix2vo'.*did you mean pix2vol\?"):
        load_experiment("pix2vo")


@pytest.mark.parametrize(
    "override, message",
    [
        ("model.init_args.learning_rate=fast", "learning_rate"),
        ("model.class_path=fund2oct.data.FundusOCTDataModule", "VolumeModel"),
        ("model.init_args.encoder=magic", "magic"),
        ("data.init_args.batch_size=0", "batch_size"),
        # Each takes a second or more, for the whole parser is built.
        pytest.param("model.init_args.lfit=repeat", "lfit", marks=pytest.mark.slow),
        pytest.param("trainer.max_epoch=3", "max_epoch", marks=pytest.mark.slow),
        pytest.param("model.class_path=fund2oct.models.Nothing", "Nothing", marks=pytest.mark.slow),
        pytest.param("model.init_args.weights.l3=1", "l3", marks=pytest.mark.slow),
        pytest.param("model.init_args.adversarial=wasserstein", "wasserstein", marks=pytest.mark.slow),
    ],
)
def test_a_misspelt_key_or_a_wrong_value_is_one_line_that_names_it(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build("pix2vol", [override, "trainer.accelerator=cpu"])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
