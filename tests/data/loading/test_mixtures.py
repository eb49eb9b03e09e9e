"""Several files, some of the slices, one side alone: by configuration."""

from collections import Counter

import numpy as np
import pytest
import torch
from eye_files import write_eyes

from fund2oct.data import DataError, FundusOCTDataModule, FundusOCTDataset, UnpairedDataModule
from fund2oct.data.loading.order import EpochOrder
from fund2oct.data.preparing.light_and_levels import even_levels, even_light
from fund2oct.geometry import RadialScan
from fund2oct.run.config import ConfigError
from fund2oct.run.train import build, train

SURFACES = ("surfaces_um", "surface_confidence")
SCANNED = ("volume", "rescan", "lesions", "boundaries_um", "pose_um", *SURFACES)


def sliced(make_eye, number, n_slices, **changes):
    """An eye with a star of another number of lines."""
    rng = np.random.default_rng(number)
    return make_eye(
        number,
        volume=rng.integers(0, 256, (n_slices, 8, 10), dtype=np.uint8),
        pose_um=rng.random((n_slices, 7), dtype=np.float32) * 100 + np.float32([900] + 6 * [0]),
        surfaces_um=np.sort(rng.random((4, n_slices, 10), dtype=np.float32), 0) * 1000,
        surface_confidence=rng.random((n_slices, 10), dtype=np.float32),
        scan=RadialScan(n_slices),
        **dict.fromkeys(("rescan", "lesions", "boundaries_um")),
        **changes,
    )


# --- slices ---------------------------------------------------------------------------------------


def test_of_more_slices_evenly_spaced_ones_are_taken_and_fewer_are_left_out(tmp_path, make_eye, caplog):
    eyes = [sliced(make_eye, number, (12, 6, 3)[number % 3]) for number in range(12)]
    path = write_eyes(tmp_path / "eyes.h5", eyes)
    data = FundusOCTDataModule(str(path), volume_shape=(6, 8, 10), val_fraction=0.2, test_fraction=0.2)
    with caplog.at_level("INFO"):
        data.setup()
    assert "4 eyes of fewer than 6 slices are left out" in caplog.text
    dataset = FundusOCTDataset(path, ["eye00", "eye01"], volume_shape=(6, 8, 10))
    many, six = dataset[0], dataset[1]
    np.testing.assert_array_equal((many["volume"][0] * 255).round(), eyes[0].volume[::2])
    np.testing.assert_array_equal((six["volume"][0] * 255).round(), eyes[1].volume)
    np.testing.assert_array_equal(many["pose_um"], eyes[0].pose_um[::2])
    np.testing.assert_array_equal(many["surfaces_um"], eyes[0].surfaces_um[:, ::2])
    np.testing.assert_array_equal(many["surface_confidence"], eyes[0].surface_confidence[::2])
    # Twelve lines a turn of 15 degrees apart: every second one of them is the star of six.
    wanted = eyes[0].placement.to_grid(RadialScan(6).coordinates(10))
    np.testing.assert_allclose(many["grid"], wanted, atol=1e-5)


# --- mixtures -------------------------------------------------------------------------------------


def test_an_epoch_holds_each_file_by_its_weight():
    order = EpochOrder((range(10), range(10, 100)), weights=(1, 3), seed=3)
    assert order.quotas() == [25, 75]
    for epoch in range(4):
        files = Counter(draw.index < 10 for draw in order.draws(epoch))
        assert files == {True: 25, False: 75}
    few = Counter(draw.index for epoch in range(4) for draw in order.draws(epoch) if draw.index < 10)
    assert set(few.values()) == {10}  # 100 draws of ten eyes, round after round
    many = Counter(draw.index for epoch in range(6) for draw in order.draws(epoch) if draw.index >= 10)
    assert set(many.values()) == {5}
    assert order.draws(2) == EpochOrder((range(10), range(10, 100)), (1, 3), 3).draws(2)


def test_a_draw_that_comes_again_is_augmented_anew(tmp_path, make_eye):
    path = write_eyes(tmp_path / "a.h5", [make_eye(number) for number in range(4)])
    dataset = FundusOCTDataset(path, photometric=1.0)
    order = EpochOrder((range(1), range(1, 4)), (3, 1), 0)
    repeats = [draw for draw in order.draws(0) if draw.index == 0]
    assert [draw.repeat for draw in sorted(repeats, key=lambda draw: draw.repeat)] == [0, 1, 2]
    assert len({dataset[draw]["fundus"].numpy().tobytes() for draw in repeats}) == 3


@pytest.fixture
def two_files(tmp_path, make_eye):
    few = write_eyes(tmp_path / "real.h5", [make_eye(number, patient=f"a{number}") for number in range(10)])
    many = write_eyes(
        tmp_path / "simulated.h5", [make_eye(n, patient=f"b{n}", key=f"sim{n}") for n in range(40)]
    )
    return [str(few), str(many)]


def test_simulated_and_real_eyes_mix_by_configuration_alone(two_files):
    weights = ["data.init_args.weights=[1,1]", "data.init_args.batch_size=1"]
    _, _, data = build("pix2vol", [
        "data.class_path=fund2oct.data.FundusOCTDataModule",
        f"data.init_args.path=[{','.join(two_files)}]", *weights,
    ])  # fmt: skip
    drawn = [batch["key"][0].startswith("sim") for batch in data.train_dataloader()]
    assert abs(sum(drawn) - len(drawn) / 2) <= 0.5
    plain = FundusOCTDataModule(two_files, batch_size=1)
    assert sum(batch["key"][0].startswith("sim") for batch in plain.train_dataloader()) > 0.7 * len(drawn)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, r"weights: expected a positive number for each of 2 paths, found \[1.0\]"),
        ({"weights": [1.0, 0.0]}, r"weights: expected a positive number .* found \[1.0, 0.0\]"),
    ],
)
def test_bad_mixtures(two_files, options, message):
    with pytest.raises(ValueError, match=message):
        FundusOCTDataModule(two_files, **options)


# --- one side alone -------------------------------------------------------------------------------


@pytest.fixture
def sides(tmp_path, make_eye):
    nothing = dict.fromkeys(SCANNED)
    photos = [make_eye(n, key=f"photo{n}", patient=f"a{n}", **nothing) for n in range(20)]
    volumes = [
        make_eye(n, key=f"scan{n}", patient=f"b{n}", fundus=None, lesion_fundus=None) for n in range(12)
    ]
    return str(write_eyes(tmp_path / "photos.h5", photos)), str(write_eyes(tmp_path / "volumes.h5", volumes))


def test_photos_alone_and_volumes_alone(sides):
    batch = next(iter(FundusOCTDataModule(sides[0], content="photos").train_dataloader()))
    assert set(batch) == {"fundus", "key", "patient", "laterality", "diagnosis", "metadata"}
    batch = next(iter(FundusOCTDataModule(sides[1], content="volumes").train_dataloader()))
    assert "fundus" not in batch and "grid" not in batch
    assert batch["volume"].shape == (4, 1, 6, 8, 10)
    with pytest.raises(DataError, match="expected eyes with a photo and a volume, found none in 20"):
        FundusOCTDataModule(sides[0]).setup()


def test_volumes_of_too_few_slices_are_told_with_what_takes_them(sides):
    data = FundusOCTDataModule(sides[1], content="volumes", volume_shape=(7, 32, 48))
    with pytest.raises(DataError) as error:
        data.prepare_data()
    assert str(error.value) == (
        f"{sides[1]}: expected eyes with a volume of at least 7 slices, found none in 12; 12 of them have "
        "volumes, of 6 slices or more: a training takes all of these with volume_shape=[6,32,48] of the data "
        "and shape=[6,32,48] of the model"
    )


def test_unpaired_eyes_of_both_sides_are_known_later(sides):
    data = UnpairedDataModule({"path": sides[0]}, {"path": sides[1]})
    data.setup()
    seen = data.seen()
    (volumes,) = seen.before
    assert (seen.path, volumes.path) == sides
    names = [name for one in (seen, volumes) for part in ("train", "val") for name in one.parts[part]]
    # The photos here are all one, so that these eyes are known by key and patient alone.
    tests = [name._replace(photo="") for one in (seen, volumes) for name in one.parts["test"]]
    held = seen.held_out([*names, *tests], "another", "c.h5")
    assert list(held.keys) == [name.key for name in tests] != []


PRETRAIN = """
from fund2oct.models import VoxelGAN

class Pretrain(VoxelGAN):
    seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((batch["photos"]["key"], batch["volumes"]["key"]))
        loss = self.generator(batch["photos"]["fundus"], self.grid(batch), n_depth=8).mean()
        self.step_generator({"level": loss - batch["volumes"]["volume"].mean()})

    def grid(self, batch):
        import torch
        from fund2oct.geometry import Placement, RadialScan
        grid = Placement((0.0, 0.0)).to_grid(RadialScan().coordinates(10))
        return grid.expand(len(batch["photos"]["fundus"]), *grid.shape)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        assert set(batch) >= ({"fundus"} if dataloader_idx == 0 else {"volume"})
"""

UNPAIRED = """
trainer: {{max_epochs: 2, accelerator: cpu, devices: 1, enable_progress_bar: false, callbacks: []}}
data:
  class_path: fund2oct.data.UnpairedDataModule
  init_args:
    photos: {{path: {photos}}}
    volumes: {{path: {volumes}}}
    batch_size: 2
model:
  class_path: pretrain.Pretrain
  init_args: {{shape: [6, 8, 10], channels: [8, 8], bscan_width: 8, n_layers: 1}}
"""


def test_unpaired_eyes_train_by_configuration_alone(sides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pretrain.py").write_text(PRETRAIN)
    (tmp_path / "unpaired.yaml").write_text(UNPAIRED.format(photos=sides[0], volumes=sides[1]))
    run = train("unpaired.yaml")
    assert not (run / "report").exists()  # there are no pairs to judge by
    import pretrain

    seen = pretrain.Pretrain.seen
    n_volumes = len(FundusOCTDataModule(sides[1], content="volumes").train_dataset)
    assert len(seen) == 2 * (n_volumes // 2)  # the smaller side ends an epoch
    assert all(key.startswith("photo") for photos, _ in seen for key in photos)
    epoch = [key for _, volumes in seen[: n_volumes // 2] for key in volumes]
    assert len(set(epoch)) == len(epoch)


def test_both_sides_out_of_one_file_make_no_pairs(make_file):
    path = str(make_file(40))

    def pairs(*epochs, **volumes):
        data = UnpairedDataModule({"path": path}, {"path": path, **volumes}, batch_size=4)
        loader, found = data.train_dataloader(), []
        for epoch in epochs:
            for side in loader.iterables.values():
                side.sampler.set_epoch(epoch)
            for batch, *_ in loader:
                found += zip(batch["photos"]["key"], batch["volumes"]["key"], strict=True)
        return found

    found = pairs(0, 1, 2)
    assert len(found) > 60 and sum(photo == volume for photo, volume in found) < len(found) / 8
    assert all(photo == volume for photo, volume in pairs(0, seed=0))  # who asks for one order has it


def test_a_misspelt_option_of_a_side_is_named(sides):
    with pytest.raises(ValueError, match=r"photos: expected arguments of FundusOCTDataModule, .*'pth'"):
        UnpairedDataModule({"pth": sides[0]}, {"path": sides[1]})
    with pytest.raises(ConfigError, match="content"):
        build("pix2vol", [
            "data.class_path=fund2oct.data.FundusOCTDataModule",
            f"data.init_args.path={sides[0]}", "data.init_args.content=foto",
        ])  # fmt: skip


# --- preprocessing --------------------------------------------------------------------------------


def test_photos_and_volumes_are_evened_on_the_way(make_file, make_eye):
    path = make_file(3)
    sample = FundusOCTDataset(path, even_light=True, even_levels=True)[1]
    photo, volume = even_light(make_eye(1).fundus), even_levels(make_eye(1).volume)
    np.testing.assert_array_equal((sample["fundus"].permute(1, 2, 0) * 255).round(), photo)
    np.testing.assert_array_equal((sample["volume"][0] * 255).round(), volume)


class Green(torch.nn.Module):
    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return photos[:, 1:2]


def test_a_network_of_the_users_draws_vessels(make_file, tmp_path, monkeypatch):
    path = str(make_file(8))
    torch.jit.script(Green()).save(str(tmp_path / "green.pt"))
    data = FundusOCTDataModule(path, vessel_network=str(tmp_path / "green.pt"), symmetries="all")
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(batch["vessels"], batch["fundus"][:, 1:2])  # turned and mirrored with its photo
    (tmp_path / "mine.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, photos):\n        return photos\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    wrong = FundusOCTDataModule(path, vessel_network="mine.Net")
    with pytest.raises(ValueError, match=r"vessel_network: expected maps of shape \(4, 1, 16, 16\), found"):
        next(iter(wrong.train_dataloader()))
    for name, message in (("mine.None_", "expected a TorchScript file or an import path"),
                          ("math.sqrt", "expected a TorchScript file or an import path|sqrt")):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=message):
            next(iter(FundusOCTDataModule(path, vessel_network=name).train_dataloader()))
    (tmp_path / "broken.pt").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"broken\.pt: not a TorchScript file"):
        broken = FundusOCTDataModule(path, vessel_network=str(tmp_path / "broken.pt"))
        next(iter(broken.train_dataloader()))
