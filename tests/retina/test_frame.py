"""Aligning, putting back, and the mask of what was scanned."""

import pytest
import torch
from scipy import ndimage
from torch import Tensor

from fund2oct.retina import ALIGNED_DEPTH, align, aligned_mask, pose_surface_um, unalign

S, Z, X = 3, 40, 17
DZ_MM = 0.02
FLAT_UM = ALIGNED_DEPTH * Z * DZ_MM * 1000


def _flat(shift_px: float) -> Tensor:
    pose = torch.zeros(1, S, 3, dtype=torch.float64)
    pose[..., 0] = FLAT_UM + 1000 * DZ_MM * shift_px
    return pose


def _tilted() -> Tensor:
    pose = _flat(0).expand(2, -1, -1) + torch.randn(2, S, 3) * torch.tensor([60.0, 50, 30])
    return pose.double()


def _smooth(n: int = 2, channels: int = 1) -> Tensor:
    noise = torch.rand(n, channels, S, Z, X, dtype=torch.float64).numpy()
    blurred = ndimage.gaussian_filter1d(noise, 2.0, axis=3, mode="mirror")
    return torch.from_numpy((blurred - blurred.min()) / (blurred.max() - blurred.min()) * 0.8 + 0.1)


def test_a_bright_voxel_on_the_pose_comes_to_the_aligned_depth():
    # Row 31 has its centre at 31.5 rows of depth; the aligned surface lies at depth 24, the edge of row 24.
    volume = torch.zeros(1, 1, S, Z, X)
    volume[0, 0, 1, 31, 5] = 1
    pose = _flat(0).float()
    pose[0, 1, 0] = 31.5 * 1000 * DZ_MM
    aligned = align(volume, pose, DZ_MM)
    assert ALIGNED_DEPTH * Z == 24
    rows = aligned[0, 0, 1, :, 5]
    assert rows[23] == pytest.approx(float(rows[24])) and rows.argmax() in (23, 24)
    assert rows[24] == pytest.approx(0.6323, abs=1e-3)  # Lanczos-8 half way, normalised
    aligned[0, 0, 1, :, 5] = 0
    assert not aligned.any()


@pytest.mark.parametrize("shift", [-7, 0, 4])
def test_whole_rows_move_exactly(shift):
    volume = torch.rand(1, 2, S, Z, X)
    aligned = align(volume, _flat(shift), DZ_MM)
    kept = slice(max(0, -shift), Z - max(0, shift))
    source = slice(max(0, shift), Z + min(0, shift))
    torch.testing.assert_close(aligned[..., kept, :], volume[..., source, :], atol=1e-6, rtol=0)
    mask = aligned_mask(volume, _flat(shift), DZ_MM)
    assert mask.shape == (1, 1, S, Z, X)
    assert mask[..., kept, :].all() and int(mask.sum()) == (Z - abs(shift)) * S * X


def test_each_ascan_moves_by_its_own_surface():
    pose = _tilted()
    depth = (torch.arange(Z) + 0.5).double() * 1000 * DZ_MM
    # A volume whose value is the depth below its pose: in the aligned frame all A-scans are alike.
    below = depth[:, None] - pose_surface_um(pose, X)[:, None, :, None, :]
    aligned = align(0.5 + below / 2000, pose, DZ_MM)
    expected = (0.5 + (depth - FLAT_UM) / 2000).view(1, 1, 1, Z, 1).expand_as(aligned)
    inside = aligned_mask(aligned, pose, DZ_MM)
    inside = inside & ~_near_edge(inside)
    torch.testing.assert_close(aligned[inside], expected[inside], atol=2e-3, rtol=0)


def test_putting_back_inverts_aligning_where_the_frame_allows():
    volume, pose = _smooth(channels=2), _tilted()
    inside = aligned_mask(volume, pose, DZ_MM)
    inside = (inside & ~_near_edge(inside)).expand_as(volume)
    back = align(unalign(volume, pose, DZ_MM), pose, DZ_MM)
    torch.testing.assert_close(back[inside], volume[inside], atol=5e-3, rtol=0)


def _near_edge(mask: Tensor) -> Tensor:
    """Within the kernel's reach of what was not scanned."""
    outside = torch.from_numpy(ndimage.binary_dilation(~mask.numpy(), torch.ones(1, 1, 1, 13, 1).numpy()))
    outside[..., :6, :] = outside[..., -6:, :] = True
    return outside


def test_speckle_keeps_its_spread():
    noise = torch.rand(1, 1, S, 400, X) * 0.5 + 0.25
    pose = torch.zeros(1, S, 3)
    pose[..., 0] = ALIGNED_DEPTH * 400 * DZ_MM * 1000 + 0.5 * 1000 * DZ_MM
    moved = align(noise, pose, DZ_MM)
    assert moved.std() / noise.std() > 0.88  # linear interpolation half way keeps 0.71


def test_spacing_may_differ_between_eyes():
    volume, pose = _smooth(), _tilted()
    spacing = torch.tensor([DZ_MM, DZ_MM * 1.1])
    both = align(volume, pose, spacing)
    for eye in range(2):
        alone = align(volume[[eye]], pose[[eye]], float(spacing[eye]))
        torch.testing.assert_close(both[[eye]], alone, atol=1e-6, rtol=0)


def test_gradient_is_right_and_type_is_kept():
    volume = (0.3 + 0.4 * torch.rand(1, 1, 2, 9, 3, dtype=torch.float64)).requires_grad_()
    pose = torch.tensor([[[110.0, 7, 3], [100, -9, 5]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: align(v, pose, DZ_MM), volume)
    low = align(_smooth().bfloat16(), _tilted().bfloat16(), DZ_MM)
    assert low.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        volume, pose = _smooth().float(), _tilted().float()
        inside = align(volume, pose, DZ_MM)
    torch.testing.assert_close(inside, align(volume, pose, DZ_MM))


def test_what_lies_beyond_the_frame_is_its_outermost_tenth_to_and_fro():
    volume = torch.rand(1, 1, S, Z, X)
    aligned = align(volume, _flat(3 * Z), DZ_MM)
    assert aligned.isfinite().all() and not aligned_mask(volume, _flat(3 * Z), DZ_MM).any()
    deepest = volume[:, :, :, -round(0.1 * Z) :]
    period = torch.cat([deepest.flip(3), deepest], 3)
    expected = period.repeat(1, 1, 1, Z, 1)[:, :, :, :Z]
    torch.testing.assert_close(align(volume, _flat(Z), DZ_MM), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("function", [align, unalign, aligned_mask])
@pytest.mark.parametrize(
    "volume, pose, spacing, message",
    [
        (torch.rand(S, Z, X), torch.zeros(1, S, 3), DZ_MM, r"expected \(B, C, S, Z, X\)"),
        (torch.rand(1, 1, S, Z, X), torch.zeros(S, 3), DZ_MM, r"\(B, S, K\)"),
        (torch.rand(1, 1, S, Z, X), torch.zeros(1, S + 1, 3), DZ_MM, r"\(B, S, K\)"),
        (torch.rand(1, 1, S, Z, X), torch.zeros(1, S, 3), 0.0, "positive length"),
        (torch.rand(1, 1, S, Z, X), torch.zeros(1, S, 3), torch.rand(2), "one for each"),
    ],
)
def test_wrong_arguments_are_refused(function, volume, pose, spacing, message):
    with pytest.raises(ValueError, match=message):
        function(volume, pose, spacing)
