"""Scalars keep the scale that weights know, whatever eyes a training goes on with."""

from dataclasses import replace

import pytest
from tiny_models import quick_trainer

from fund2oct.data import EyeReader, EyeWriter, FundusOCTDataModule
from fund2oct.models import SurfaceModel, load_model

OPTIONS = {"shape": (6, 32, 48), "encoder": "own", "surface_width": 8, "conditions": ["age_years"]}


def aged(path, folder, ages):
    """The eyes of a file with other ages, as a datamodule."""
    told = folder / f"{ages[0]}.h5"
    with EyeReader(path) as reader, EyeWriter(told) as writer:
        for number, key in enumerate(reader.keys):
            writer.add(replace(reader.read(key), metadata={"age_years": ages[number % len(ages)]}))
    return FundusOCTDataModule(str(told), batch_size=4)


def fit(model, data):
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(model, datamodule=data)
    return trainer


@pytest.mark.slow
def test_a_training_that_goes_on_with_older_eyes_reads_ages_as_before(tiny_eyes, tmp_path):
    young, old = aged(tiny_eyes, tmp_path, range(40, 60)), aged(tiny_eyes, tmp_path, (80, 81, 82))
    file = tmp_path / "young.ckpt"
    fit(SurfaceModel(**OPTIONS), young).save_checkpoint(file)
    (known,) = load_model(file).task.conditions.scalars
    assert 45 < known.mean < 55 and known.deviation > 3
    alone = SurfaceModel(**OPTIONS)
    fit(alone, old)
    assert alone.task.conditions.scalars[0].mean == pytest.approx(81, abs=0.5)
    for model in (SurfaceModel(**OPTIONS, init_from=str(file)), load_model(file)):
        fit(model, old)
        (here,) = model.task.conditions.scalars
        assert (here.mean, here.deviation) == (known.mean, known.deviation) and here.seen == (80, 82)
