import shutil
import sys
from pathlib import Path

import pytest
import yaml
from small_plans import SURFACES, VOXELS

for folder in ("leaderboard", "heights", "photos"):
    sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / folder))


@pytest.fixture
def plan(tiny_eyes, tmp_path):
    """Two entries, one seed, two seconds each."""
    path = tmp_path / "plan.yaml"
    entries = {
        "regression": {"experiment": "regression", "settings": VOXELS, "tuning": "none at all"},
        "surfaces": {
            "experiment": "surfaces",
            "settings": SURFACES,
            "rows": {
                "surfaces": ", median surfaces",
                "retrieval": ", nearest eye warped to its surfaces",
            },
        },
        "missing": {"experiment": "x2ct", "needs": "no_such_package"},
    }
    settings = [
        f"data.init_args.path={tiny_eyes}", "data.init_args.n_eyes=24", "data.init_args.batch_size=2",
        "data.init_args.test_fraction=0.4", "trainer.accelerator=cpu",
    ]  # fmt: skip
    plan = {"minutes": 0.03, "seeds": [1], "distances": [], "settings": settings, "entries": entries}
    path.write_text(yaml.safe_dump(plan))
    return path


@pytest.fixture
def trained(plan, tmp_path, tiny_checkpoint):
    """A training that is done, with the tiny model as its model."""
    from plan import Plan
    from trainings import trainings_of

    training, _ = trainings_of(Plan.read(plan), tmp_path)
    training.write({"steps": 3})
    training.checkpoint.parent.mkdir()
    shutil.copy(tiny_checkpoint, training.checkpoint)
    return training
