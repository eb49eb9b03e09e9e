"""How good a model is, between its floor and its controls, in one table.

A score alone says little. Beside the model stand

* the *floor*: a second rendering of the same eye, with other speckle and nothing else changed;
* the *mean volume* of the training eyes, the answer that needs no photo;
* the *nearest photo*: the volume of the training eye whose photo is most alike;
* the model given *shuffled photos*, those of other patients: it must get worse, or it ignores them.

All volumes are put at the real scan's pose before they are compared as they lie.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from fund2oct.controls import Candidate, controls, model_candidates
from fund2oct.data import FundusOCTDataModule
from fund2oct.losses import local_mean_loss
from fund2oct.metrics.layers import retinal_thickness_um
from fund2oct.metrics.quality import volume_l1, volume_psnr, volume_ssim
from fund2oct.metrics.sharpness import high_frequency_energy
from fund2oct.models import Batch, Fake, VolumeGAN, load_model
from fund2oct.retina import ALIGNED_DEPTH
from fund2oct.visual import draw_panel, save_figure
from fund2oct.visual.report import draw_scatter, report_text

_RETINA_UM = (-450.0, 100.0)
"""Depths around the pose's surface that hold the retina, its detachments and the epithelium."""


def evaluate(
    models: Mapping[str, VolumeGAN], datamodule: FundusOCTDataModule, out: str | Path, seed: int = 0
) -> dict[str, Any]:
    """Compare models with their controls on the test eyes, and write the report.

    Writes ``metrics.json`` (every eye's values), ``report.md`` (the table and its protocol),
    ``scatter.png`` and panels of the median and the worst eye.

    Args:
        models: by name, in evaluation mode.
        datamodule: set up; its test part is evaluated, its training part gives the controls.
        out: folder of the report.
        seed: of the models' noise.

    Returns:
        What ``metrics.json`` holds.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    device = next(iter(models.values())).device
    test = [VolumeGAN.prepare(_to(batch, device)) for batch in datamodule.test_dataloader()]
    candidates = [*controls(datamodule, test, device), *model_candidates(models, test, seed)]
    eyes: dict[str, list[dict[str, Any]]] = {candidate.name: [] for candidate in candidates}
    x_mm = fmean(datamodule.scan.length_mm) / datamodule.shape[2]
    for batch in track(test, "evaluating"):
        real_um = retinal_thickness_um(batch["volume"], batch["spacing_z_mm"], x_mm)
        for candidate in candidates:
            eyes[candidate.name] += measure(candidate.answer(batch), batch, real_um, x_mm)
    result = {
        "protocol": {
            "data": str(datamodule.path),
            "n_test": len(datamodule.test_dataset),
            "n_train": len(datamodule.train_dataset),
            "shape": list(datamodule.shape),
            "seed": seed,
        },
        "summary": {name: summarise(rows) for name, rows in eyes.items()},
        "eyes": eyes,
    }
    (out / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "report.md").write_text(report_text(result))
    save_figure(draw_scatter(eyes), out / "scatter.png")
    for name in models:
        _draw_eyes(name, candidates, eyes[name], test, out)
    return result


def evaluate_checkpoints(
    checkpoints: Sequence[str], data: str, out: str | Path, model: str | None = None
) -> dict[str, Any]:
    """Evaluate checkpoints on the test part of a file; see :func:`evaluate`."""
    model_class = import_class(model) if model else None
    models: dict[str, VolumeGAN] = {}
    for checkpoint in checkpoints:
        models[_unique_name(Path(checkpoint), models)] = load_model(checkpoint, model_class)
    shape = next(iter(models.values())).shape
    fundus_px = {loaded.task.fundus_px for loaded in models.values() if loaded.task}
    if any(loaded.shape != shape for loaded in models.values()) or len(fundus_px) > 1:
        raise ValueError("checkpoints: expected models of one volume shape and one photo size")
    datamodule = FundusOCTDataModule(data, volume_shape=shape, fundus_px=fundus_px.pop())
    datamodule.prepare_data()
    datamodule.setup()
    with torch.inference_mode():
        return evaluate(models, datamodule, out)


def import_class(path: str) -> type[VolumeGAN]:
    """Import a model's class by the path that the *user* gives, ``module.Class``."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"model {path!r}: expected an importable MODULE.CLASS: {error}") from None
    if not (isinstance(found, type) and issubclass(found, VolumeGAN)):
        raise ValueError(f"model {path!r}: expected a subclass of fund2oct.models.VolumeGAN")
    return found


def measure(fake: Fake, batch: Batch, thickness_um: Tensor, x_mm: float) -> list[dict[str, Any]]:
    """Measure answers for a batch that :meth:`VolumeGAN.prepare` has seen, eye by eye.

    Args:
        fake: answers, volumes of shape ``(B, 1, S, Z, X)``.
        batch: the real eyes.
        thickness_um: thickness found in the real volumes, shape ``(B, S, X)``.
        x_mm: distance of two A-scans.

    Returns:
        For each eye its key, diagnosis and values.
    """
    real, mask = batch["aligned"], batch["mask"]
    aligned, volume = fake
    found_um = retinal_thickness_um(volume, batch["spacing_z_mm"], x_mm)
    both = found_um.isfinite() & thickness_um.isfinite()
    columns = {
        "thickness_um": torch.where(both, (found_um - thickness_um).abs(), nan).flatten(1).nanmean(1),
        "thickness_failed": 1 - both.flatten(1).sum(1) / thickness_um.isfinite().flatten(1).sum(1),
        "aligned_l1": volume_l1(aligned, real, mask),
        "aligned_psnr": volume_psnr(aligned, real, mask),
        "aligned_ssim": volume_ssim(aligned, real, mask),
        "lying_l1": volume_l1(volume, batch["volume"]),
        "lying_psnr": volume_psnr(volume, batch["volume"]),
        "lying_ssim": volume_ssim(volume, batch["volume"]),
        "energy": high_frequency_energy(volume),
        "real_energy": high_frequency_energy(batch["volume"]),
    }
    rows = []
    for number, key in enumerate(batch["key"]):
        one = slice(number, number + 1)
        row = {"key": key, "diagnosis": batch["diagnosis"][number]}
        row |= {name: float(values[number]) for name, values in columns.items()}
        retina = mask[one] & _retina_band(batch["spacing_z_mm"][number], real.shape[3], real.device)
        row["retina_local_mean"] = float(local_mean_loss(aligned[one], real[one], retina))
        rows.append(row)
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the eyes; the sharpness is the ratio of the summed energies."""
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    summary = {name: _mean([row[name] for row in rows]) for name in names}
    summary["sharpness"] = summary.pop("energy") / summary.pop("real_energy")
    values = np.array([row["thickness_um"] for row in rows])
    values = values[np.isfinite(values)]
    spread = values.std(ddof=1) if len(values) > 1 else nan
    summary["thickness_um_standard_error"] = float(spread / max(1, len(values)) ** 0.5)
    return summary


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return fmean(known) if known else nan


def _retina_band(spacing_z_mm: Tensor, n_depth: int, device: torch.device) -> Tensor:
    """Rows of the aligned frame that hold retina in almost any eye, ``(Z, 1)``."""
    rows = torch.arange(n_depth, device=device) + 0.5
    depth_um = (rows - ALIGNED_DEPTH * n_depth) * spacing_z_mm * 1000
    return ((depth_um > _RETINA_UM[0]) & (depth_um < _RETINA_UM[1]))[:, None]


def _to(batch: Batch, device: torch.device) -> Batch:
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


def _unique_name(checkpoint: Path, taken: Mapping[str, Any]) -> str:
    # runs/pix2vol/003/checkpoints/last.ckpt says more by its experiment than by its file.
    parents = checkpoint.resolve().parents
    named = parents[0].name == "checkpoints" and len(parents) > 2
    name = f"{parents[2].name} {parents[1].name}" if named else checkpoint.stem
    return name if name not in taken else f"{name} ({len(taken) + 1})"


def _draw_eyes(
    name: str,
    candidates: Sequence[Candidate],
    rows: Sequence[Mapping[str, Any]],
    test: Sequence[Batch],
    out: Path,
) -> None:
    """Draw the eye of median and the one of largest thickness error, every candidate in a row."""
    # An eye in which nothing could be measured is as bad as can be.
    errors = [row["thickness_um"] if np.isfinite(row["thickness_um"]) else np.inf for row in rows]
    ranked = sorted(range(len(rows)), key=lambda number: errors[number])
    for label, number in (("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])):
        batch = next(batch for batch in test if rows[number]["key"] in batch["key"])
        index = batch["key"].index(rows[number]["key"])
        shown = {"real": batch["volume"][index, 0]} | {
            candidate.name: candidate.answer(batch).volume[index, 0] for candidate in candidates
        }
        title = f"{rows[number]['key']}  {rows[number]['diagnosis']}  {label} thickness error"
        figure = draw_panel(batch["fundus"][index], batch["grid"][index], shown, title)
        save_figure(figure, out / f"{label}-{name.replace(' ', '-')}.png")
