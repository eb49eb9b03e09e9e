"""NIfTI: axes, directions, units, slopes."""

import numpy as np
import pytest

from fund2oct.data.formats.stacks import read_stack
from fund2oct.eye import DataError

nibabel = pytest.importorskip("nibabel", reason="the reader of NIfTI is not installed")
AFFINE = np.diag([0.0117, 0.0039, 0.12, 1])


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(1, 250, (5, 8, 9)).astype(np.uint8)


def save(path, values, affine, unit="mm", **header):
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units(unit)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def test_axes_are_those_asked_for(volume, tmp_path):
    usual = save(tmp_path / "a.nii", volume.transpose(2, 1, 0), AFFINE)
    assert (read_stack(usual).volume == volume).all() and (read_stack(usual, "xzs").volume == volume).all()
    other = save(tmp_path / "b.nii", volume, np.diag([0.12, 0.0039, 0.0117, 1]))
    found = read_stack(other, "szx")
    assert (found.volume == volume).all()
    assert found.spacing_mm == pytest.approx((0.12, 0.0039, 0.0117))


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 1000), ("meter", 1e-3)])
def test_units_are_read(volume, tmp_path, unit, factor):
    path = save(
        tmp_path / "a.nii.gz", volume.transpose(2, 1, 0), np.diag([*np.diag(AFFINE)[:3] * factor, 1]), unit
    )
    assert read_stack(path).spacing_mm == pytest.approx((0.12, 0.0039, 0.0117), rel=1e-5)


def test_a_spacing_of_one_in_no_unit_is_none(volume, tmp_path):
    assert read_stack(save(tmp_path / "a.nii", volume.transpose(2, 1, 0), np.eye(4), 0)).spacing_mm is None


def test_directions_that_say_something_are_said(volume, tmp_path):
    assert read_stack(save(tmp_path / "a.nii", volume.transpose(2, 1, 0), AFFINE)).notes == ()
    for affine, words in (
        (AFFINE * [[-1], [-1], [1], [1]], "run to L, P, S of the patient;"),
        (AFFINE[[2, 0, 1, 3]], "run to A, S, R of the patient;"),
        (AFFINE + np.diag([0.01, 0], 2), "run to R, A, S of the patient and are turned;"),
    ):
        found = read_stack(save(tmp_path / "b.nii", volume.transpose(2, 1, 0), affine))
        assert words in found.notes[0] and "--axes and --flip take them otherwise" in found.notes[0]
        assert (found.volume == volume).all()
    image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), AFFINE * [[-1], [1], [1], [1]])
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "c.nii")
    assert read_stack(tmp_path / "c.nii").notes == (), "a file without codes says nothing of directions"


def test_a_slope_scales_and_a_range_to_show_is_black_and_white(volume, tmp_path):
    image = nibabel.Nifti1Image(volume.transpose(2, 1, 0).astype(np.float32) * 3 - 100, AFFINE)
    image.header.set_data_dtype(np.int16)
    image.header["cal_min"], image.header["cal_max"] = -100, 665
    nibabel.save(image, tmp_path / "a.nii")
    found = read_stack(tmp_path / "a.nii")
    assert found.levels == (-100, 665)
    np.testing.assert_allclose(found.volume, volume * 3.0 - 100, atol=0.02)


def test_other_dimensions_are_dropped_or_named(volume, tmp_path):
    single = save(tmp_path / "a.nii", volume.transpose(2, 1, 0)[..., None], AFFINE)
    assert (read_stack(single).volume == volume).all()
    with pytest.raises(
        DataError, match=r"b.nii: expected numbers of three axes .* found uint8 \(9, 8, 5, 2\)"
    ):
        read_stack(save(tmp_path / "b.nii", np.stack([volume.T] * 2, -1), AFFINE))
    colour = np.zeros((9, 8, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(DataError, match="expected a grey volume, found one of colours; save it in grey"):
        read_stack(save(tmp_path / "c.nii", colour, AFFINE))
