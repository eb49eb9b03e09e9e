"""Photos unlike those of a training, and intervals of voxels and surfaces."""

from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from scipy.stats import norm
from tiny_models import quick_trainer

from fund2oct.data import DataError, FundusOCTDataModule
from fund2oct.file_kinds import is_made_here
from fund2oct.models import SurfaceModel, VoxelGAN, load_model
from fund2oct.models.baselines import Pix2PixHD
from fund2oct.models.published import shipped_models
from fund2oct.models.published.files import read_published, write_published
from fund2oct.models.task import TASK_KEY, Task
from fund2oct.models.thickness import predict_thickness
from fund2oct.models.uncertainty import familiar
from fund2oct.models.uncertainty.draws import draw_volumes, predict_intervals
from fund2oct.models.uncertainty.familiar import UNLIKE, FamiliarPhotos, photo_features
from fund2oct.networks.layered.surfaces import SurfaceDistribution
from fund2oct.phantom import simulate_eye
from fund2oct.retina import SURFACES, pose_surface_um

N_FEATURES = 30


def test_the_distance_is_that_of_mahalanobis():
    features = torch.randn(200, 5) @ torch.randn(5, N_FEATURES) + 0.3 * torch.randn(200, N_FEATURES) + 2
    usual = FamiliarPhotos.fit(features)
    v, kept = usual.directions.numpy().astype(float), usual.variances.numpy()
    covariance = v.T @ np.diag(kept) @ v + usual.rest * (np.eye(N_FEATURES) - v.T @ v)
    others = torch.randn(7, N_FEATURES).double().numpy()
    scaled = (others - features.mean(0).numpy()) / features.std(0, correction=0).numpy()
    expected = np.sqrt(np.einsum("nd,de,ne->n", scaled, np.linalg.inv(covariance), scaled) / N_FEATURES)
    np.testing.assert_allclose(usual.distance(torch.from_numpy(others)), expected, rtol=1e-4)


@pytest.mark.parametrize("n_photos", [64, 256])
def test_one_is_usual_for_new_photos_of_the_same_kind(n_photos):
    # Variances that fall by a power law, in directions that mix the features, as those of an encoder's do.
    mixed = torch.arange(1, 201).pow(-1.0)[:, None] * torch.linalg.qr(torch.randn(200, 200))[0]
    new = torch.randn(2000, 200) @ mixed
    fitted = [FamiliarPhotos.fit(torch.randn(n_photos, 200) @ mixed) for _ in range(5)]
    away = torch.stack([usual.distance(new) for usual in fitted])
    assert away.median(1).values.mean().item() == pytest.approx(1, abs=0.05)
    assert (away >= UNLIKE).float().mean() <= 0.02


def test_distances_of_a_stored_model_are_read_as_they_were_written():
    stored = FamiliarPhotos.fit(torch.randn(80, N_FEATURES)).to_dict()
    assert set(stored) == {"mean", "scale", "directions", "variances", "rest"}
    earlier = stored | {"variances": torch.full_like(stored["variances"], 4), "rest": torch.tensor(4.0)}
    photo = (
        stored["mean"] + 3 * stored["scale"]
    )  # each feature three of its deviations away, where 2 is usual
    assert FamiliarPhotos.from_dict(earlier).distance(photo[None]).item() == pytest.approx(1.5, rel=1e-4)


def test_a_damaged_photo_takes_no_other_with_it():
    class Photos(list):
        def photo(self, number):
            if number in (3, 70):
                raise DataError(f"photo {number}: damaged")
            return self[number]

    photos = Photos(torch.rand(72, 3, 4, 4))

    def encoder(shown):
        return [shown]

    found = familiar.familiar_photos(encoder, photos, torch.device("cpu"))
    whole = torch.stack([photo for number, photo in enumerate(photos) if number not in (3, 70)])
    torch.testing.assert_close(found.mean, photo_features([whole]).mean(0))


def test_a_photo_that_many_eyes_share_counts_once():
    class Photos(list):
        def photo(self, number):
            return self[number]

    def encoder(shown):
        return [shown]

    photos = torch.rand(72, 3, 4, 4)
    shared = Photos(photos.repeat_interleave(3, 0))
    found = familiar.familiar_photos(encoder, shared, torch.device("cpu"))
    alone = familiar.familiar_photos(encoder, Photos(photos), torch.device("cpu"))
    torch.testing.assert_close(found.mean, alone.mean)
    torch.testing.assert_close(found.variances, alone.variances)
    assert (
        familiar.familiar_photos(encoder, Photos(photos[:60].repeat(4, 1, 1, 1)), torch.device("cpu")) is None
    )


def test_a_checkpoint_knows_the_photos_of_its_training(tiny_eyes, tmp_path, monkeypatch):
    monkeypatch.setattr(familiar, "_LEAST", 6)
    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)
    trainer = quick_trainer(max_steps=4, limit_val_batches=0)
    trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = load_model(tmp_path / "a.ckpt")
    with torch.no_grad():
        encoder, training = loaded.generator_ema.module.encoder, trainer.datamodule.train_dataset
        seen = photo_features(encoder(torch.stack([training.photo(number) for number in range(18)])))
    torch.testing.assert_close(loaded.task.photos.mean, seen.mean(0))
    torch.testing.assert_close(loaded.task.photos.directions, model.task.photos.directions)
    write_published(loaded, tmp_path, {})
    again = Task.from_dict(read_published(tmp_path)[TASK_KEY]["task"])
    assert torch.equal(again.photos.mean, loaded.task.photos.mean)
    assert again.photos.rest == pytest.approx(loaded.task.photos.rest)


def test_a_training_that_is_stopped_early_knows_its_photos_too(tiny_eyes, tmp_path, monkeypatch):
    """As the clock stops it, or a plateau, where the share that was asked for in its last step is not all."""
    monkeypatch.setattr(familiar, "_LEAST", 6)

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step == 2

    model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)
    saver = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, save_on_train_epoch_end=True)
    trainer = quick_trainer(
        max_epochs=100, limit_val_batches=0, callbacks=[Stop(), saver], enable_checkpointing=True
    )
    trainer.fit(model, datamodule=FundusOCTDataModule(str(tiny_eyes), batch_size=2))
    assert trainer.global_step == 2
    assert load_model(tmp_path / "last.ckpt").task.photos is not None


def test_a_training_that_goes_on_does_not_keep_what_it_knew_of_its_photos(tiny_eyes, tmp_path, monkeypatch):
    monkeypatch.setattr(familiar, "_LEAST", 6)

    def trained(n_steps, goes_on_from=None):
        model = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)
        saver = pl.callbacks.ModelCheckpoint(
            tmp_path, "{step}", save_top_k=-1, every_n_train_steps=2, enable_version_counter=False
        )
        trainer = quick_trainer(
            max_steps=n_steps, limit_val_batches=0, callbacks=[saver], enable_checkpointing=True
        )
        data = FundusOCTDataModule(str(tiny_eyes), batch_size=2)
        trainer.fit(model, datamodule=data, ckpt_path=goes_on_from)
        return [load_model(tmp_path / f"step={n}.ckpt").task.photos for n in range(2, n_steps + 1, 2)]

    (first,) = trained(2)
    assert first is not None
    _, underway, last = trained(6, tmp_path / "step=2.ckpt")
    assert underway is None
    assert last is not None and not torch.equal(last.mean, first.mean)


@pytest.fixture(scope="module")
def photo():
    """A photo as a camera gives it, wider than tall."""
    return np.pad(simulate_eye(0, 0).fundus, ((8, 8), (24, 24), (0, 0)))


def test_an_image_of_pillow_is_an_array(tiny_checkpoint, photo):
    model = load_model(tiny_checkpoint)
    image = Image.fromarray(photo)
    eye = model.predict(image)
    assert np.array_equal(eye.fundus, model.predict(photo).fundus)
    image.getexif()[274] = 3  # stored on its head
    assert np.array_equal(model.predict(image).fundus, model.predict(photo[::-1, ::-1].copy()).fundus)
    with pytest.raises(DataError, match=r"photo: expected RGB bytes, .* found uint8 \(\d+, \d+\)"):
        model.predict(image.convert("L"))
    with pytest.raises(DataError, match=r"photo: expected a file, an array .*, found Tensor"):
        model.predict(torch.zeros(3, 64, 64))


def test_a_photo_unlike_those_of_the_training_is_told(tiny_checkpoint, photo):
    model = load_model(tiny_checkpoint)
    eye = model.predict(photo)
    assert familiar.photo_distance(model, eye.fundus) is None and "photo_distance" not in eye.history
    with torch.no_grad():
        shown = torch.from_numpy(eye.fundus.copy()).permute(2, 0, 1)[None] / 255
        seen = photo_features(model.generator_ema.module.encoder(shown))
    photos = FamiliarPhotos.fit(seen + 0.1 * torch.randn(80, seen.shape[1]))
    model.task = replace(model.task, photos=photos)
    distance = familiar.photo_distance(model, eye.fundus)
    assert distance < UNLIKE and familiar.unlike_note(distance) == ""
    assert model.predict(photo).history["photo_distance"] == round(distance, 2)
    model.task = replace(model.task, photos=replace(photos, mean=photos.mean + 5 * photos.scale))
    with pytest.warns(UserWarning, match=r"photo-\w+: the photo is unlike those of the training \(distance"):
        assert model.predict(photo).history["photo_distance"] >= UNLIKE


def test_the_model_in_the_package_knows_the_photos_of_its_training():
    if not shipped_models():
        pytest.skip("no model lies in fund2oct/weights; make weights-wheel puts one in")
    model = load_model()
    assert model.task.photos is not None
    eyes = [simulate_eye(7, number) for number in range(2)]
    assert max(familiar.photo_distance(model, eye.fundus) for eye in eyes) < UNLIKE
    black = np.zeros_like(eyes[0].fundus)
    noise = np.random.default_rng(0).integers(0, 256, black.shape, np.uint8)
    assert min(familiar.photo_distance(model, photo) for photo in (black, noise)) > 2 * UNLIKE


@pytest.mark.parametrize("kind", ["surfaces predicted", "surfaces searched"])
def test_intervals_hold_the_draws(kind, photo, tiny_checkpoint, tmp_path):
    model = load_model(tiny_checkpoint)
    if kind == "surfaces searched":
        other = VoxelGAN((6, 32, 48), channels=[8, 8, 16])
        other.configure_model()
        other.task, model = model.task, other
    eye = model.eval().predict(photo)
    found = predict_intervals(model, eye)
    assert found.mean.shape == (6, 32, 48)
    assert (found.low <= found.mean + 1e-6).all() and (found.mean <= found.high + 1e-6).all()
    assert (found.high - found.low).mean() > 0.005
    path = tmp_path / "eye.intervals"  # NumPy would add an ending
    found.save(path)
    assert is_made_here(path) and [*tmp_path.iterdir()] == [path]
    with np.load(path) as read:
        np.testing.assert_allclose(read["low"] / 255, found.low, atol=0.5 / 255 + 1e-6)
        assert list(read["names"]) == list(found.names) and read["surfaces_um"].shape[1:] == (
            len(found.names), 6, 48,
        )  # fmt: skip
    middle, upper, lower = found.surfaces_um
    if kind == "surfaces searched":
        known = upper.isfinite() & lower.isfinite()
        assert (upper <= middle + 1e-3)[known].all() and (middle <= lower + 1e-3)[known].all()
        return
    fundus = torch.from_numpy(eye.fundus.copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        said = model.surfaces(fundus, eye.placement.to_grid(eye.scan.coordinates(48))[None])
    pose = pose_surface_um(torch.from_numpy(eye.pose_um)[None], 48)
    torch.testing.assert_close(middle, (pose - said.median_um[0]).float())
    # Of the innermost surface every increment counts.
    deviation = said.loadings_um.sum(1).square().sum(1).sqrt()[0]
    torch.testing.assert_close(lower[0] - middle[0], norm.ppf(0.9) * deviation, rtol=1e-4, atol=1e-3)


class SaysSurfaces(VoxelGAN):
    """Draws voxels, and says beside them where it takes the surfaces to lie: the inner one to 10 um."""

    def surfaces(self, fundus, grid, **known):
        n, s, x, _ = grid.shape
        increments, loadings = torch.zeros(n, 4, s, x), torch.zeros(n, 4, 1, s, x)
        increments[:, 3], loadings[:, 3] = 250, 10
        return SurfaceDistribution(increments, loadings)


def test_a_model_that_predicts_surfaces_need_not_draw_them(photo, tiny_checkpoint):
    model = SaysSurfaces((6, 32, 48), channels=[8, 8, 16])
    model.configure_model()
    model.task = load_model(tiny_checkpoint).task
    eye = model.eval().predict(photo)
    found = predict_intervals(model, eye)
    assert found.names == SURFACES and (found.high - found.low).mean() > 0.005
    torch.testing.assert_close(found.widths["ILM"], torch.full((6, 48), 25.631), atol=1e-2, rtol=0)
    with pytest.raises(DataError, match="expected a model that draws surfaces, found a SaysSurfaces; leave"):
        model.predict(photo, draw=True)


def test_a_model_that_draws_without_noise_has_no_intervals(photo, tiny_checkpoint):
    model = Pix2PixHD((6, 32, 48), width=8, n_halvings=2, n_blocks=1, n_scales=2)
    model.configure_model()
    model.task = load_model(tiny_checkpoint).task
    eye = model.eval().predict(photo)
    with pytest.raises(
        ValueError, match=r"found a Pix2PixHD, .* it has one answer .*; leave --intervals out"
    ):
        predict_intervals(model, eye)


def test_what_has_no_intervals_is_refused_by_name(photo, tiny_checkpoint):
    model = load_model(tiny_checkpoint)
    eye = model.predict(photo)
    surfaces = SurfaceModel((6, 32, 48), encoder="own", surface_width=8)
    surfaces.configure_model()
    surfaces.task = model.task
    with pytest.raises(ValueError, match="found a SurfaceModel, which draws none; its thickness map"):
        predict_intervals(surfaces, surfaces.eval().predict(photo))
    for missing in ("fundus", "volume", "scan"):
        with pytest.raises(ValueError, match=f"eye '{eye.key}': expected its photo and the generated volume"):
            predict_intervals(model, replace(eye, **{missing: None}))
    # A real eye, as an import keeps it.
    wide = np.repeat(np.repeat(eye.fundus, 2, 0), 2, 1)
    with pytest.raises(
        ValueError, match="photo: expected 48 pixels, as in the training, found 96; give that"
    ):
        predict_intervals(model, replace(eye, fundus=wide))
    with pytest.raises(ValueError, match="expected 48 pixels"):
        predict_thickness(model, wide, eye.placement, eye.scan)
    fine = replace(eye, volume=np.repeat(eye.volume, 2, 1), spacing_mm=(*eye.spacing_mm[:1], 0.006, 0.1))
    with pytest.raises(ValueError, match=r"expected a generated volume of 32 rows, .* found 64 of 6 µm"):
        predict_intervals(model, fine)


def test_draws_of_an_eye_depend_on_its_key_and_not_on_its_batch():
    model = VoxelGAN((6, 32, 48), channels=[8, 8, 16]).eval()
    photos, grid = torch.rand(2, 3, 48, 48), torch.rand(2, 6, 48, 2)
    both = draw_volumes(model, photos, grid, ["a", "b"])
    alone = draw_volumes(model, photos[1:], grid[1:], ["b"])
    torch.testing.assert_close(both[:, 1:], alone)
    assert not torch.equal(both[0], both[1])
