"""Checkpoints: read without running anything, and refused where they do not fit."""

import os
import pickle

import pytest
import pytorch_lightning as pl
import torch
from tiny_models import quick_trainer
from torch import nn

from fund2oct.data import FundusOCTDataModule
from fund2oct.geometry import Placement
from fund2oct.models import CheckpointError, Pix2Vol, VoxelGAN, load_model
from fund2oct.models.published.files import write_published
from fund2oct.networks.features import FeatureNetwork
from fund2oct.networks.foundation.backbone import Backbone
from fund2oct.networks.noise import NoiseSource
from fund2oct.run.resuming import check_resumable

SHAPE = (6, 32, 48)


class OtherModel(VoxelGAN):
    """A class of a user's own."""


def write_checkpoint(path, model, data):
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(data), batch_size=2))
    trainer.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tiny_eyes, tmp_path_factory):
    model = VoxelGAN(SHAPE, channels=(8, 8, 16), bscan_width=8, n_layers=2)
    return write_checkpoint(tmp_path_factory.mktemp("models") / "voxels.ckpt", model, tiny_eyes)


def test_the_main_model_comes_back_as_it_was(tiny_checkpoint):
    loaded = load_model(tiny_checkpoint)
    assert type(loaded) is Pix2Vol and loaded.encoder == "own" and loaded.texture == (8, 8)
    grid = Placement().to_grid(loaded.task.scan.coordinates(48))[None]
    photo = torch.rand(1, 3, 48, 48)
    volumes = [load_model(tiny_checkpoint)(photo, grid, rng=NoiseSource.of_keys(["eye"])) for _ in range(2)]
    assert torch.equal(*volumes) and volumes[0].shape == (1, 1, *SHAPE)
    found = loaded.surfaces(photo, grid)
    assert found.median_um.shape == (1, 4, 6, 48)


def test_a_checkpoint_gives_the_same_model(tiny_eyes, tmp_path):
    model = VoxelGAN(SHAPE, channels=(8, 8, 16), bscan_width=8, n_layers=2)
    loaded = load_model(write_checkpoint(tmp_path / "model.ckpt", model, tiny_eyes))
    assert type(loaded) is VoxelGAN and not loaded.training
    assert loaded.weights == model.weights and loaded.channels == (8, 8, 16)
    assert loaded.task.scan == model.task.scan and loaded.task.fundus_px == 48
    grid = Placement().to_grid(loaded.task.scan.coordinates(48))[None]
    photo = torch.rand(1, 3, 48, 48)
    one, other = (
        network.eval()(photo, grid, rng=NoiseSource.of_keys(["eye"])) for network in (model, loaded)
    )
    assert torch.equal(one, other)


def test_a_class_of_ones_own_has_to_be_given(tiny_eyes, tmp_path):
    own = OtherModel(SHAPE, channels=(8, 8, 16), weights={"l1": 1.0})
    path = write_checkpoint(tmp_path / "own.ckpt", own, tiny_eyes)
    with pytest.raises(CheckpointError, match="OtherModel, which is not part of fund2oct"):
        load_model(path)
    with pytest.raises(CheckpointError, match=r"holds a .*OtherModel, expected a .*VoxelGAN"):
        load_model(path, VoxelGAN)
    assert type(load_model(path, OtherModel)) is OtherModel


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_bomb_is_refused_and_does_not_go_off(checkpoint, tmp_path):
    bombed = torch.load(checkpoint, weights_only=True)
    crater = tmp_path / "crater"
    bombed["hyper_parameters"]["lift"] = Bomb(crater)
    torch.save(bombed, tmp_path / "bomb.ckpt")
    with pytest.raises(CheckpointError, match=r"bomb.ckpt: holds more than tensors.*refused"):
        load_model(tmp_path / "bomb.ckpt")
    (tmp_path / "raw.ckpt").write_bytes(pickle.dumps(Bomb(crater)))
    with pytest.raises(CheckpointError, match=r"raw.ckpt"):
        load_model(tmp_path / "raw.ckpt")
    assert not crater.exists()


def damaged(change):
    def write(checkpoint, path):
        contents = torch.load(checkpoint, weights_only=True)
        change(contents)
        torch.save(contents, path)

    return write


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda checkpoint, path: None, "no such file"),
        (lambda checkpoint, path: path.write_bytes(b""), "is empty"),
        (
            lambda checkpoint, path: path.write_bytes(b"hello, this is no checkpoint"),
            "bad.ckpt: is damaged or something else; expected a checkpoint",
        ),
        (
            lambda checkpoint, path: path.write_bytes(checkpoint.read_bytes()[:5000]),
            "damaged or not a checkpoint",
        ),
        (lambda checkpoint, path: torch.save(torch.zeros(3), path), "but a Tensor"),
        (
            lambda checkpoint, path: torch.save({"state_dict": {}}, path),
            "not a checkpoint of a fund2oct model",
        ),
        (damaged(lambda c: c["state_dict"].pop("generator_ema.module.encoder.stem.weight")), "does not fit"),
        (damaged(lambda c: c["hyper_parameters"].update(lift="repeat")), "does not fit"),
        (damaged(lambda c: c["hyper_parameters"].update(colour=1)), "does not fit"),
        (damaged(lambda c: c["fund2oct"].update(task=None)), "says nothing of its data"),
        (damaged(lambda c: c["fund2oct"].update({"class": "os.system"})), "os.system, which is not part"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(checkpoint, tmp_path, write, message):
    path = tmp_path / "bad.ckpt"
    write(checkpoint, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


class Frozen(VoxelGAN):
    """A model with an encoder that comes from elsewhere and is not trained."""

    def build_generator(self):
        generator = super().build_generator()
        with torch.no_grad():
            for number, weight in enumerate(generator.encoder.parameters()):
                weight.fill_(0.01 * (number % 7) - 0.02)
        generator.encoder.requires_grad_(False)
        return generator

    def rebuilt(self):
        return ("generator.encoder.",)


def test_a_frozen_encoder_is_shared_and_stays_out_of_the_checkpoint(tiny_eyes, tmp_path):
    model = Frozen(SHAPE, channels=(8, 8, 16), weights={"l1": 1.0})
    path = write_checkpoint(tmp_path / "frozen.ckpt", model, tiny_eyes)
    stem, averaged = (part.encoder.stem.weight for part in (model.generator, model.generator_ema.module))
    assert stem is averaged
    assert (
        model.generator.decoder.head.anatomy.weight
        is not model.generator_ema.module.decoder.head.anatomy.weight
    )
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert (
        not [name for name in saved if "encoder" in name]
        and "generator_ema.module.lifts.0.profile.weight" in saved
    )
    loaded = load_model(path, Frozen)
    for name, value in model.eval().state_dict().items():
        if not name.startswith("discriminators"):
            assert torch.equal(loaded.state_dict()[name], value), name
    # A training goes on from it as well.
    trainer = quick_trainer(max_steps=2, limit_val_batches=0)
    again = Frozen(SHAPE, channels=(8, 8, 16), weights={"l1": 1.0})
    trainer.fit(again, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2), ckpt_path=path)
    assert trainer.global_step == 2 and torch.equal(again.generator.encoder.stem.weight, stem)
    # A loaded model that is trained on is in training mode, but for what is frozen.
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(loaded, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    assert loaded.training and loaded.generator.training and loaded.generator.decoder.training
    assert not loaded.generator.encoder.training and not loaded.generator_ema.module.decoder.training


class Colours(FeatureNetwork):
    """A frozen network that a package brings along."""

    name, ndim, num_features = "colours", 4, {"mean": 3}

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.constant_(self.layer.bias, 0.25)
        self._freeze()


class Theirs(Backbone):
    """Blocks of an encoder whose weights come from elsewhere."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.requires_grad_(False)


class OnOthers(VoxelGAN):
    """A model that holds networks of others, which are trained from the start or not."""

    def __init__(self, shape: tuple[int, int, int], from_start: bool = False, **options):
        super().__init__(shape, **options)
        self.from_start = from_start

    def build_generator(self):
        generator = super().build_generator()
        generator.others = nn.ModuleList([Colours(), Theirs()]).requires_grad_(self.from_start)
        return generator


class Freezing(pl.Callback):
    """Trains the networks of others in each epoch, or not, and freezes them before the checkpoint."""

    def __init__(self, trained):
        self.trained = trained

    def on_train_epoch_start(self, trainer, module):
        module.generator.others.requires_grad_(self.trained)

    def on_train_end(self, trainer, module):
        module.generator.others.requires_grad_(False)


@pytest.mark.parametrize(
    ("from_start", "trained", "held"), [(True, True, True), (False, True, True), (False, False, False)]
)
def test_what_was_trained_once_stays_in_the_checkpoint(from_start, trained, held, tiny_eyes, tmp_path):
    def model():
        return OnOthers(SHAPE, from_start=from_start, channels=(8, 8, 16), weights={"l1": 1.0})

    def trainer(n_epochs, callbacks=()):
        return quick_trainer(
            max_epochs=n_epochs, limit_train_batches=1, limit_val_batches=0, callbacks=[*callbacks]
        )

    made, path = model(), tmp_path / "model.ckpt"
    fit = trainer(1, [Freezing(trained)])
    fit.fit(made, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    if trained:  # as far as a longer training would bring them
        for value in made.generator.others.state_dict().values():
            value += 1
        made.generator_ema.update(made.generator, decay=0.0)
    fit.save_checkpoint(path)
    names = [name for name in torch.load(path, weights_only=True)["state_dict"] if ".others." in name]
    # Two weights of the one network; two and three batch statistics of the other; and all of their averages.
    assert len(names) == (2 * (2 + 5) if held else 0)
    loaded = load_model(path, OnOthers)
    for name, value in made.state_dict().items():
        if not name.startswith("discriminators"):
            assert torch.equal(loaded.state_dict()[name], value), name
    (tmp_path / "published").mkdir()
    write_published(loaded, tmp_path / "published", {})
    published = load_model(tmp_path / "published", OnOthers).generator_ema.state_dict()
    assert all(torch.equal(published[name], one) for name, one in made.generator_ema.state_dict().items())
    again = model()
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    trainer(2).fit(again, datamodule=data, ckpt_path=path)
    others = made.generator.others.state_dict()
    assert all(torch.equal(others[name], one) for name, one in again.generator.others.state_dict().items())


class Weighing(VoxelGAN):
    """A model with a weight and a buffer of its own, which lie in none of its networks."""

    def __init__(self, shape: tuple[int, int, int], **options):
        super().__init__(shape, **options)
        self.log_sigma = nn.Parameter(torch.zeros(1))
        self.register_buffer("n_seen", torch.zeros(1, dtype=torch.long))

    def generator_losses(self, batch, fake):
        self.n_seen += len(batch["key"])
        losses = super().generator_losses(batch, fake)
        return {name: loss * (-self.log_sigma[0]).exp() + self.log_sigma[0] for name, loss in losses.items()}

    def configure_optimizers(self):
        return torch.optim.Adam([*self.generator.parameters(), self.log_sigma], self.learning_rate)


def test_weights_that_lie_on_the_model_itself_come_back(tiny_eyes, tmp_path):
    def model():
        return Weighing(SHAPE, channels=(8, 8, 16), weights={"l1": 1.0})

    made = model()
    path = write_checkpoint(tmp_path / "model.ckpt", made, tiny_eyes)
    assert made.log_sigma.item() != 0 and made.n_seen.item() == 2
    (tmp_path / "published").mkdir()
    write_published(load_model(path, Weighing), tmp_path / "published", {})
    for where in (path, tmp_path / "published"):
        loaded = load_model(where, Weighing)
        assert torch.equal(loaded.log_sigma, made.log_sigma) and torch.equal(loaded.n_seen, made.n_seen)
    trainer = quick_trainer(max_steps=2, limit_val_batches=0)
    again = model()
    check_resumable(path, again, trainer)
    trainer.fit(again, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2), ckpt_path=path)
    assert trainer.global_step == 2 and again.n_seen.item() == 4
    assert again.log_sigma.item() != made.log_sigma.item() != 0
    contents = torch.load(path, weights_only=True)
    contents["state_dict"]["log_tau"] = torch.zeros(1)  # of another version of the class
    torch.save(contents, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"other.ckpt: holds another network than the experiment"):
        check_resumable(tmp_path / "other.ckpt", model(), trainer)


def test_of_several_classes_each_checkpoint_takes_its_own(checkpoint, tiny_eyes, tmp_path):
    own = write_checkpoint(
        tmp_path / "own.ckpt", OtherModel(SHAPE, channels=(8, 8, 16), weights={"l1": 1.0}), tiny_eyes
    )
    assert type(load_model(own, [Frozen, OtherModel])) is OtherModel
    assert type(load_model(checkpoint, [Frozen, OtherModel])) is VoxelGAN
    with pytest.raises(CheckpointError, match=r"not part of fund2oct, nor one of .*VoxelGAN, .*Frozen"):
        load_model(own, [Frozen])
