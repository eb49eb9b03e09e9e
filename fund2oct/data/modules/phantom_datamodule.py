"""The embedded data: simulated eyes, made where they are not there yet."""

from __future__ import annotations

import glob
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from fund2oct.data.loading.index import EyeIndex
from fund2oct.data.modules.datamodule import FundusOCTDataModule
from fund2oct.data.store.layout import EyeInfo
from fund2oct.data.store.reader import EyeReader
from fund2oct.eye import DataError, Eye, some_of
from fund2oct.phantom import DIAGNOSES, PhantomConfig, simulate_eye
from fund2oct.phantom.simulate import SOURCE
from fund2oct.processes import n_cores

_SAME_GREY = 1.0
"""Mean difference of two photos below which only the computers differ."""


class PhantomDataModule(FundusOCTDataModule):
    """Simulated eyes in a file that is made at the first use.

    Args:
        path: one file, no folder and no pattern; one that is there is used, if it holds as many eyes, and if
            all were simulated, with the seed and the sizes that are given here. A warning tells if another
            version of fund2oct simulated them, with other photos.
        n_eyes: eyes to simulate; two are of one patient.
        phantom_seed: seed of the simulation; None makes a file with seed 0, and takes one of any seed.
        n_depth: rows of a simulated B-scan; None makes 80, and takes any number.
        n_ascans: A-scans of a simulated B-scan; None makes 112, and takes any number.
        simulated_fundus_px: width of a simulated photo; None makes 128 pixels, and takes any width.
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
        # What is not given is not checked: a file that was simulated by hand may have any seed and sizes.
        phantom_seed: int | None = None,
        n_depth: int | None = None,
        n_ascans: int | None = None,
        simulated_fundus_px: int | None = None,
        population: Literal["ordinary", "long"] = "ordinary",
        **options: Any,
    ) -> None:
        super().__init__(path, **options)
        self.file, self.n_eyes, self.phantom_seed = path, n_eyes, phantom_seed
        self._sizes = {"n_depth": n_depth, "n_ascans": n_ascans, "simulated_fundus_px": simulated_fundus_px}
        sizes = {"fundus_px": simulated_fundus_px, "n_depth": n_depth, "n_ascans": n_ascans}
        given = {name: size for name, size in sizes.items() if size is not None}
        self.config = PhantomConfig.of(population, **given)

    def prepare_data(self) -> None:
        """Simulate the eyes, on one process, unless the file is there."""
        path = Path(self.file)
        if not path.is_file():
            _check_one_file(path)
            self._simulate(path)
        with EyeReader(path) as reader:
            n_found = len(reader.keys)
            index = EyeIndex.read(reader, on_error=self._on_error)
            info = reader.info(index.keys[0]) if len(index) else None
            first = self._first(reader) if n_found else None
        if others := [key for key, ours in zip(index.keys, index.simulated, strict=True) if not ours]:
            raise DataError(
                f"{path}: holds {len(others)} eyes that were not simulated ({some_of(others)}); set "
                "data.class_path=fund2oct.data.FundusOCTDataModule, or give another path"
            )
        # Eyes without a word on their population are ordinary.
        found = info.history.get("population", "ordinary") if info else "ordinary"
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
        if info is None:
            return
        self._check(path, info)
        if first is not None and self._has_changed(first, info):
            rank_zero_warn(
                f"{path}: another version of fund2oct simulated these eyes, and their photos were others: "
                "what is learned from them is not comparable; delete the file to have it made anew"
            )

    def _first(self, reader: EyeReader) -> Eye | None:
        """The first eye of the file without its volumes; None where it is damaged and may be skipped."""
        try:
            return reader.read(reader.keys[0], skip=("volume", "rescan"))
        except DataError:
            if self.on_corrupt == "raise":
                raise
            return None

    def _check(self, path: Path, info: EyeInfo) -> None:
        """Refuse eyes of another seed or other sizes than were asked for: the run's record would be wrong."""
        made = SOURCE.fullmatch(str(info.fields["source"]))
        stored = info.arrays
        found = {
            "phantom_seed": int(made[1]) if made else None,
            "n_depth": stored["volume"][1] if "volume" in stored else None,
            "n_ascans": stored["volume"][2] if "volume" in stored else None,
            "simulated_fundus_px": stored["fundus"][0] if "fundus" in stored else None,
        }
        for name, wanted in {"phantom_seed": self.phantom_seed, **self._sizes}.items():
            if wanted is not None and found[name] not in (None, wanted):
                raise DataError(
                    f"{path}: expected simulated eyes of {name}={wanted}, found {found[name]}; "
                    f"set {name}={found[name]}, give another path, or delete the file to have it made anew"
                )

    def _has_changed(self, first: Eye, info: EyeInfo) -> bool:
        """Whether this version of fund2oct gives a simulated eye another photo."""
        made = SOURCE.fullmatch(first.source)
        if made is None or first.fundus is None:
            return False
        # Of the size of the volume, the photo depends on the number of A-scans alone.
        n_ascans = info.arrays.get("volume", (6, 16, 16))[2]
        config = replace(self.config, fundus_px=len(first.fundus), n_depth=16, n_ascans=n_ascans)
        # An eye of this diagnosis has one photo, drawn or given by `fund2oct simulate --diagnosis`.
        known = set(first.diagnosis.split("+")) <= set(DIAGNOSES)
        config = replace(config, diagnosis=first.diagnosis if known else None)
        again = simulate_eye(int(made[1]), 0, config).fundus
        assert again is not None
        return float(np.abs(again.astype(int) - first.fundus).mean()) > _SAME_GREY

    def _simulate(self, path: Path) -> None:
        from fund2oct.data.importing.simulated_file import simulate_file

        path.parent.mkdir(parents=True, exist_ok=True)
        workers = n_cores()
        simulate_file(path, self.n_eyes, self.phantom_seed or 0, self.config, workers=workers, wait=True)


def _check_one_file(path: Path) -> None:
    """Refuse to simulate where a user means files that are there: a folder of them, or a pattern."""
    # What stands in the name of a folder that is there is no pattern.
    named = path.name if path.parent.is_dir() else str(path)
    found = "folder" if path.is_dir() else "pattern" if glob.has_magic(named) else ""
    if found:
        raise DataError(
            f"{path}: is a {found}, expected the name of one file of simulated eyes; for the files of a "
            f"{found} set data.class_path=fund2oct.data.FundusOCTDataModule"
        )
