"""What stands in the pages of the documentation: their commands and their files."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
OURS, OTHERS = "fund2oct", {"cd", "export", "git", "hf", "make", "pip", "sbatch", "source"}
"""Commands that the tests run, and those that they leave to the reader."""


def blocks(page: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """Language and text of each block of a page."""
    for language, text in re.findall(
        r"^```(\w+)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    ):
        if language in languages:
            yield language, text


def commands(block: str) -> list[list[str]]:
    """The words of each command of a block of shell, without what is set before it."""
    lines = block.replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    for words in found:
        while words and re.fullmatch(r"[A-Z_]+=.*|srun|--cpus-per-task=\d+", words[0]):
            words.pop(0)
    return [words for words in found if words]


def files(page: Path) -> dict[str, str]:
    """The files of a page: YAML that begins with its name, and blocks whose caption is one."""
    found = {}
    for _, text in blocks(page, "yaml"):
        if name := re.match(r"# (\S+\.yaml)\n", text):
            found[name[1]] = text
    captioned = re.compile(r"^```{code-block} \w+\n:caption: (\S+)\n\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return found | dict(captioned.findall(page.read_text("utf-8")))
