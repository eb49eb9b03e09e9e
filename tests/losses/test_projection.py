import pytest
import torch

from fund2oct.losses.projection import axial_profile, en_face_projection, projection_loss


def test_one_bright_voxel_lands_where_it_should() -> None:
    volume = torch.zeros(1, 1, 3, 5, 7)
    volume[0, 0, 2, 1, 4] = 1
    en_face, profile = en_face_projection(volume), axial_profile(volume)
    assert en_face.shape == (1, 1, 3, 7)
    assert profile.shape == (1, 1, 3, 5)
    assert en_face.nonzero().tolist() == [[0, 0, 2, 4]]
    assert profile.nonzero().tolist() == [[0, 0, 2, 1]]
    assert en_face.max().item() == pytest.approx(1 / 5)
    assert profile.max().item() == pytest.approx(1 / 7)
    expected = (1 / 5 / 21 + 1 / 7 / 15) / 2
    assert projection_loss(volume, torch.zeros_like(volume)).item() == pytest.approx(expected)


def test_mask_is_left_out_of_the_mean() -> None:
    volume = torch.rand(2, 1, 3, 5, 7)
    mask = torch.rand(2, 1, 3, 5, 7) > 0.3
    mask[1, 0, 0, :, 2] = False
    en_face, profile = en_face_projection(volume, mask), axial_profile(volume, mask)
    torch.testing.assert_close(en_face[0, 0, 1, 3], volume[0, 0, 1, :, 3][mask[0, 0, 1, :, 3]].mean())
    torch.testing.assert_close(profile[1, 0, 2, 4], volume[1, 0, 2, 4][mask[1, 0, 2, 4]].mean())
    assert en_face[1, 0, 0, 2] == 0


def test_loss_ignores_masked_voxels_and_empty_lines_of_sight() -> None:
    fake, real = torch.rand(2, 1, 3, 5, 7), torch.rand(2, 1, 3, 5, 7)
    mask = torch.ones(2, 1, 3, 5, 7, dtype=torch.bool)
    mask[:, :, 1] = False
    kept = [0, 2]
    torch.testing.assert_close(
        projection_loss(fake, real, mask), projection_loss(fake[:, :, kept], real[:, :, kept])
    )
    assert projection_loss(fake, real, mask & False) == 0
    torch.testing.assert_close(projection_loss(fake, real, mask | True), projection_loss(fake, real))


def test_blind_to_what_the_projections_do_not_show() -> None:
    real = torch.zeros(1, 1, 3, 5, 7)
    fake = real.clone()
    fake[0, 0, 1, [0, 3], [2, 6]] = 1
    real[0, 0, 1, [0, 3], [6, 2]] = 1
    assert projection_loss(fake, real).item() == pytest.approx(0, abs=1e-7)


def test_bad_shapes() -> None:
    volume = torch.rand(1, 1, 3, 5, 7)
    with pytest.raises(ValueError, match=r"found \(1, 3, 5, 7\)"):
        en_face_projection(volume[0])
    with pytest.raises(ValueError, match="mask: expected"):
        axial_profile(volume, torch.ones(1, 3, 5, 7))
    with pytest.raises(ValueError, match="of one shape"):
        projection_loss(volume, volume[..., :6])
