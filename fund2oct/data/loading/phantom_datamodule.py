"""The embedded data: simulated eyes, made where they are not there yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from fund2oct.data.loading.datamodule import FundusOCTDataModule
from fund2oct.data.store.reader import EyeReader
from fund2oct.eye import DataError, Eye
from fund2oct.phantom import PhantomConfig, simulate_eye
from fund2oct.phantom.simulate import SOURCE
from fund2oct.processes import n_cores

_SAME_GREY = 1.0
"""Mean difference of two photos below which only the computers differ."""


class PhantomDataModule(FundusOCTDataModule):
    """Simulated eyes in a file that is made at the first use.

    Args:
        path: the file; one that is there is used, if it holds as many eyes. A warning tells if another
            version of fund2oct simulated them, with other photos.
        n_eyes: eyes to simulate; two are of one patient.
        phantom_seed: seed of the simulation.
        n_depth: rows of a simulated B-scan.
        n_ascans: A-scans of a simulated B-scan.
        simulated_fundus_px: width of a simulated photo.
        population: ``"ordinary"`` eyes under a star of 8.8 mm, or ``"long"`` ones under one of 12 mm.
        options: further arguments of :class:`FundusOCTDataModule`.

    Example:
        >>> data = PhantomDataModule("eyes.h5", n_eyes=24, batch_size=2)  # the file is there already
        >>> data.prepare_data()
        >>> data.setup()
        >>> next(iter(data.val_dataloader()))["volume"].shape
        torch.Size([2, 1, 6, 32, 48])
    """

    def __init__(
        self,
        path: str | Path = "data/phantom.h5",
        n_eyes: int = 600,
        phantom_seed: int = 0,
        n_depth: int = 80,
        n_ascans: int = 112,
        simulated_fundus_px: int = 128,
        population: Literal["ordinary", "long"] = "ordinary",
        **options: Any,
    ) -> None:
        super().__init__(path, **options)
        self.file, self.n_eyes, self.phantom_seed = path, n_eyes, phantom_seed
        self.config = PhantomConfig.of(
            population, fundus_px=simulated_fundus_px, n_depth=n_depth, n_ascans=n_ascans
        )

    def prepare_data(self) -> None:
        """Simulate the eyes, on one process, unless the file is there."""
        path = Path(self.file)
        if not path.is_file():
            self._simulate(path)
        with EyeReader(path) as reader:
            n_found = len(reader.keys)
            # Eyes without a word on their population are ordinary.
            history = reader.info(reader.keys[0]).history if n_found else {}
            first = reader.read(reader.keys[0], skip=("volume", "rescan")) if n_found else None
        found = history.get("population", "ordinary")
        if found != self.config.population:
            raise DataError(
                f"{path}: expected simulated eyes of the population {self.config.population!r}, "
                f"found {found!r}; set population={found}, or give another path"
            )
        if n_found != self.n_eyes:
            raise DataError(
                f"{path}: expected {self.n_eyes} simulated eyes, found {n_found}; "
                f"set n_eyes={n_found}, or delete the file to have it made anew"
            )

        if first is not None and self._has_changed(first):
            rank_zero_warn(
                f"{path}: another version of fund2oct simulated these eyes, and their photos were others: "
                "what is learned from them is not comparable; delete the file to have it made anew"
            )

    def _has_changed(self, first: Eye) -> bool:
        """Whether this version of fund2oct gives a simulated eye another photo."""
        made = SOURCE.fullmatch(first.source)
        if made is None or first.fundus is None:
            return False
        # The photo does not depend on the size of the volume.
        config = replace(self.config, fundus_px=len(first.fundus), n_depth=16, n_ascans=16)
        again = simulate_eye(int(made[1]), 0, config).fundus
        assert again is not None
        return float(np.abs(again.astype(int) - first.fundus).mean()) > _SAME_GREY

    def _simulate(self, path: Path) -> None:
        from fund2oct.data.importing.simulated_file import simulate_file

        path.parent.mkdir(parents=True, exist_ok=True)
        workers = n_cores()
        simulate_file(path, self.n_eyes, self.phantom_seed, self.config, workers=workers, wait=True)
