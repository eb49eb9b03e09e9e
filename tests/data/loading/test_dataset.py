import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fund2oct.data import DataError, EyeWriter, FundusOCTDataset
from fund2oct.data.loading.order import Draw
from fund2oct.geometry import Placement, RadialScan, RasterScan


def test_a_plain_index_gives_the_eye_as_it_is(make_file, make_eye):
    dataset = FundusOCTDataset(make_file(), symmetries="all", photometric=1.0)
    eye, sample = make_eye(1), dataset[1]
    assert len(dataset) == 3
    assert (dataset.shape, dataset.fundus_px, dataset.scan) == ((6, 8, 10), 16, RadialScan())
    np.testing.assert_array_equal((sample["fundus"].permute(1, 2, 0) * 255).round(), eye.fundus)
    np.testing.assert_array_equal((sample["volume"][0] * 255).round(), eye.volume)
    np.testing.assert_array_equal((sample["rescan"][0] * 255).round(), eye.rescan)
    np.testing.assert_array_equal(sample["boundaries_um"], eye.boundaries_um)
    np.testing.assert_array_equal(sample["pose_um"], eye.pose_um)
    np.testing.assert_array_equal(sample["grid"], eye.placement.to_grid(RadialScan().coordinates(10)))
    assert (sample["key"], sample["laterality"], sample["diagnosis"]) == ("eye01", "OS", "SRF")
    assert sample["metadata"] == "{}"
    assert sample["spacing_z_mm"].item() == pytest.approx(0.24)
    assert all(value.dtype == torch.float32 for value in sample.values() if isinstance(value, torch.Tensor))


def test_what_one_eye_lacks_is_in_no_sample(tmp_path, make_eye):
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        writer.add(make_eye(0))
        writer.add(make_eye(1, rescan=None))
    dataset = FundusOCTDataset(tmp_path / "eyes.h5")
    assert "rescan" not in dataset[0] and "rescan" not in dataset[1]
    assert "boundaries_um" in dataset[0]


def test_a_draw_depends_on_the_seed_the_epoch_and_the_eye_alone(make_file):
    path = make_file(8)
    options = {"symmetries": "all", "photometric": 0.5}
    dataset = FundusOCTDataset(path, seed=3, **options)
    shuffled = FundusOCTDataset(path, keys=["eye05", "eye02"], seed=3, **options)
    wanted = [dataset[Draw(5, epoch)] for epoch in range(8)]
    for epoch in (7, 2, 5, 2):
        found = shuffled[Draw(0, epoch)]
        assert all(
            torch.equal(v, found[k]) if isinstance(v, torch.Tensor) else v == found[k]
            for k, v in wanted[epoch].items()
        )
    assert len({sample["volume"].numpy().tobytes() for sample in wanted}) > 3
    assert len({sample["fundus"].numpy().tobytes() for sample in wanted}) == 8
    other = FundusOCTDataset(path, seed=4, **options)
    assert not torch.equal(other[Draw(5, 0)]["fundus"], wanted[0]["fundus"])


def test_all_symmetries_are_drawn_alike(make_file):
    dataset = FundusOCTDataset(make_file(1), symmetries="all")
    volumes = [dataset[Draw(0, epoch)]["volume"].numpy().tobytes() for epoch in range(400)]
    counts = [volumes.count(volume) for volume in set(volumes)]
    assert len(counts) == 24
    assert min(counts) > 4 and max(counts) < 40


def test_augmented_photo_and_volume_stay_together(tmp_path, make_eye):
    """The photo's brightness along each line is written into the volume, and found there again."""
    x = np.arange(64)
    photo = np.stack([x[None] * 3 + 0 * x[:, None], x[:, None] * 3 + 0 * x[None], np.full((64, 64), 90)], -1)
    scan, placement = RadialScan(6, 7.0), Placement((0.03, -0.02), 3.0, 6.5)
    image = torch.from_numpy(photo).float().permute(2, 0, 1)[None]
    grid = placement.to_grid(scan.coordinates(11))[None]
    seen = F.grid_sample(image, grid, align_corners=False)[0]  # (3, S, X)
    volume = seen.permute(1, 0, 2).round().numpy().astype(np.uint8)  # red, green, blue as the three rows
    eye = make_eye(
        fundus=photo.astype(np.uint8), volume=volume, scan=scan, placement=placement, rescan=None,
        boundaries_um=None, lesions=None, lesion_fundus=None,
        surfaces_um=np.zeros((4, 6, 11), np.float32), surface_confidence=np.ones((6, 11), np.float32),
        spacing_mm=(math.nan, 1.92 / 3, 7 / 11),
    )  # fmt: skip
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        writer.add(eye)
    dataset = FundusOCTDataset(tmp_path / "eyes.h5", symmetries="all")
    for epoch in range(40):
        sample = dataset[Draw(0, epoch)]
        found = F.grid_sample(sample["fundus"][None], sample["grid"][None], align_corners=False)[0]
        torch.testing.assert_close(found.permute(1, 0, 2), sample["volume"][0], atol=4 / 255, rtol=0)


def test_resizing_keeps_lengths(make_file, make_eye):
    path = make_file(1, volume=np.full((6, 8, 10), 51, np.uint8))
    sample = FundusOCTDataset(path, fundus_px=24, volume_shape=(6, 12, 5))[0]
    assert sample["fundus"].shape == (3, 24, 24)
    assert sample["volume"].shape == sample["rescan"].shape == (1, 6, 12, 5)
    assert sample["boundaries_um"].shape == (11, 6, 5)
    assert sample["grid"].shape == (6, 5, 2)
    assert sample["spacing_z_mm"].item() * 12 == pytest.approx(1.92)
    torch.testing.assert_close(sample["volume"], torch.full((1, 6, 12, 5), 0.2))
    eye = make_eye(0)
    # The triangle's weights at half the size, cut off and made up for at the slice's ends.
    weights = (1 - (torch.arange(10) + 0.5 - 2 * (torch.arange(5)[:, None] + 0.5)).abs() / 2).clamp(min=0)
    weights = weights / weights.sum(1, keepdim=True)
    for name in ("boundaries_um", "surfaces_um", "surface_confidence"):
        torch.testing.assert_close(sample[name], torch.from_numpy(getattr(eye, name)) @ weights.T)
    np.testing.assert_array_equal(sample["pose_um"], eye.pose_um)


def test_a_bright_voxel_stays_in_its_slice_when_resized(make_file):
    volume = np.zeros((6, 8, 10), np.uint8)
    volume[4, 6, 2] = 255
    bright = FundusOCTDataset(make_file(1, volume=volume), volume_shape=(6, 16, 30))[0]["volume"]
    (s, z, x) = np.unravel_index(int(bright.argmax()), bright.shape[1:])
    assert (s, z // 2, x // 3) == (4, 6, 2)


def test_poses_are_those_stored(make_file, make_eye):
    poses = FundusOCTDataset(make_file(), keys=["eye02", "eye00"]).poses()
    np.testing.assert_array_equal(poses, np.stack([make_eye(2).pose_um, make_eye(0).pose_um]))


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        *(
            (
                {name: None},
                {},
                "eye 'eye01': expected its pose and surfaces .* `fund2oct surfaces OLD.h5 NEW.h5`",
            )
            for name in ("pose_um", "surfaces_um", "surface_confidence")
        ),
        (
            dict.fromkeys(("volume", "rescan", "lesions", "boundaries_um", "pose_um", "surfaces_um"))
            | {"scan": None},
            {},
            "eye 'eye01': has no photo and volume with its scan; leave it out of the keys",
        ),
        (
            {
                "volume": np.zeros((6, 9, 10), np.uint8),
                "rescan": None,
                "lesions": None,
                "spacing_mm": (math.nan, 0.2, 0.88),
            },
            {},
            r"eye 'eye01': expected a volume \(6, 8, 10\), found \(6, 9, 10\); volume_shape resizes",
        ),
        (
            {},
            {"volume_shape": (7, 8, 10)},
            r"eye 'eye00': expected a volume \(7, 8, 10\), found \(6, 8, 10\)",
        ),
        (
            {"fundus": np.zeros((20, 20, 3), np.uint8), "lesion_fundus": None},
            {},
            "eye 'eye01': expected a photo 16 pixels wide, found 20; set fundus_px",
        ),
        ({}, {"keys": ["eye07"]}, "eye 'eye07': there is no eye of that key"),
        ({}, {"keys": []}, "expected at least one eye, found none"),
    ],
)
def test_eyes_that_cannot_be_used_are_named(tmp_path, make_eye, changes, options, message):
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        writer.add(make_eye(0))
        writer.add(make_eye(1, **changes))
    with pytest.raises(DataError, match=message) as error:
        FundusOCTDataset(tmp_path / "eyes.h5", **options)
    assert str(error.value).startswith(str(tmp_path / "eyes.h5"))


def test_scans_may_differ_where_the_shapes_agree(tmp_path, make_eye):
    raster = RasterScan(6, 6.0, 5.0)
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        writer.add(make_eye(0))
        writer.add(make_eye(1, scan=raster, spacing_mm=(1.0, 0.24, 0.6)))
    dataset = FundusOCTDataset(tmp_path / "eyes.h5", symmetries="all")
    wanted = Placement((0.02, -0.03), 4.0, 6.1).to_grid(raster.coordinates(10))
    torch.testing.assert_close(dataset[1]["grid"], wanted)
    assert {dataset[Draw(1, epoch)]["volume"].shape for epoch in range(9)} == {(1, 6, 8, 10)}
