"""What is installed is what is here: the wheel holds all packages, their data, and nothing else."""

import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

import pytest

import fund2oct

ROOT = Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as built from a copy of what belongs to it, with a small model in it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for folder in ("fund2oct", "experiments"):
        shutil.copytree(ROOT / folder, source / folder, ignore=IGNORED)
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    shutil.rmtree(source / "fund2oct/weights", ignore_errors=True)
    model = source / "fund2oct/weights/pix2vol"
    model.mkdir(parents=True)
    for file in ("config.json", "model.safetensors", "README.md", "eye.webp"):
        (model / file).write_text("a model")
    build = "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])"
    command = [sys.executable, "-W", "ignore", "-c", build, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def files(folder, pattern):
    return {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob(pattern) if path.is_file()}


def test_it_holds_every_module_and_all_data(wheel):
    expected = {f"fund2oct/{path}" for path in files("fund2oct", "*.py")}
    expected |= {f"fund2oct/viewer/web/{path}" for path in files("fund2oct/viewer/web", "*")}
    expected |= {
        f"fund2oct/experiments/{path}" for path in files("experiments", "*.*") if path.suffix != ".pyc"
    }
    model = ("config.json", "model.safetensors", "README.md", "eye.webp")
    expected |= {"fund2oct/py.typed", *(f"fund2oct/weights/pix2vol/{file}" for file in model)}
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected


def test_its_metadata_say_what_the_package_says(wheel):
    def read(name):
        (path,) = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
        return wheel.read(path).decode()

    metadata = Parser().parsestr(read("METADATA"))
    assert metadata["Name"] == "fund2oct" and metadata["Version"] == fund2oct.__version__
    assert (metadata["License-Expression"] or metadata["License"]) == "Apache-2.0"
    assert all(heading in metadata.get_payload() for heading in ("# fund2oct\n", "## Two commands\n"))
    assert "fund2oct = fund2oct.cli:main" in read("entry_points.txt")
    needed = {
        re.split(r"[^\w-]", line)[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line
    }
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert needed == {
        re.split(r"[^\w-]", line)[0] for line in config["options"]["install_requires"].split("\n")[1:]
    }


def test_the_version_stands_in_one_place():
    version = re.escape(fund2oct.__version__)
    assert re.search(rf"^version: {version}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert f"version = {{{fund2oct.__version__}}}" in (ROOT / "README.md").read_text()
    assert "version = attr: fund2oct.__version__" in (ROOT / "setup.cfg").read_text()


def test_the_model_in_the_package_is_small_enough():
    found = [path.stat().st_size for path in (ROOT / "fund2oct/weights").rglob("*") if path.is_file()]
    if not found:
        pytest.skip("no model lies in fund2oct/weights; make weights-wheel puts one in")
    assert sum(found) <= 12e6
