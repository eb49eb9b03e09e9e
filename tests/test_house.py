"""The house stays one that a newcomer finds a way through: small files, small folders, one direction."""

import ast
from collections import Counter
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("fund2oct", "tests", "docs", "experiments", "benchmarks")
MOST_LINES, MOST_FILES = 350, 12

ROWS = [
    ["by_path", "file_kinds", "precision", "processes", "progress", "stopping"],
    ["geometry"],
    ["retina"],
    ["eye"],
    ["levels", "outputs", "plausible"],
    ["phantom"],
    ["data.store"],
    ["data.formats"],
    ["data.tables"],
    ["data.preparing"],
    ["data.masks"],
    ["data.importing"],
    ["data.augmenting"],
    ["data.loading"],
    ["data.modules"],
    ["data"],
    ["networks"],
    ["losses"],
    ["metrics"],
    ["models"],
    ["visual", "viewer"],
    ["export"],
    ["evaluation"],
    ["callbacks"],
    ["run"],
    ["cli"],
    ["", "__main__"],
]
"""Data flow one way, down this list: a module imports only from its own row and from rows above it."""


def python_files() -> list[Path]:
    return [
        path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "_build" not in path.parts
    ]


def test_a_file_is_read_in_one_sitting():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in python_files()
    }
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_a_folder_is_taken_in_at_a_glance():
    files = Counter(str(path.parent.relative_to(ROOT)) for path in python_files())
    assert {folder: number for folder, number in files.items() if number > MOST_FILES} == {}


def test_test_modules_have_names_of_their_own():
    names = Counter(path.name for path in python_files() if path.name.startswith("test_"))
    assert [name for name, number in names.items() if number > 1] == []


def row_of(module: str) -> int:
    """The row of the longest name in the list that holds the module."""
    inside = module.removeprefix("fund2oct").lstrip(".")
    named = {name: number for number, row in enumerate(ROWS) for name in row}
    while inside not in named:
        assert inside, f"{module} is in no row"
        inside = inside.rpartition(".")[0]
    return named[inside]


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "fund2oct").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[tuple[str, int]]:
    """What a file imports of the package, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            # A name is a module, or something in one.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in whole]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "fund2oct" and name != "fund2oct":
                yield name, node.lineno


@pytest.mark.parametrize("part", sorted({name.split(".")[1] for name in modules() if "." in name}))
def test_no_import_goes_upwards(part):
    known = modules()
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for module, path in known.items()
        if module.split(".")[1:2] == [part]
        for imported, line in imports(module, path, known)
        if row_of(imported) > row_of(module)
    ]
    assert wrong == []


def test_the_rows_name_what_is_there():
    known = modules()
    assert [name for row in ROWS for name in row if f"fund2oct.{name}".rstrip(".") not in known] == []


def test_every_folder_of_the_package_is_installed():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = set(config["options"]["packages"].split()) - {"fund2oct.experiments"}
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("fund2oct/**/__init__.py")}
    assert named == found
