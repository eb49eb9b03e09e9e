"""All values of an eye together: names, shapes, and their order from a rescan to another eye."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fund2oct.metrics import eyes as module
from fund2oct.metrics.eyes import EyeMean, measure_eyes
from fund2oct.metrics.layers import find_surfaces
from fund2oct.metrics.quality import volume_psnr
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.retina import align, aligned_mask, unalign

X_MM = 8.8 / 112
ALWAYS = {
    *(f"{frame}/{name}" for frame in ("aligned", "lying") for name in ("l1", "psnr", "ssim", "ms_ssim")),
    "aligned/retina_local_mean",
    "energy/fake",
    "energy/real",
    "thickness/error_um",
    "thickness/correlation",
    "thickness/failed",
    "thickness/failed_real",
    "ilm/error_um",
    "rpe/error_um",
    "shadow/agreement",
    "order/violations",
    "order/violations_real",
}
WITH_BOUNDARIES = {"ilm/truth_error_um", "rpe/truth_error_um", "thickness/truth_error_um"}
WITH_SCAN = {f"{kind}/{name}_mm3" for kind in ("fluid", "elevation") for name in ("fake", "real", "error")}
WITH_LESIONS = {f"{kind}/{name}_mm3" for kind in ("fluid", "elevation") for name in ("truth", "truth_error")}
ERRORS = (
    "aligned/l1",
    "aligned/retina_local_mean",
    "thickness/error_um",
    "ilm/error_um",
    "ilm/truth_error_um",
    "thickness/truth_error_um",
    "lying/l1",
)
AGREEMENTS = ("aligned/psnr", "aligned/ssim", "aligned/ms_ssim", "lying/psnr", "lying/ssim", "lying/ms_ssim")
DIAGNOSES = ("normal", "SRF", "PED", "IRF", "drusen", "normal")


class Blur(nn.Module):
    """A feature network of one level."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [torch.cat([nn.functional.avg_pool2d(image, 4), torch.ones_like(image[..., ::4, ::4])], 1)]


@cache
def _real() -> dict[str, Any]:
    eyes = [simulate_eye(51, n, PhantomConfig(diagnosis=name)) for n, name in enumerate(DIAGNOSES)]
    arrays = {
        name: torch.from_numpy(np.stack([getattr(eye, name) for eye in eyes]))
        for name in ("volume", "second", "pose_um", "boundaries_um", "lesions")
    }
    arrays |= {name: arrays[name][:, None] / 255 for name in ("volume", "second")}
    where = arrays["pose_um"], 0.024
    return arrays | {
        "aligned": align(arrays["volume"], *where),
        "mask": aligned_mask(arrays["volume"], *where),
        "scan": eyes[0].scan,
        "surfaces": find_surfaces(arrays["volume"], 0.024, X_MM),
    }


def _measure(answer: str, **optional: Any) -> dict[str, Tensor]:
    """Measure a rescan, another eye's volume, the mean volume of all others, or nothing."""
    real = _real()
    where = real["pose_um"], 0.024
    # Of the other eyes: an eye's own speckle must not be in it.
    mean = (real["aligned"].sum(0) - real["aligned"]) / (len(DIAGNOSES) - 1)
    aligned = {
        "rescan": align(real["second"], *where),
        "other": real["aligned"].roll(1, 0),
        "mean": mean,
        "nothing": torch.zeros_like(mean),
    }[answer]
    volume = real["second"] if answer == "rescan" else unalign(aligned, *where)
    options = {"real_surfaces": real["surfaces"]} | optional
    return measure_eyes(
        volume, real["volume"], aligned, real["aligned"], real["mask"], 0.024, X_MM, **options
    )


@cache
def _everything(answer: str) -> dict[str, Tensor]:
    real = _real()
    return _measure(answer, scan=real["scan"], boundaries_um=real["boundaries_um"], lesions=real["lesions"])


def test_names_follow_what_is_given() -> None:
    real = _real()
    assert set(_measure("rescan")) == ALWAYS
    assert set(_measure("rescan", lesions=real["lesions"])) == ALWAYS
    assert set(_measure("rescan", scan=real["scan"])) == ALWAYS | WITH_SCAN
    assert set(_everything("rescan")) == ALWAYS | WITH_BOUNDARIES | WITH_SCAN | WITH_LESIONS
    network = {"aligned/perceptual_unweighted", "lying/perceptual_unweighted"}
    assert set(_measure("rescan", perceptual=Blur())) == ALWAYS | network
    for value in _everything("rescan").values():
        assert value.shape == (6,) and value.dtype == torch.float32


@pytest.mark.parametrize("name", ERRORS)
def test_errors_of_a_rescan_are_below_those_of_the_mean_and_of_other_eyes(name: str) -> None:
    rescan, mean, other = (_everything(answer)[name] for answer in ("rescan", "mean", "other"))
    assert (rescan < other).all()
    assert rescan.mean() < mean.nanmean()


@pytest.mark.parametrize("name", AGREEMENTS)
def test_a_rescan_agrees_more_than_the_mean_and_other_eyes(name: str) -> None:
    rescan, mean, other = (_everything(answer)[name] for answer in ("rescan", "mean", "other"))
    assert (rescan > other).all()
    assert rescan.mean() > mean.mean()


def test_anatomy_of_a_rescan_is_that_of_the_eye() -> None:
    rescan, mean, other = (_everything(answer) for answer in ("rescan", "mean", "other"))
    assert (rescan["shadow/agreement"] > 0.5).all()
    assert other["shadow/agreement"].abs().max() < 0.3 and mean["shadow/agreement"].abs().max() < 0.5
    assert rescan["thickness/correlation"].mean() > other["thickness/correlation"].mean() + 0.2
    assert (rescan["thickness/failed"] < 0.03).all() and (rescan["order/violations"] < 0.05).all()
    for kind in ("fluid", "elevation"):
        error = f"{kind}/error_mm3"
        assert rescan[error].mean() < 0.3 * other[error].mean()
        assert rescan[error].mean() < 0.3 * mean[error].mean()


def test_the_truth_of_the_lesions_is_found_in_the_eyes_that_have_them() -> None:
    values = _everything("rescan")
    fluid, elevation = values["fluid/truth_mm3"], values["elevation/truth_mm3"]
    assert (fluid > 0.01).tolist() == [False, True, False, True, False, False]
    assert (elevation > 0.01).tolist() == [False, False, True, False, True, False]
    torch.testing.assert_close(values["fluid/truth_error_mm3"], (values["fluid/fake_mm3"] - fluid).abs())
    torch.testing.assert_close(
        values["elevation/error_mm3"], (values["elevation/fake_mm3"] - values["elevation/real_mm3"]).abs()
    )
    assert (values["fluid/fake_mm3"][fluid > 0.01] > 0.3 * fluid[fluid > 0.01]).all()


def test_a_volume_without_a_retina_fails_and_is_not_measured() -> None:
    values = _everything("nothing")
    assert (values["thickness/failed"] == 1).all()
    for name in ("thickness/error_um", "thickness/correlation", "ilm/error_um", "rpe/error_um"):
        assert values[name].isnan().all()
    for name in ("shadow/agreement", "order/violations", "fluid/fake_mm3", "elevation/error_mm3"):
        assert values[name].isnan().all()
    assert values["aligned/psnr"].isfinite().all() and values["fluid/real_mm3"].isfinite().all()


def test_each_volume_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def search(volume: Tensor, *spacing: Any) -> Any:
        searched.append(len(volume))
        return _real()["surfaces"]

    monkeypatch.setattr(module, "find_surfaces", search)
    _measure("rescan", scan=_real()["scan"])
    assert searched == [6]
    _measure("rescan", real_surfaces=None)
    assert searched == [6, 6, 6]


def test_an_eye_has_the_same_values_in_any_batch() -> None:
    real = _real()
    where = real["pose_um"], 0.024
    answer = align(real["second"], *where)
    whole = _everything("rescan")
    for eye in (1, 4):
        one = slice(eye, eye + 1)
        alone = measure_eyes(
            real["second"][one], real["volume"][one], answer[one], real["aligned"][one], real["mask"][one],
            torch.tensor([0.024]), torch.tensor([X_MM]), scan=real["scan"],
            boundaries_um=real["boundaries_um"][one], lesions=real["lesions"][one],
        )  # fmt: skip
        for name, value in alone.items():
            torch.testing.assert_close(value, whole[name][one], rtol=1e-4, atol=1e-5, equal_nan=True)


def test_the_aligned_values_are_those_inside_the_mask() -> None:
    real = _real()
    expected = volume_psnr(real["aligned"].roll(1, 0), real["aligned"], real["mask"])
    torch.testing.assert_close(_everything("other")["aligned/psnr"], expected)


def test_volumes_that_do_not_fit_are_refused() -> None:
    real = _real()
    good = [real[name] for name in ("second", "volume", "aligned", "aligned", "mask")]
    for place in (0, 2, 4):
        bad = list(good)
        bad[place] = bad[place][:, :, 1:]
        with pytest.raises(ValueError, match="expected"):
            measure_eyes(*bad, 0.024, X_MM)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_means_are_over_the_eyes_that_were_measured() -> None:
    metric = EyeMean()
    assert metric.compute().isnan()
    metric.update(torch.tensor([1.0, math.nan, 2.0]))
    metric.update(torch.tensor([math.nan]))
    metric.update(torch.tensor([6.0]))
    assert metric.compute().item() == pytest.approx(3.0)
    states = EyeMean(), EyeMean()
    states[0].update(torch.tensor([1.0, 2.0]))
    states[1].update(torch.tensor([6.0, math.nan]))
    merged = EyeMean()
    merged.total, merged.count = sum(m.total for m in states), sum(m.count for m in states)
    assert merged.compute().item() == pytest.approx(3.0)
