"""Whoever looks a public name up finds what goes in, what comes out, what is refused, and an example."""

import ast
import dataclasses
import doctest
import importlib
import inspect
import os
import re
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from public_names import PUBLIC, TOP

from fund2oct.phantom import simulate_eye

ROOT = Path(__file__).parents[2]
SECTION = re.compile(
    r"^(Args|Attributes|Returns|Yields|Raises|References|Example|Examples|Note):{1,2}$", re.M
)
SHAPE = re.compile(r"shape|scalar|likewise|same|``\(")
"""An argument that is a tensor tells its shape, or as which other one it is."""
OF_A_PAPER = re.compile(r"arXiv|et al\.|doi:", re.I)


def documented() -> dict[str, list[str]]:
    """The modules that the reference shows, with the names of each; none where it shows all of them."""
    found: dict[str, list[str]] = {}
    for page in sorted((ROOT / "docs/reference").glob("*.rst")):
        for module, block in re.findall(
            r"^\.\. subject:: (fund2oct[\w.]*)\n((?:\n|   \w+\n)*)", page.read_text("utf-8"), re.M
        ):
            found.setdefault(module, []).extend(block.split())
    return found


def public_objects() -> dict[str, object]:
    """Functions and classes that users may rely on, by the place where they are defined."""
    found: dict[str, object] = {}
    shown = documented()
    for name in sorted({*PUBLIC, *shown, "fund2oct"}):
        module = importlib.import_module(name)
        exported = getattr(module, "__all__", None)
        names = TOP if name == "fund2oct" else PUBLIC.get(name) or shown[name] or exported or vars(module)
        for one in (getattr(module, word) for word in sorted(names) if not word.startswith("_")):
            own = getattr(one, "__module__", "") == name or names is not vars(module)
            if own and (inspect.isclass(one) or inspect.isfunction(one)):
                found[f"{one.__module__}.{one.__qualname__}"] = one
    return found


OBJECTS = public_objects()
NEEDED = {"fund2oct.export.film.save_mp4": "av"}
"""What an example needs of the extras, where it cannot run without it."""
NOT_RUN = {
    "fund2oct.evaluation.checkpoints.evaluate_checkpoints",
    "fund2oct.evaluation.files.evaluate_files",
    "fund2oct.models.published.hub.push_to_hub",
    "fund2oct.networks.features.user.load_torch_fidelity",
    "fund2oct.networks.features.user.load_torchvision",
    "fund2oct.networks.features.weights.fetch_weights",
    "fund2oct.networks.foundation.encoder.FoundationEncoder",
}
"""Examples of which no line is run: they take a whole report, or weights, or the network."""


def sections(text: str) -> dict[str, str]:
    """The parts of a docstring by their headings; what stands before the first one under an empty name."""
    parts = SECTION.split(text)
    found = {"": parts[0]}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        found[name.removesuffix("s") if name == "Examples" else name] = body
    return found


def arguments(one: object) -> dict[str, str]:
    """What a call takes, with its annotation as text."""
    if inspect.isclass(one):
        if issubclass(one, BaseException) or typing.is_typeddict(one) or getattr(one, "_is_protocol", False):
            return {}
        if issubclass(one, tuple):
            return {name: str(kind) for name, kind in one.__annotations__.items()}
        if not dataclasses.is_dataclass(one) and "__init__" not in vars(one):
            return {}  # those of the class that it stands on
        of = inspect.signature(one.__init__)
    else:
        of = inspect.signature(one)
    return {
        name: str(parameter.annotation)
        for name, parameter in of.parameters.items()
        if name not in ("self", "args", "kwargs") and not name.startswith("_")
    }


def raised(one: object) -> set[str]:
    """The errors that a call raises itself."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
    except (OSError, TypeError):
        return set()
    (body,) = tree.body
    if isinstance(body, ast.ClassDef):
        calls = [node for node in body.body if getattr(node, "name", "") in ("__init__", "__post_init__")]
    else:
        calls = [body]
    errors = [
        node.exc.func
        for call in calls
        for node in ast.walk(call)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    names = {ast.unparse(error).rpartition(".")[2] for error in errors}
    # A function of our own that makes the error is called in lower case.
    return {name for name in names if name[0].isupper()} - {"NotImplementedError", "AssertionError"}


def is_never_called(one: object) -> bool:
    """Whether users only name it: an error that they catch, a form that their own objects have."""
    form = typing.is_typeddict(one) or getattr(one, "_is_protocol", False)
    return form or (inspect.isclass(one) and issubclass(one, BaseException))


def missing(one: object) -> list[str]:
    """What a reader of a docstring would ask for in vain."""
    doc = inspect.cleandoc(one.__doc__ or "")
    if not doc:
        return ["docstring"]
    parts = sections(doc)
    taken = arguments(one)
    listed = parts.get("Args", "") + parts.get("Attributes", "")
    entry = {
        match[1]: match[2]
        for match in re.finditer(r"^ {4}\*{0,2}(\w+)[^\n:]*:(.*?)(?=^ {4}\S|\Z)", listed, re.M | re.S)
    }
    found = [f"Args: {name}" for name in taken if name not in entry]
    found += [
        f"shape of {name}"
        for name, kind in taken.items()
        if re.fullmatch(r"(torch\.)?Tensor( \| None)?", kind) and not SHAPE.search(entry.get(name, "shape"))
    ]
    if inspect.isfunction(one):
        returns = inspect.signature(one).return_annotation
        if returns not in ("None", None) and not {"Returns", "Yields"} & set(parts):
            found.append("Returns")
    found += [f"Raises: {error}" for error in sorted(raised(one)) if error not in parts.get("Raises", "")]
    if OF_A_PAPER.search(doc) and "References" not in parts:
        found.append("References")
    if ">>>" not in doc and not is_never_called(one):
        found.append("Example")
    return found


@pytest.mark.parametrize("name", OBJECTS)
def test_a_public_name_says_all_of_it(name: str) -> None:
    assert missing(OBJECTS[name]) == []


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A photo as a camera gives it, wider than tall."""
    retina = Image.fromarray(simulate_eye(0, 0).fundus)
    return ImageOps.expand(retina, (24, 8))


@pytest.fixture
def working_folder(
    tmp_path: Path,
    tiny_eyes: Path,
    tiny_checkpoint: Path,
    photo: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Where examples run, with the files that the reference promises them."""
    os.link(tiny_eyes, tmp_path / "eyes.h5")
    os.link(tiny_checkpoint, tmp_path / "model.ckpt")
    photo.save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for own in tmp_path.glob("*.py"):  # of the same name as files of other tests
        sys.modules.pop(own.stem, None)


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.usefixtures("working_folder")
def test_its_examples_run(name: str) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    module = importlib.import_module(OBJECTS[name].__module__)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    known = {"np": np, "torch": torch}
    for case in doctest.DocTestFinder(recurse=False).find(OBJECTS[name], name, module, extraglobs=known):
        runner.run(case)
    failed, tried = runner.summarize(verbose=False)
    assert failed == 0
    # Skipped lines are not tried; an error or a protocol needs no example.
    assert tried or name in NOT_RUN or ">>>" not in (OBJECTS[name].__doc__ or "")
