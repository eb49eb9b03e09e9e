"""Twins of simulated test eyes, made once and kept beside the data."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from fund2oct.data import EyeReader, FundusOCTDataModule
from fund2oct.data.store.shards import DAMAGE
from fund2oct.eye import Array, Eye
from fund2oct.outputs import whole_file
from fund2oct.phantom import PhantomConfig, simulate_eye, simulate_twins, twin_boundaries
from fund2oct.phantom.simulate import SOURCE
from fund2oct.progress import with_progress
from fund2oct.retina import boundary_index, retinal_boundaries

SCANNED = 4
"""Twins of an eye whose volumes are rendered and searched."""
DRAWN = 64
"""Twins of an eye over whose true surfaces the median is taken."""

_NAME = re.compile(r"sim\d*-(\d+)-O[DS]")


@dataclass(frozen=True, eq=False)
class TwinAnswer:
    """A twin of one eye, and the median surfaces of many.

    Args:
        volume: volume of the first twin at the eye's pose, uint8, shape ``(S, Z, X)``.
        surfaces_um: median depths of inner limiting membrane, pigment epithelium and Bruch's membrane over
            the twins in micrometres, as the search would find them, float32, NaN where it would not find
            them, shape ``(3, S, X)``.
    """

    volume: Array
    surfaces_um: Array


TwinSet = Mapping[str, TwinAnswer]
"""The twins of some eyes, by the key of the eye."""


def twin_answer(eye: Eye) -> TwinAnswer | None:
    """Answer for a simulated eye by its twins.

    The median has to be measured as the search would measure it, but to render and search many twins
    takes long. So it is the median of the *true* maps of 64 twins, which cost little, and
    added to it the search's own error, the median of found minus true over 4 twins that are
    rendered and searched. That error is small and much the same from twin to twin, so few show it.

    Args:
        eye: as it was read from a file.

    Returns:
        None where the eye is not one that this version of the simulator draws by default.
    """
    origin = _origin(eye)
    if origin is None:
        return None
    seed, number, config = origin
    twins = simulate_twins(seed, number, SCANNED, config)
    found = [retinal_boundaries(_volume(twin), twin.spacing_mm) for twin in twins]
    names = ("ILM", "IZ_RPE")
    true = twin_boundaries(seed, number, DRAWN, config)[:, [boundary_index(name) for name in names]]
    seen = np.stack([np.where(one.ok, [one.ilm_um, one.rpe_um, one.bm_um], np.nan) for one in found])
    rpe_um = _corrected(true[:, 1], seen[:, 1])
    thickness_um = _corrected(true[:, 1] - true[:, 0], seen[:, 1] - seen[:, 0])
    depths = np.stack([rpe_um - thickness_um, rpe_um, _median(seen[:, 2])])
    known = np.isfinite(depths).all(0)
    return TwinAnswer(_volume(twins[0]), np.where(known, depths, np.nan).astype(np.float32))


def find_twins(eyes: Iterable[Eye], cache: Path | None, pool: Executor) -> TwinSet | None:
    """Answer for simulated eyes by their twins, from a file where they have been made before.

    Args:
        eyes: as read from their file.
        cache: the file; it is made, or completed, and left alone where it cannot be written. None keeps
            nothing.
        pool: processes to simulate in.

    Returns:
        The twins by key; None if one of the eyes has none.
    """
    known = _read(cache) if cache is not None else {}
    answers: dict[str, TwinAnswer] = {}
    asked: dict[str, tuple[str, Future[TwinAnswer | None]]] = {}
    for eye in eyes:
        digest = _digest(eye)
        if eye.key in known and known[eye.key][0] == digest:
            answers[eye.key] = known[eye.key][1]
        elif SOURCE.fullmatch(eye.source):
            asked[eye.key] = digest, pool.submit(twin_answer, eye)
        else:
            return None
    made = {}
    for key, (digest, future) in with_progress(asked.items(), len(asked), "simulating twins"):
        answer = future.result()
        if answer is None:
            for _, other in asked.values():
                other.cancel()
            return None
        answers[key] = answer
        made[key] = digest, answer
    if made and cache is not None:
        _write(cache, known | made)
    return answers


def twins_of_test_eyes(
    datamodule: FundusOCTDataModule, pool: Executor, keys: Sequence[str]
) -> TwinSet | None:
    """The twins of a datamodule's test eyes, kept beside its file as ``.NAME.twins.h5``.

    Args:
        datamodule: a datamodule that was set up.
        pool: processes to simulate in.
        keys: of the test eyes that are judged.

    Returns:
        None where the eyes have no twins, as real ones, simulated ones of another version, and such as are
        resized or otherwise prepared, so that a twin would have to be prepared likewise.
    """
    dataset = datamodule.test_dataset
    path = Path(datamodule.path) if isinstance(datamodule.path, str) else None
    if dataset.preparation.even_levels:
        return None
    with EyeReader(datamodule.path) as reader:
        if any(reader.info(key).arrays["volume"] != dataset.shape for key in keys):
            return None
        eyes = (reader.read(key, skip=("rescan", "lesions", "boundaries_um")) for key in keys)
        cache = path.with_name(f".{path.stem}.twins.h5") if path is not None and path.is_file() else None
        return find_twins(eyes, cache, pool)


def _origin(eye: Eye) -> tuple[int, int, PhantomConfig] | None:
    """Seed, number and sizes with which an eye was simulated, if that makes the very same eye."""
    source, name = SOURCE.fullmatch(eye.source), _NAME.fullmatch(eye.key)
    if source is None or name is None or eye.volume is None or eye.fundus is None or eye.scan is None:
        return None
    _, n_depth, n_ascans = eye.volume.shape
    try:
        config = PhantomConfig(
            fundus_px=len(eye.fundus),
            n_depth=n_depth,
            n_ascans=n_ascans,
            scan=eye.scan,
            depth_mm=round(eye.spacing_mm[1] * n_depth, 6),
            diagnosis=eye.diagnosis,
        )
    except ValueError:  # no eye that is drawn by default, as one under the wide scan of long eyes
        return None
    seed, number = int(source[1]), int(name[1])
    again = simulate_eye(seed, number, config)
    return (seed, number, config) if _digest(again) == _digest(eye) else None


def _corrected(true_um: Array, seen_um: Array) -> Array:
    """Median of true maps ``(n, S, X)``, with the error of those seen; that of the seen in the disc."""
    error_um = _median(seen_um - true_um[: len(seen_um)])
    corrected = _median(true_um) + error_um
    return np.where(np.isfinite(corrected), corrected, _median(seen_um))


def _median(maps: Array) -> Array:
    """Median of the known values, NaN where there is none, without numpy's warning of that."""
    known = np.ma.masked_invalid(maps)
    return np.ma.median(known, axis=0).filled(np.nan).astype(np.float32)


def _volume(eye: Eye) -> Array:
    assert eye.volume is not None
    return eye.volume


def _digest(eye: Eye) -> str:
    assert eye.fundus is not None
    return hashlib.sha256(eye.fundus.tobytes() + _volume(eye).tobytes()).hexdigest()


def _recipe() -> str:
    return f"twins 2, {SCANNED} of {DRAWN}"


def _read(path: Path) -> dict[str, tuple[str, TwinAnswer]]:
    """What a file holds; nothing where there is none of this recipe that can be read."""
    if not path.is_file():
        return {}
    try:
        with h5py.File(path) as file:
            if file.attrs.get("recipe") != _recipe():
                return {}
            return {
                key: (str(group.attrs["eye"]), TwinAnswer(group["volume"][()], group["surfaces_um"][()]))
                for key, group in file.items()
            }
    except DAMAGE:
        return {}


def _write(path: Path, twins: Mapping[str, tuple[str, TwinAnswer]]) -> None:
    """Replace the file at once: another process may be reading it."""
    # Made in memory: HDF5 is at a loss on a full disk, a plain write is not.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.attrs["recipe"] = _recipe()
        for key, (digest, answer) in twins.items():
            group = file.create_group(key)
            group.attrs["eye"] = digest
            group["volume"], group["surfaces_um"] = answer.volume, answer.surfaces_um
    # A folder may not be written to, or the disk be full: the twins are made again the next time.
    with suppress(OSError), whole_file(path) as part:
        part.write_bytes(image.getbuffer())
