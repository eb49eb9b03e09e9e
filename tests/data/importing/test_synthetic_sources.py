"""A volume that was generated or simulated stays known as one on its way through other programs' files."""

import numpy as np
import pytest

from fund2oct.data import EyeReader
from fund2oct.data.formats.scanners.dicom import read_opt
from fund2oct.data.importing.assemble import ImportOptions
from fund2oct.data.importing.vendor import import_vendor
from fund2oct.data.importing.volumes import import_volumes
from fund2oct.data.preparing.scans import ScanOptions
from fund2oct.export import export_eye
from fund2oct.export.origin import is_generated, is_synthetic
from fund2oct.eye import GENERATED, SIMULATED, Eye
from fund2oct.geometry import RasterScan

SPACING_MM = (1.0, 0.08, 0.2)
SOURCES = {
    "generated": f"{GENERATED} from a.jpg",
    "simulated": f"{SIMULATED}, seed 3",
    "scanned": "a scanner",
}
NEEDS = {"dicom": "pydicom", "nifti": "nibabel", "tiff": "tifffile", "png": "PIL"}


@pytest.mark.parametrize("kind", NEEDS)
@pytest.mark.parametrize("origin", SOURCES)
def test_a_volume_that_was_not_scanned_comes_back_as_such(kind, origin, tmp_path):
    pytest.importorskip(NEEDS[kind])
    volume = np.random.default_rng(0).integers(0, 250, (5, 24, 32), np.uint8)
    eye = Eye(
        key="a", patient="a", laterality="OD", volume=volume, scan=RasterScan(5, 6.4, 4.0),
        spacing_mm=SPACING_MM, source=SOURCES[origin],
    )  # fmt: skip
    path = export_eye(eye, tmp_path, "a", kind)
    if kind == "dicom":
        report = import_vendor(path, tmp_path / "back.h5")
    else:
        report = import_volumes(path, tmp_path / "back.h5", ImportOptions(ScanOptions(SPACING_MM)))
    with EyeReader(tmp_path / "back.h5") as reader:
        back = reader.read(*reader.keys)
    np.testing.assert_array_equal(back.volume, volume)
    assert is_synthetic(back) is is_synthetic(eye) and is_generated(back) is is_generated(eye)
    said = f"its file says that its volume was {origin}, not scanned"
    assert any(said in note for _, note in report.notes) is is_synthetic(eye)


def test_synthetic_dicom_of_another_maker_counts_as_generated(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from vendor_files import write_dicom

    path = write_dicom(tmp_path, localizer=False)
    image = pydicom.dcmread(path)
    assert read_opt(path).source == "DICOM OPT"
    image.SyntheticData = "YES"
    image.save_as(path)
    assert read_opt(path).source == "generated, DICOM OPT"
