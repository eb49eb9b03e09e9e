"""How often the panels of a training are drawn, whatever ends it."""

from functools import partial
from types import SimpleNamespace

import pytest

from fund2oct.callbacks import PanelCallback, panel


def drawn(callback, n_epochs, share, **trainer):
    """Epochs, counted from 1, after which panels are drawn; ``share`` tells how much of it is done then."""
    found = []
    for epoch in range(1, n_epochs + 1):
        now = SimpleNamespace(
            current_epoch=epoch - 1, **{"max_epochs": -1, "should_stop": epoch == n_epochs} | trainer
        )
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


def test_few_long_epochs_draw_one_panel_each(monkeypatch):
    monkeypatch.setattr(panel, "last_share", lambda trainer: 1.0)
    assert drawn(PanelCallback(n_epochs=12), 3, lambda epoch: epoch / 3) == [1, 2, 3]


def test_a_training_without_an_end_draws_ever_more_rarely(monkeypatch):
    monkeypatch.setattr(panel, "last_share", lambda trainer: 0.0)
    assert drawn(PanelCallback(), 1000, lambda epoch: 0.0) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def test_a_known_number_of_epochs_is_divided_evenly():
    assert drawn(PanelCallback(n_epochs=3), 9, lambda epoch: 0.0, max_epochs=9) == [1, 5, 9]
