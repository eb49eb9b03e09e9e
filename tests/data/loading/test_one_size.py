"""What is measured of one part of the eyes holds for another: all parts are of one size, or brought to it."""

import math

import numpy as np
import pytest

from fund2oct.data import DataError, EyeWriter, FundusOCTDataModule

OTHER_SIZES = {
    "rows": (
        {
            "volume": np.zeros((6, 9, 10), np.uint8),
            "spacing_mm": (math.nan, 1.92 / 9, 8.8 / 10),
            **dict.fromkeys(("rescan", "lesions")),
        },
        r"a volume \(6, 8, 10\), found \(6, 9, 10\); volume_shape resizes",
    ),
    "A-scans": (
        {
            "volume": np.zeros((6, 8, 12), np.uint8),
            "surfaces_um": np.float32([600, 800, 850, 950])[:, None, None] + np.zeros((4, 6, 12), np.float32),
            "surface_confidence": np.ones((6, 12), np.float32),
            "spacing_mm": (math.nan, 1.92 / 8, 8.8 / 12),
            **dict.fromkeys(("rescan", "lesions", "boundaries_um")),
        },
        r"a volume \(6, 8, 10\), found \(6, 8, 12\); volume_shape resizes",
    ),
    "photos": (
        {"fundus": np.zeros((20, 20, 3), np.uint8), "lesion_fundus": None},
        "a photo 16 pixels wide, found 20; set fundus_px to resize them all",
    ),
}


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("size", OTHER_SIZES)
def test_all_parts_of_a_split_have_one_size(size, part, tmp_path, make_eye):
    changes, message = OTHER_SIZES[size]
    for name, numbers, of_site in (("a.h5", range(4), {}), ("b.h5", range(4, 6), changes)):
        with EyeWriter(tmp_path / name) as writer:
            for number in numbers:
                writer.add(make_eye(number, **of_site))
    options = {
        "path": [str(tmp_path / "a.h5"), str(tmp_path / "b.h5")],
        "split": {"train": ["eye00", "eye01"], "val": ["eye02", "eye03"], part: ["eye04", "eye05"]},
    }
    for begin in (FundusOCTDataModule.prepare_data, FundusOCTDataModule.setup):
        with pytest.raises(DataError, match=rf"b\.h5: eye 'eye04': expected {message}"):
            begin(FundusOCTDataModule(**options))
    data = FundusOCTDataModule(**options, volume_shape=(6, 8, 10), fundus_px=16)
    data.setup()
    sample = getattr(data, f"{part}_dataset")[0]
    assert sample["key"] == "eye04" and sample["fundus"].shape == (3, 16, 16)
    assert sample["volume"].shape == (1, 6, 8, 10) and sample["grid"].shape == (6, 10, 2)
    assert sample["spacing_z_mm"].item() * 8 == pytest.approx(1.92)


def test_eyes_in_no_part_of_a_split_may_be_of_any_size(tmp_path, make_eye):
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        for number in range(4):
            writer.add(make_eye(number, **(OTHER_SIZES["rows"][0] if number == 3 else {})))
    data = FundusOCTDataModule(tmp_path / "eyes.h5", split={"train": ["eye00", "eye01"], "val": ["eye02"]})
    data.setup()
    assert data.shape == data.val_dataset.shape == (6, 8, 10) and data.fundus_px == 16
