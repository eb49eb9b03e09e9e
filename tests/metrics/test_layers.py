"""Thickness error, against the phantom's truth and against shifts of known size."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fund2oct.metrics.layers import ThicknessError, retinal_thickness_um
from fund2oct.phantom.simulate import simulate_eye
from fund2oct.retina import align, boundary_index

X_MM = 8.8 / 112


def _eyes(n: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    eyes = [simulate_eye(21, number) for number in range(n)]
    volume, second = (
        torch.from_numpy(np.stack([getattr(eye, name) for eye in eyes]))[:, None] / 255
        for name in ("volume", "second")
    )
    truth = [eye.boundaries_um[boundary_index("IZ_RPE")] - eye.boundaries_um[0] for eye in eyes]
    poses = torch.from_numpy(np.stack([eye.pose_um for eye in eyes]))
    return volume, second, torch.from_numpy(np.stack(truth)), poses


def _update(metric: ThicknessError, fake: Tensor, real: Tensor, truth: Tensor | None = None) -> dict:
    metric.update(fake, real, 0.024, X_MM, truth)
    return {name: value.item() for name, value in metric.compute().items()}


def _thicker(volume: Tensor, rows: int) -> Tensor:
    """Move everything below row 44, mid-retina nowhere: the outer part of a flattened eye sinks."""
    row = torch.arange(volume.shape[3])
    index = torch.where(row < 44, row, (row - rows).clamp(min=44))
    return volume[:, :, :, index]


def test_a_volume_equals_itself():
    volume, *_ = _eyes(1)
    values = _update(ThicknessError(), volume, volume)
    assert values["error_um"] == 0 and values["failed_fake"] == 0 and values["failed_real"] < 0.05


def test_the_floor_is_small_and_the_truth_near():
    volume, second, truth, _ = _eyes()
    values = _update(ThicknessError(), second, volume, truth)
    assert values["error_um"] < 10
    assert values["truth_error_um"] < 25
    assert values["failed_fake"] < 0.05


def test_other_eyes_differ_more_than_rescans():
    volume, second, *_ = _eyes()
    assert (
        _update(ThicknessError(), volume.roll(1, 0), volume)["error_um"]
        > 2 * _update(ThicknessError(), second, volume)["error_um"]
    )


def test_two_rows_of_thickness_are_48_micrometres():
    volume, _, _, pose = _eyes(2)
    flat = align(volume, pose, 0.024)
    values = _update(ThicknessError(), _thicker(flat, 2), flat)
    assert values["error_um"] == pytest.approx(48, abs=10)


def test_the_aligned_frame_has_the_same_thickness():
    volume, _, _, pose = _eyes(2)
    lying, flat = (retinal_thickness_um(v, 0.024, X_MM) for v in (volume, align(volume, pose, 0.024)))
    assert (lying - flat).abs().nanmedian() < 5
    assert lying.shape == (2, 6, 112)


def test_what_has_no_retina_fails_and_is_not_averaged():
    volume, *_ = _eyes(2)
    empty = torch.stack([torch.zeros_like(volume[0]), volume[1]])
    values = _update(ThicknessError(), empty, volume)
    assert values["error_um"] == 0
    assert values["failed_fake"] == pytest.approx(0.5, abs=0.03)
    diverged = torch.stack([torch.full_like(volume[0], math.nan), volume[1]])
    assert _update(ThicknessError(), diverged, volume)["failed_fake"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_any_batch_size_gives_the_same_and_nothing_seen_gives_nan():
    volume, second, truth, _ = _eyes()
    whole, parts = ThicknessError(), ThicknessError()
    expected = _update(whole, second, volume, truth)
    for eye in range(3):
        found = _update(parts, second[[eye]], volume[[eye]], truth[[eye]])
    assert found == pytest.approx(expected, rel=1e-6)
    assert all(math.isnan(value) for value in ThicknessError().compute().values())


def test_wrong_shapes_are_refused():
    volume = torch.rand(2, 1, 3, 40, 30)
    with pytest.raises(ValueError, match=r"\(B, 1, S, Z, X\)"):
        retinal_thickness_um(volume[0], 0.02, 0.1)
    with pytest.raises(ValueError, match="of one shape"):
        ThicknessError().update(volume, volume[:1], 0.02, 0.1)
    with pytest.raises(ValueError, match=r"truth: expected \(B, S, X\)"):
        ThicknessError().update(volume, volume, 0.02, 0.1, torch.zeros(2, 3, 31))


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    volume, second, truth, _ = _eyes()
    mine = slice(0, 1) if rank == 0 else slice(1, 3)
    torch.save(_update(ThicknessError(), second[mine], volume[mine], truth[mine]), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(os.name == "nt", reason="starts processes as Linux does")
def test_two_unequal_processes_give_what_one_gives(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_worker, (str(tmp_path),), nprocs=2, start_method="spawn")
    volume, second, truth, _ = _eyes()
    expected = _update(ThicknessError(), second, volume, truth)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(expected)
