import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fund2oct.data import FundusOCTDataModule, FundusOCTDataset
from fund2oct.data.augmenting.photo_map import PhotoMap
from fund2oct.data.loading.order import Draw
from fund2oct.data.store.reader import EyeWriter
from fund2oct.geometry import Placement, RadialScan

H, X = 96, 10
SCAN, PLACEMENT = RadialScan(5, 8.0), Placement((0.04, -0.07), 5.0, 6.2)


def drawn(number: int, strength: float = 1.0) -> PhotoMap:
    return PhotoMap.draw(np.random.default_rng(number), strength)


def test_turn_zoom_and_shift_are_those_of_a_placement():
    points = torch.rand(7, 2) * 2 - 1
    photo_map = PhotoMap(turn_deg=25.0, zoom=1.08, shift=(0.05, -0.02))
    wanted = Placement((0.05, -0.02), 25.0, 1 / 1.08).to_grid(points)
    torch.testing.assert_close(photo_map.place(points), wanted)
    torch.testing.assert_close(photo_map.source(wanted), points)


def test_a_wave_shifts_the_source():
    photo_map = PhotoMap(waves=((math.pi, 0.0, math.pi / 2, 0.0, 0.03),))
    places = torch.tensor([[0.0, 0.4], [0.5, 0.1], [1.0, 0.0]])
    torch.testing.assert_close(
        photo_map.source(places), places + torch.tensor([[0, 0.03], [0, 0], [0, -0.03]])
    )


def test_places_are_the_inverse_of_sources_to_a_thousandth_of_a_pixel():
    axis = torch.linspace(-1.1, 1.1, 41)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    for number in range(50):
        off = drawn(number).source(drawn(number).place(points)) - points
        assert off.abs().max() * 500 < 1e-3  # of a photo 1000 pixels wide


def test_draws_keep_to_their_limits_and_use_them():
    maps = [drawn(number) for number in range(400)]
    for values, limit in (
        ([photo_map.turn_deg for photo_map in maps], 30),
        ([math.log(photo_map.zoom, 1.1) for photo_map in maps], 1),
        ([step for photo_map in maps for step in photo_map.shift], 0.06),
    ):
        assert max(map(abs, values)) <= limit
        assert min(values) < -0.9 * limit and max(values) > 0.9 * limit
    bends = [sum(math.hypot(*wave[3:]) for wave in photo_map.waves) for photo_map in maps]
    assert 0.035 < max(bends) <= 0.04 + 1e-9
    point = torch.tensor([0.3, 0.9])
    torch.testing.assert_close(drawn(3, 0.0).place(point), point)
    assert drawn(3, 0.5).turn_deg == pytest.approx(drawn(3).turn_deg / 2)


def spot_at(position: torch.Tensor) -> torch.Tensor:
    centres = (torch.arange(H) + 0.5) * 2 / H - 1
    x, y = centres[None], centres[:, None]
    return torch.exp(-((x - position[0]) ** 2 + (y - position[1]) ** 2) / (2 * (3 / H) ** 2)).expand(
        1, 3, H, H
    )


@pytest.mark.parametrize("ascan", [(0, 1), (2, 7), (3, 9), (4, 4)])
def test_a_spot_stays_under_its_ascan(ascan):
    grid = PLACEMENT.to_grid(SCAN.coordinates(X))
    symmetries = SCAN.symmetries()
    for number in range(12):
        symmetry = symmetries[number] if number else None
        moved = drawn(number).apply_to_fundus(spot_at(grid[ascan]), after=symmetry)[0, 0]
        position = grid[ascan]
        if symmetry is not None:
            position = position @ torch.tensor(symmetry.matrix).T
        wanted = (drawn(number).place(position) + 1) * H / 2 - 0.5
        rows, columns = torch.meshgrid(torch.arange(H), torch.arange(H), indexing="ij")
        found = torch.stack([(moved * columns).sum(), (moved * rows).sum()]) / moved.sum()
        assert (found - wanted).abs().max() < 0.1


def test_one_bright_pixel_lands_on_the_pixel_that_the_map_says():
    photo = torch.zeros(1, 3, H, H)
    photo[..., 30, 60] = 1
    turned = PhotoMap(turn_deg=90.0).apply_to_fundus(photo)
    assert np.unravel_index(int(turned[0, 0].argmax()), (H, H)) == (60, H - 1 - 30)


def test_what_comes_from_outside_is_black():
    moved = PhotoMap(shift=(0.5, 0.0)).apply_to_fundus(torch.ones(2, 3, H, H))
    torch.testing.assert_close(moved[..., : H // 4 - 1], torch.zeros(2, 3, H, H // 4 - 1))
    torch.testing.assert_close(moved[..., H // 4 + 1 :], torch.ones(2, 3, H, H - H // 4 - 1))


@pytest.fixture
def smooth_eye(tmp_path, make_eye):
    """An eye whose photo changes slowly, at full resolution."""
    step = np.arange(H) / H
    colours = [np.sin(5 * step)[None] + 0 * step[:, None], np.cos(4 * step)[:, None] + 0 * step[None]]
    colours.append(np.sin(3 * step[None] + 4 * step[:, None]))
    photo = np.stack([(110 + 100 * colour).round() for colour in colours], -1).astype(np.uint8)
    with EyeWriter(tmp_path / "eyes.h5") as writer:
        writer.add(make_eye(0, fundus=photo, lesion_fundus=None))
        writer.add(make_eye(1, fundus=photo, lesion_fundus=None))
    return tmp_path / "eyes.h5"


def test_the_photo_under_each_ascan_stays_and_the_volume_too(smooth_eye):
    plain = FundusOCTDataset(smooth_eye)[0]
    dataset = FundusOCTDataset(smooth_eye, photo_maps=1.0)
    wanted = F.grid_sample(plain["fundus"][None], plain["grid"][None], align_corners=False)
    turns = []
    for epoch in range(10):
        sample = dataset[Draw(0, epoch)]
        found = F.grid_sample(sample["fundus"][None], sample["grid"][None], align_corners=False)
        torch.testing.assert_close(found, wanted, atol=2 / 255, rtol=0)
        for name in ("volume", "rescan", "surfaces_um", "surface_confidence", "boundaries_um", "pose_um"):
            torch.testing.assert_close(sample[name], plain[name], rtol=0, atol=0)
        assert sample["laterality"] == plain["laterality"]
        turns.append(float((sample["grid"] - plain["grid"]).abs().max()))
    assert min(turns) > 0.01 and max(turns) > 0.2


def test_with_symmetries_the_photo_under_each_ascan_moves_with_the_scan(smooth_eye):
    dataset = FundusOCTDataset(smooth_eye, symmetries="all", photo_maps=1.0)
    alone = FundusOCTDataset(smooth_eye, symmetries="all")
    for epoch in range(10):
        both, symmetry = dataset[Draw(0, epoch)], alone[Draw(0, epoch)]
        torch.testing.assert_close(both["volume"], symmetry["volume"], rtol=0, atol=0)
        assert both["laterality"] == symmetry["laterality"]
        found, wanted = (
            F.grid_sample(sample["fundus"][None], sample["grid"][None], align_corners=False)
            for sample in (both, symmetry)
        )
        torch.testing.assert_close(found, wanted, atol=3 / 255, rtol=0)


def test_a_map_depends_on_seed_epoch_and_key_alone(smooth_eye):
    def grid(number, epoch, seed=0, **options):
        dataset = FundusOCTDataset(smooth_eye, photo_maps=1.0, seed=seed, **options)
        return dataset.finish(dataset.fetch([Draw(number, epoch)]))["grid"][0]

    one = grid(0, 3)
    torch.testing.assert_close(grid(0, 3), one, rtol=0, atol=0)
    torch.testing.assert_close(grid(0, 3, photometric=0.0), one, rtol=0, atol=0)
    both = FundusOCTDataset(smooth_eye, photo_maps=1.0).fetch([Draw(1, 3), Draw(0, 3)])
    torch.testing.assert_close(both.values["grid"][1], one, rtol=0, atol=0)
    torch.testing.assert_close(
        FundusOCTDataset(smooth_eye, ["eye00"], photo_maps=1.0).fetch([Draw(0, 3)]).values["grid"][0],
        one, rtol=0, atol=0,
    )  # fmt: skip
    for other in (grid(0, 4), grid(0, 3, seed=1), grid(1, 3)):
        assert (other - one).abs().max() > 1e-3


def test_workers_draw_the_same_maps_and_evaluation_draws_none(smooth_eye):
    def batches(n):
        data = FundusOCTDataModule(str(smooth_eye), batch_size=2, num_workers=n, photo_maps=1.0)
        data.setup()
        return next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))

    (train, val), (train_too, _) = batches(0), batches(1)
    for name in ("fundus", "grid", "volume"):
        torch.testing.assert_close(train[name], train_too[name], rtol=0, atol=0)
    plain = FundusOCTDataset(smooth_eye)[0]
    torch.testing.assert_close(val["grid"][val["key"].index("eye00")], plain["grid"], rtol=0, atol=0)


def test_photos_alone_are_moved(smooth_eye):
    dataset = FundusOCTDataset(smooth_eye, content="photos", photo_maps=1.0)
    assert not torch.equal(dataset[Draw(0, 1)]["fundus"], dataset[0]["fundus"])


@pytest.mark.parametrize("strength", [-0.1, 1.5, math.nan])
def test_no_such_strength(smooth_eye, strength):
    with pytest.raises(ValueError, match=r"photo_maps: expected a strength in \[0, 1\]"):
        FundusOCTDataset(smooth_eye, photo_maps=strength)
