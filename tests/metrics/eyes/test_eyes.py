"""All values of an eye together: names, shapes, and their order from a rescan to another eye."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fund2oct.metrics.eyes import findings as module
from fund2oct.metrics.eyes.findings import Findings
from fund2oct.metrics.eyes.kinds import KINDS
from fund2oct.metrics.eyes.layers import Surfaces, find_surfaces
from fund2oct.metrics.eyes.measuring import (
    EyeMean,
    measure_eyes,
    measure_lesions,
    measure_perceptual,
    measure_surfaces,
)
from fund2oct.metrics.eyes.quality import volume_psnr
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.retina import align, aligned_mask, unalign

X_MM = 8.8 / 112
ALWAYS = {
    *(f"{frame}/{name}" for frame in ("aligned", "posed") for name in ("l1", "psnr", "ssim", "ms_ssim")),
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
KIND_LENGTHS = {f"{kind}/{whose}_mm" for kind in KINDS for whose in ("fake", "real", "both")}
KIND_TRUTHS = {f"{kind}/{whose}_mm" for kind in KINDS for whose in ("truth", "confirmed")}
WITH_SCAN = {f"{kind}/{name}_mm3" for kind in ("fluid", "elevation") for name in ("fake", "real", "error")}
WITH_LESIONS = {f"{kind}/{name}_mm3" for kind in ("fluid", "elevation") for name in ("truth", "truth_error")}
ERRORS = (
    "aligned/l1",
    "aligned/retina_local_mean",
    "thickness/error_um",
    "ilm/error_um",
    "ilm/truth_error_um",
    "thickness/truth_error_um",
    "posed/l1",
)
AGREEMENTS = ("aligned/psnr", "aligned/ssim", "aligned/ms_ssim", "posed/psnr", "posed/ssim", "posed/ms_ssim")
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
        for name in ("volume", "rescan", "pose_um", "boundaries_um", "lesions")
    }
    arrays |= {name: arrays[name][:, None] / 255 for name in ("volume", "rescan")}
    where = arrays["pose_um"], 0.024
    return arrays | {
        "aligned": align(arrays["volume"], *where),
        "mask": aligned_mask(arrays["volume"], *where),
        "scan": eyes[0].scan,
        "surfaces": find_surfaces(arrays["volume"], 0.024, X_MM),
    }


def _aligned(answer: str) -> Tensor:
    real = _real()
    # Of the other eyes: an eye's own speckle must not be in it.
    mean = (real["aligned"].sum(0) - real["aligned"]) / (len(DIAGNOSES) - 1)
    return {
        "rescan": align(real["rescan"], real["pose_um"], 0.024),
        "other": real["aligned"].roll(1, 0),
        "mean": mean,
        "nothing": torch.zeros_like(mean),
    }[answer]


def _volume(answer: str) -> Tensor:
    real = _real()
    return real["rescan"] if answer == "rescan" else unalign(_aligned(answer), real["pose_um"], 0.024)


@cache
def _drawn(answer: str) -> Findings:
    """What is found in an answer, once for all tests: a search takes longer than what is measured by it."""
    return Findings(_volume(answer), 0.024, X_MM)


@cache
def _real_findings() -> Findings:
    return Findings(_real()["volume"], 0.024, X_MM, _real()["surfaces"])


def _measure(answer: str, **optional: Any) -> dict[str, Tensor]:
    """Measure a rescan, another eye's volume, the mean volume of all others, or nothing."""
    real = _real()
    frames = _aligned(answer), real["aligned"], real["mask"]
    return measure_eyes(_drawn(answer), _real_findings(), *frames, **optional)


@cache
def _everything(answer: str) -> dict[str, Tensor]:
    return _measure(answer, boundaries_um=_real()["boundaries_um"]) | _lesions(
        answer, scan=_real()["scan"], lesions=_real()["lesions"]
    )


def _lesions(answer: str, **optional: Any) -> dict[str, Tensor]:
    return measure_lesions(_drawn(answer), _real_findings(), **optional)


def test_names_follow_what_is_given() -> None:
    real = _real()
    assert set(_measure("rescan")) == ALWAYS
    assert set(_measure("rescan", boundaries_um=real["boundaries_um"])) == ALWAYS | WITH_BOUNDARIES
    assert set(_lesions("rescan")) == KIND_LENGTHS
    assert set(_lesions("rescan", lesions=real["lesions"])) == KIND_LENGTHS | KIND_TRUTHS
    assert set(_lesions("rescan", scan=real["scan"])) == KIND_LENGTHS | WITH_SCAN
    everything = _lesions("rescan", scan=real["scan"], lesions=real["lesions"])
    assert set(everything) == KIND_LENGTHS | KIND_TRUTHS | WITH_SCAN | WITH_LESIONS
    network = {"aligned/perceptual_unweighted", "posed/perceptual_unweighted"}
    frames = (_volume("rescan"), _aligned("rescan"), real["volume"], real["aligned"], real["mask"])
    assert set(measure_perceptual(*frames, Blur())) == network
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


def test_a_volume_is_searched_once_for_all_that_is_found_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def search(volume: Tensor, *spacing: Any) -> Surfaces:
        searched.append(len(volume))
        return _real()["surfaces"]

    monkeypatch.setattr(module, "find_surfaces", search)
    real = Findings(_real()["volume"], 0.024, X_MM)
    for _ in range(2):
        measure_lesions(Findings(_volume("rescan"), 0.024, X_MM, _real()["surfaces"]), real)
        measure_surfaces(_real()["surfaces"], real)
    assert searched == [6]


def test_surfaces_are_measured_as_those_found_in_a_volume() -> None:
    real, whole = _real(), _measure("other", boundaries_um=_real()["boundaries_um"])
    drawn = find_surfaces(_volume("other"), 0.024, X_MM)
    values = measure_surfaces(drawn, _real_findings(), real["boundaries_um"])
    assert set(values) == {
        name for name in whole if name.split("/")[0] in ("thickness", "ilm", "rpe", "order")
    }
    for name, value in values.items():
        torch.testing.assert_close(value.float(), whole[name], equal_nan=True)


def test_kinds_of_a_rescan_are_those_of_the_eye() -> None:
    rescan, other = _lesions("rescan", lesions=_real()["lesions"]), _lesions("other")
    for number, diagnosis in enumerate(DIAGNOSES):
        shown = {kind for kind in KINDS if rescan[f"{kind}/real_mm"][number] >= 1}
        assert shown == {diagnosis} - {"normal"}
        for kind in shown:
            values = {
                whose: float(rescan[f"{kind}/{whose}_mm"][number]) for whose in ("fake", "real", "both")
            }
            assert 2 * values["both"] / (values["fake"] + values["real"]) > 0.8
            assert rescan[f"{kind}/confirmed_mm"][number] > 0.6 * values["real"]
            assert other[f"{kind}/both_mm"][number] == 0


def test_an_eye_has_the_same_values_in_any_batch() -> None:
    real = _real()
    where = real["pose_um"], 0.024
    answer = align(real["rescan"], *where)
    whole = _everything("rescan")
    for eye in (1, 4):
        one = slice(eye, eye + 1)
        spacing = torch.tensor([0.024]), torch.tensor([X_MM])
        found = [Findings(real[name][one], *spacing) for name in ("rescan", "volume")]
        aligned = answer[one], real["aligned"][one], real["mask"][one]
        alone = measure_eyes(*found, *aligned, boundaries_um=real["boundaries_um"][one])
        alone |= measure_lesions(*found, scan=real["scan"], lesions=real["lesions"][one])
        for name, value in alone.items():
            torch.testing.assert_close(value, whole[name][one], rtol=1e-4, atol=1e-5, equal_nan=True)


def test_the_aligned_values_are_those_inside_the_mask() -> None:
    real = _real()
    expected = volume_psnr(real["aligned"].roll(1, 0), real["aligned"], real["mask"])
    torch.testing.assert_close(_everything("other")["aligned/psnr"], expected)


def test_volumes_that_do_not_fit_are_refused() -> None:
    real = _real()
    good = [real[name] for name in ("rescan", "volume", "aligned", "aligned", "mask")]
    for place in (0, 2, 4):
        bad = list(good)
        bad[place] = bad[place][:, :, 1:]
        with pytest.raises(ValueError, match="expected"):
            measure_eyes(*(Findings(volume, 0.024, X_MM) for volume in bad[:2]), *bad[2:])


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
