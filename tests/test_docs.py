"""What the documentation shows is run as it is shown."""

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_page_on_own_models_trains_through_its_import_path(tiny_overrides, tmp_path):
    smoother, encoder, *_ = blocks("own_model.md", "python")
    (experiment,) = blocks("own_model.md", "yaml")
    (tmp_path / "my_model.py").write_text(smoother + encoder)
    (tmp_path / "smoother.yaml").write_text(experiment)

    def fund2oct(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "fund2oct", *arguments], cwd=tmp_path, capture_output=True, text=True
        )

    done = fund2oct("train", "smoother.yaml", "--out", "run", *tiny_overrides)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "train/generator/total_variation" in (tmp_path / "run/metrics.csv").read_text().splitlines()[0]
    assert "variation: 0.2" in (tmp_path / "run/config.yaml").read_text()

    misspelt = fund2oct("train", "smoother.yaml", *tiny_overrides, "model.init_args.variaton=1")
    assert misspelt.returncode == 1
    assert "variaton" in misspelt.stderr and misspelt.stderr.count("\n") == 1

    own = [*tiny_overrides, "model.class_path=my_model.WithMyEncoder", "trainer.fast_dev_run=1"]
    done = fund2oct("train", "pix2vol", "--out", "other", *own)
    assert done.returncode == 0, done.stderr[-3000:]
