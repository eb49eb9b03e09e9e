"""The heads of a trained model: by how much it gets worse without each."""

import pytest
import torch

from fund2oct.data import FundusOCTDataModule
from fund2oct.evaluation.report.heads import head_report
from fund2oct.models import SurfaceModel
from fund2oct.models.surface_model import heights_above_pose
from fund2oct.retina import SURFACES


def model_with(position):
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=32, position=position)
    model.configure_model()
    return model.eval()


def error_um(model, batches):
    ilm, rpe = SURFACES.index("ILM"), SURFACES.index("RPE")
    errors = []
    for batch in batches:
        real, median = heights_above_pose(batch), model.surfaces(batch["fundus"], batch["grid"]).median_um
        errors += [*(median[:, ilm] - median[:, rpe] - real[:, ilm] + real[:, rpe]).abs().nanmean((1, 2))]
    return float(torch.stack(errors).nanmean())


@torch.no_grad()
def test_the_heads_of_a_model_are_told(tiny_eyes):
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    data.setup()
    batches, model = list(data.test_dataloader()), model_with("rope")
    attention = model.generator_ema.module.surfaces.encoder.attention
    torch.nn.init.normal_(attention.out.weight, 0, 0.3)
    for n_unfound in (0, 1):  # eyes in which no surface was found
        batches[0]["surfaces_um"][:n_unfound] = torch.nan
        found, whole = head_report(model, batches), error_um(model, batches)
        with attention.without(2):
            assert found[2].worse == pytest.approx(error_um(model, batches) - whole, abs=1e-3)
    assert len(found) == 4 and all(1 <= head.rank <= 8 for head in found)
    with pytest.raises(ValueError, match=r"expected one that was trained with model.init_args.position"):
        head_report(model_with(None), batches)
