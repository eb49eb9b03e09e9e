import pytest
import torch
from torch import Tensor

from fund2oct.geometry import RadialScan
from fund2oct.metrics.sets.slices import slice_protocol

S, Z, X = 6, 4, 5


def _bright(s: int, z: int, x: int) -> Tensor:
    """A volume with one bright voxel."""
    volume = torch.zeros(1, 1, S, Z, X)
    volume[0, 0, s, z, x] = 1
    return volume


def _voxels(video: Tensor) -> dict[tuple[int, ...], float]:
    """Frame, row and column of what is not black."""
    return {tuple(index.tolist()): video[0, 0][tuple(index)].item() for index in video[0, 0].nonzero()}


VOXELS = {
    "native": {(2, 1, 3): 1.0},
    # Slice 2 again at 6 + 2, read backwards.
    "closure": {(2, 1, 3): 1.0, (8, 1, 1): 1.0},
    "repeat6": {(2, 1, 3): 1.0},
    "repeat12": {(4, 1, 3): 1.0, (5, 1, 3): 1.0},
    "repeat9": {(3, 1, 3): 1.0, (4, 1, 3): 1.0},
    "linear6": {(2, 1, 3): 1.0},
    "linear11": {(3, 1, 3): 0.5, (4, 1, 3): 1.0, (5, 1, 3): 0.5},
    "linear3": {(1, 1, 3): 0.5},
}


@pytest.mark.parametrize(("protocol", "expected"), VOXELS.items())
def test_one_bright_voxel(protocol: str, expected: dict[tuple[int, ...], float]) -> None:
    video = slice_protocol(_bright(2, 1, 3), protocol)
    assert _voxels(video) == pytest.approx(expected)


FRAMES = {"native": 6, "closure": 12, "repeat9": 9, "repeat12": 12, "linear16": 16, "linear2": 2}


@pytest.mark.parametrize(("protocol", "count"), FRAMES.items())
def test_shapes_and_ends(protocol: str, count: int) -> None:
    volume = torch.rand(3, 2, S, Z, X)
    video = slice_protocol(volume, protocol)
    assert video.shape == (3, 2, count, Z, X)
    assert torch.equal(video[:, :, 0], volume[:, :, 0])
    if protocol != "closure":
        assert torch.equal(video[:, :, -1], volume[:, :, -1])


def test_repeats_that_do_not_divide_keep_the_order() -> None:
    volume = torch.arange(6.0).view(1, 1, 6, 1, 1)
    assert slice_protocol(volume, "repeat9").flatten().tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5]
    assert slice_protocol(volume, "repeat8").flatten().tolist() == [0, 0, 1, 2, 3, 3, 4, 5]


def test_linear_is_that_of_numpy() -> None:
    volume = torch.rand(1, 1, 7, 1, 1, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(volume[0, :, :, 0, 0].unsqueeze(0), 16, mode="linear",
                                               align_corners=True)  # fmt: skip
    torch.testing.assert_close(slice_protocol(volume, "linear16").flatten(), expected.flatten())


@pytest.mark.parametrize("clockwise", [True, False])
def test_closure_is_a_full_turn_of_a_radial_scan(clockwise: bool) -> None:
    # Positions of the A-scans in the place of intensities: each frame is one step further.
    scan = RadialScan(6, start_deg=20, clockwise=clockwise)
    positions = scan.coordinates(X, dtype=torch.float64).permute(2, 0, 1)[
        None, :, :, None
    ]  # (1, xy, S, 1, X)
    frames = slice_protocol(positions, "closure")[0, :, :, 0]  # (xy, T, X)
    heading = frames[..., -1] - frames[..., 0]
    angles = torch.atan2(heading[1], heading[0])
    steps = torch.rad2deg(angles.roll(-1) - angles)
    expected = torch.full((12,), 30.0 if clockwise else -30.0, dtype=torch.float64)
    torch.testing.assert_close((steps + 180) % 360 - 180, expected)


BAD = {
    "unknown": ((1, 1, S, Z, X), "mirror", "native, closure, repeat<count> or linear<count>.*'mirror'"),
    "no count": ((1, 1, S, Z, X), "repeat", "found 'repeat'"),
    "zero": ((1, 1, S, Z, X), "linear0", "found 'linear0'"),
    "dropping": ((1, 1, S, Z, X), "repeat4", "repeat4 would drop some of the 6 slices; use linear4"),
    "one slice": ((1, 1, 1, Z, X), "linear12", "linear12 of 1 slices"),
    "one frame": ((1, 1, S, Z, X), "linear1", "linear1 of 6 slices"),
    "shape": ((S, Z, X), "native", r"expected \(B, C, S, Z, X\)"),
}


@pytest.mark.parametrize(("shape", "protocol", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(shape: tuple[int, ...], protocol: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slice_protocol(torch.rand(shape), protocol)
