"""A training of one or two batches, without its report."""

import pytest


@pytest.fixture
def quick(tiny_overrides, tiny_layers, plain_pictures, memory_not_estimated, monkeypatch, tmp_path):
    """Overrides of the main experiment; the folder is the test's own."""
    monkeypatch.setattr("fund2oct.run.train._report", lambda *_: None)
    monkeypatch.delenv("FUND2OCT_RUN_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return [
        *tiny_overrides,
        *tiny_layers,
        "trainer.limit_train_batches=1",
        "trainer.limit_val_batches=0",
        "trainer.enable_model_summary=false",
    ]
