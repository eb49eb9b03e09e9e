"""The scan pattern that the documentation shows, by its import path."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from fund2oct.cli import main
from fund2oct.data import EyeReader
from fund2oct.geometry import CurveScan

PAGE = Path(__file__).parents[3] / "docs" / "own_model.md"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    [source] = re.findall(r"```python\n([^`]*class Spiral.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in source.splitlines() if line.strip()]) <= 15
    (tmp_path / "my_scan.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "in").mkdir()
    # Bright below, as under a retina: the search has something to find.
    volume = np.zeros((3, 40, 50), np.uint8)
    volume[:, 20:26] = 200
    np.save(tmp_path / "in" / "a.npy", volume)
    return tmp_path


def test_volumes_lie_along_a_pattern_of_ones_own(folder, capsys):
    out = folder / "out.h5"
    command = ["import", "volumes", str(folder / "in"), str(out), "--workers", "1"]
    options = ["--spacing-mm", "nan", "0.01", "nan"]
    assert main([*command, *options, "--scan", "my_scan.Spiral"]) == 0
    from my_scan import Spiral

    with EyeReader(out) as reader:
        eye = reader.read("a")
    assert isinstance(eye.scan, CurveScan)
    torch.testing.assert_close(eye.scan.coordinates(50), Spiral().coordinates(50), atol=1.1e-3, rtol=0)
    assert eye.spacing_mm[2] == pytest.approx(np.mean(Spiral().length_mm) / 50, rel=1e-3)
    for wrong, message in (
        ("my_scan.Spirale", "expected a scan pattern at MODULE.NAME .*importable"),
        ("my_scan.math", "expected a fund2oct.geometry.ScanPattern, found module"),
        ("fund2oct.geometry.RadialScan", "expected a line for each of 3 slices, found 6 lines"),
    ):
        status = main([*command, "--overwrite", *options, "--scan", wrong])
        said = capsys.readouterr()
        assert status == 1 and re.search(message, said.out + said.err), said
