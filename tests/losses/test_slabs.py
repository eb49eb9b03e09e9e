"""Light from below the epithelium: which voxels count, and what each of the two losses sees."""

import torch

from fund2oct.losses import below_epithelium, shadow_loss, slab_loss

S, Z, X = 2, 50, 21  # the pose's surface lies on row edge 30


def test_one_bright_voxel_counts_from_the_surface_to_150_um():
    for row, inside in ((29, False), (30, True), (35, True), (36, False)):
        volume = torch.zeros(1, 1, S, Z, X)
        volume[0, 0, 1, row, 4] = 6.0
        light = below_epithelium(volume, 0.025)  # 6 rows of 25 um
        assert light.shape == (1, 1, S, X)
        assert (light[0, 0, 1, 4] == 1.0) == inside
        assert light.count_nonzero() == int(inside)


def test_each_eye_has_its_own_spacing():
    volume = torch.rand(2, 1, S, Z, X)
    both = below_epithelium(volume, torch.tensor([0.025, 0.05]))
    torch.testing.assert_close(both[1:], below_epithelium(volume[1:], 0.05))
    torch.testing.assert_close(both[1, 0], volume[1, 0, :, 30:33].mean(1))


def test_a_broad_difference_is_no_shadow_and_a_narrow_one_is():
    real = torch.full((1, 1, S, Z, X), 0.5)
    broad, narrow = real + 0.1, real.clone()
    narrow[..., 10] -= 0.2
    assert float(slab_loss(broad, real, 0.025)) > 9.9e-3
    assert float(shadow_loss(broad, real, 0.025, 0.08)) < 1e-10
    # One A-scan of 21, against the mean of seven: 1/7 of it in each of seven, 6/7 in its own.
    expected = 0.2**2 * ((6 / 7) ** 2 + 6 * (1 / 7) ** 2) / X
    assert abs(float(shadow_loss(narrow, real, 0.025, 0.08)) - expected) < 1e-6


def test_a_shadow_has_the_same_width_at_any_number_of_ascans():
    real = torch.full((1, 1, S, Z, X), 0.5)
    narrow = real.clone()
    narrow[..., 10] -= 0.2
    # Of 8.8 mm: 7 of 112 A-scans, 3 of 56 and 24.
    for n_ascans, window in ((112, 7), (56, 3), (24, 3)):
        found = float(shadow_loss(narrow, real, 0.025, 8.8 / n_ascans))
        parts = (1 - 1 / window) ** 2 + (window - 1) / window**2
        assert abs(found - 0.2**2 * parts / X) < 1e-6, n_ascans
    wide = real.clone()
    wide[..., 6:15] -= 0.2  # 0.18 mm at 448 A-scans, where 7 of them saw no shadow in its middle
    seen = shadow_loss(wide, real, 0.025, 8.8 / 448)
    assert seen > 3 * shadow_loss(wide, real, 0.025, 8.8 / 112)
