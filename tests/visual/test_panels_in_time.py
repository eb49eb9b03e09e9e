"""How often the panels of a training are drawn, whatever ends it, and of what."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from pytorch_lightning.callbacks import Timer
from tiny_models import TINY_PIX2VOL, quick_trainer

from fund2oct.callbacks import PanelCallback, TimeLeftCallback, panel, time_left
from fund2oct.data import FundusOCTDataModule, FundusOCTDataset
from fund2oct.models import Pix2Vol
from fund2oct.visual.style import new_figure


def drawn(callback, n_epochs, share, **trainer):
    """Epochs, counted from 1, after which panels are drawn; ``share`` tells how much of it is done then."""
    found = []
    for epoch in range(1, n_epochs + 1):
        ends = {"max_epochs": -1, "max_steps": -1, "callbacks": [], "should_stop": epoch == n_epochs}
        now = SimpleNamespace(current_epoch=epoch - 1, **ends | trainer)
        if callback._is_due(now, SimpleNamespace(share_done=partial(share, epoch))):
            found.append(epoch)
    return found


@pytest.mark.parametrize(
    "n_panels, wanted",
    [(5, [1, 2500, 5000, 7500, 10_000]), (1, [10_000]), (2, [1, 10_000]), (0, [])],
)
def test_a_training_by_the_clock_draws_as_many_panels_as_one_by_epochs(monkeypatch, n_panels, wanted):
    monkeypatch.setattr(panel, "last_share", lambda trainer: 1.0)
    # The clock stops the last epoch before the share that was last asked for is all.
    assert (
        drawn(PanelCallback(n_epochs=n_panels), 10_000, lambda epoch: min(epoch / 10_000, 0.99995)) == wanted
    )


def test_epochs_that_the_clock_cuts_short_are_divided_by_the_clock(monkeypatch):
    monkeypatch.setattr(panel, "last_share", lambda trainer: 1.0)
    ends = {"max_epochs": 200, "callbacks": [Timer("00:00:10:00")]}
    assert drawn(PanelCallback(n_epochs=5), 16, lambda epoch: epoch / 16.001, **ends) == [1, 5, 9, 13, 16]
    # Or the other way round.
    whole = {"max_epochs": 16, "callbacks": [Timer("00:10:00:00")], "should_stop": False}
    assert drawn(PanelCallback(n_epochs=5), 16, lambda epoch: epoch / 16, **whole) == [1, 4, 8, 12, 16]


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({"max_epochs": 200}, ["epoch 50 of 200; about 0:03:00 left"]),
        ({"max_epochs": 200, "max_steps": 100}, ["epoch 50; about 0:01:00 left"]),
        ({"max_epochs": 200, "num_training_batches": math.inf}, ["epoch 50 of 200; about 0:03:00 left"]),
    ],
)
def test_the_time_left_is_that_of_what_ends_first(ends, said, monkeypatch):
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(time_left.time, "monotonic", lambda: now.s)
    steps = -1 if "num_training_batches" in ends else ends.get("max_steps", 200)
    usual = {"max_steps": -1, "num_training_batches": 1, "callbacks": [], "current_epoch": 0}
    trainer = SimpleNamespace(**usual | ends, estimated_stepping_batches=steps)
    told = []
    module = SimpleNamespace(global_step=0, print=told.append)
    callback = TimeLeftCallback()
    callback.on_train_start(trainer, module)
    now.s, trainer.current_epoch, module.global_step = 1060.0, 49, 50
    callback.on_train_epoch_end(trainer, module)
    assert told == said


def test_few_long_epochs_draw_one_panel_each(monkeypatch):
    monkeypatch.setattr(panel, "last_share", lambda trainer: 1.0)
    assert drawn(PanelCallback(n_epochs=12), 3, lambda epoch: epoch / 3) == [1, 2, 3]


def test_a_training_without_an_end_draws_ever_more_rarely(monkeypatch):
    monkeypatch.setattr(panel, "last_share", lambda trainer: 0.0)
    assert drawn(PanelCallback(), 1000, lambda epoch: 0.0) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def test_a_known_number_of_epochs_is_divided_evenly():
    assert drawn(PanelCallback(n_epochs=3), 9, lambda epoch: 0.0, max_epochs=9) == [1, 5, 9]


def test_a_film_shows_one_eye(tmp_path):
    (tmp_path / "panels").mkdir()
    for key, n_epochs in {"OD": 2, "anna-OD": 3, "a[1]-OD": 1}.items():
        for epoch in range(1, n_epochs + 1):
            picture = Image.new("RGB", (8, 4), (40 * epoch, 20 * n_epochs, 0))
            picture.save(tmp_path / f"panels/epoch-{epoch:03d}-{key}.png")
    PanelCallback().on_train_end(SimpleNamespace(log_dir=str(tmp_path), is_global_zero=True), None)
    shown = {}
    for path in (tmp_path / "panels").glob("*.gif"):
        with Image.open(path) as film:
            shown[path.stem] = film.n_frames
    assert shown == {"OD": 2, "anna-OD": 3, "a[1]-OD": 1}


class Green(torch.nn.Module):
    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return photos[:, 1:2]


class Undiagnosed(FundusOCTDataset):
    """A dataset of one's own that says less of its eyes."""

    def __getitem__(self, item):
        return {name: value for name, value in super().__getitem__(item).items() if name != "diagnosis"}


def test_a_panel_is_drawn_with_the_masks_of_the_training(tiny_eyes, tmp_path, monkeypatch):
    told, titles = [], []

    class Watching(Pix2Vol):
        def known(self, batch, withhold=False):
            if not withhold:
                told.append((batch["vessels"], batch["fundus"][:, 1:2]))
            return super().known(batch, withhold)

    def draw(*_, title, **options):
        titles.append(title)
        return new_figure(1, 1)

    monkeypatch.setattr(panel, "draw_panel", draw)
    torch.jit.script(Green()).save(str(tmp_path / "green.pt"))
    data = FundusOCTDataModule(str(tiny_eyes), batch_size=2, vessel_network=str(tmp_path / "green.pt"))
    data.val_dataset = Undiagnosed(tiny_eyes, data.val_dataset.keys)
    trainer = quick_trainer(
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=0,
        default_root_dir=tmp_path,
        callbacks=[PanelCallback()],
    )
    trainer.fit(Watching((6, 32, 48), masks=["vessels"], **TINY_PIX2VOL), datamodule=data)
    assert titles == [f"{data.val_dataset.keys[0]}, epoch 1"]
    assert len(told) == 2 and all(torch.equal(vessels, green) for vessels, green in told)
