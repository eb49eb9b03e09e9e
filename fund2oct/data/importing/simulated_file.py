"""``fund2oct simulate``: a file of simulated eyes."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from functools import partial

from fund2oct.data.formats.exam import JPEG_RATIO
from fund2oct.data.importing.engine import Candidate, fingerprint_of, make_file
from fund2oct.data.importing.report import ImportReport, named
from fund2oct.data.preparing.landmarks import Landmarks, find_landmarks
from fund2oct.data.preparing.light_and_levels import LIGHT
from fund2oct.data.preparing.surfaces import searched_fields
from fund2oct.data.store.layout import Compression
from fund2oct.data.store.reader import EyeReader
from fund2oct.eye import DataError, Eye
from fund2oct.geometry import Placement
from fund2oct.outputs import check_inputs
from fund2oct.phantom import PhantomConfig, SeenAnatomy, simulate_behind_photo, simulate_eye
from fund2oct.phantom.from_photo import HEALTHY, check_behind_photo, why_not_shown
from fund2oct.progress import with_progress

_SURE = 0.5
_NAMED = 5
_OF_THE_PHOTO = (LIGHT[0], JPEG_RATIO["photo"])
"""What stays true of a photo behind which a volume is simulated, so that its light is not evened again."""


def simulate_file(
    out: str | os.PathLike[str],
    n_eyes: int,
    seed: int = 0,
    config: PhantomConfig | None = None,
    workers: int = 1,
    overwrite: bool = False,
    compression: Compression = "none",
    wait: bool = False,
    photos: str | os.PathLike[str] | None = None,
) -> ImportReport:
    """Write a file of simulated eyes with their truth.

    Pose and surfaces are those that the search finds, as in real eyes: a network that is trained on the
    file sees what it would see of a scanner. The truth is in ``boundaries_um`` and ``lesions``.

    A simulation that was interrupted goes on where it was.

    Args:
        out: the file to make; one that holds these very eyes is left as it is.
        n_eyes: how many eyes; each two are of one patient.
        seed: the same seed makes the same eyes, whatever their number.
        config: sizes, scan and diseases; behind photos neither a diagnosis nor long eyes.
        workers: processes to simulate in.
        overwrite: whether ``out`` may be replaced; ``photos`` never is.
        compression: how the file is compressed, see :class:`~fund2oct.data.EyeWriter`.
        wait: whether to wait where another process is making the file.
        photos: a file of eyes, behind whose photos volumes are simulated, see
            :func:`fund2oct.phantom.simulate_behind_photo`. They come in turn, until there are ``n_eyes``.
            Eyes with a diagnosis other than ``"normal"`` are left out, and photos in which disc or fovea is
            uncertain, or that do not show the whole scan: behind these the disc, the pit or a vessel would
            lie where the photo has none.

    Returns:
        What became of each eye. The photos that do not show disc, fovea and the whole scan are among those
        that were left out, with the reason. How many were left out for their diagnosis is among the remarks.

    Raises:
        DataError: if ``out`` exists, is read, or cannot be made, or if ``photos`` holds no photo of a healthy
            eye, or none that shows disc, fovea and the whole scan.
        ValueError: if ``n_eyes`` or ``workers`` is not positive, ``seed`` is negative, or ``config`` asks for
            what cannot be simulated behind a photo.

    Example:
        >>> small = PhantomConfig(n_depth=32, n_ascans=48, fundus_px=48)
        >>> simulate_file("mine.h5", 1, seed=7, config=small).imported
        ['sim7-0000000-OD']
    """
    if n_eyes < 1 or workers < 1:
        raise ValueError(f"n_eyes and workers: expected at least 1, found {n_eyes} and {workers}")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, found {seed}")
    config = config or PhantomConfig()
    remarks, left_out = list[str](), list[tuple[str, str]]()
    if photos is None:
        candidates = [
            Candidate(
                f"simulated eye {number}",
                partial(_simulate, seed, number, config),
                fingerprint_of((), "phantom", seed, number, config),
            )
            for number in range(n_eyes)
        ]
    else:
        check_behind_photo(config)
        with EyeReader(photos) as reader:
            check_inputs([out], reader.paths)
            found = _places_in(reader, _healthy_photos(reader, remarks), n_eyes, config, left_out)
            digest = reader.digest()
        keys = list(found)
        candidates = [
            Candidate(
                f"eye {draw} behind the photo {key}",
                partial(_simulate_behind, str(photos), key, found[key], seed, draw, config),
                fingerprint_of((), "behind a photo", digest, key, found[key], seed, draw, config),
            )
            for draw, key in ((number // len(keys), keys[number % len(keys)]) for number in range(n_eyes))
        ]
    report = make_file(
        candidates,
        out,
        overwrite,
        workers=workers,
        compression=compression,
        wait=wait,
        description="simulating eyes",
    )
    report.remarks += remarks
    report.skipped += left_out
    return report


def _healthy_photos(reader: EyeReader, remarks: list[str]) -> list[str]:
    """Keys of the eyes behind whose photos a healthy eye may be simulated; a remark tells of the others."""
    infos = [reader.info(key) for key in reader.keys]
    photos = [info for info in infos if "fundus" in info.arrays]
    if not photos:
        raise DataError(f"{reader.path}: expected eyes with a photo, found none in {len(infos)}")
    healthy = [info.key for info in photos if _is_healthy(info.diagnosis)]
    if len(healthy) == len(photos):
        return healthy
    ill = Counter(info.diagnosis for info in photos if not _is_healthy(info.diagnosis))
    diagnoses = ", ".join(f"{diagnosis} {n}" for diagnosis, n in ill.most_common(_NAMED))
    if not healthy:
        raise DataError(
            f"{reader.path}: expected photos of healthy eyes, for such are simulated behind them, found a "
            f"diagnosis with all {len(photos)} ({diagnoses}); take photos of eyes that are {HEALTHY!r}"
        )
    remarks.append(
        f"left out {len(photos) - len(healthy)} of {len(photos)} photos for their diagnosis ({diagnoses}): "
        "only healthy eyes are simulated behind photos"
    )
    return healthy


def _places_in(
    reader: EyeReader, keys: list[str], most: int, config: PhantomConfig, left_out: list[tuple[str, str]]
) -> dict[str, Landmarks]:
    """Disc and fovea of the first photos, at most so many, that can be used; ``left_out`` tells of others."""
    found = dict[str, Landmarks]()
    for key in with_progress(keys, len(keys), "looking for disc and fovea"):
        if len(found) == most:
            break
        try:
            found[key] = _landmarks(reader, key, config)
        except DataError as error:
            left_out.append((f"photo {key}", str(error)))
    if not found:
        raise DataError(
            f"{reader.path}: expected photos that show disc, fovea and the whole scan, found none in "
            f"{len(keys)}; the first, {named(*left_out[0])}"
        )
    return found


def _landmarks(reader: EyeReader, key: str, config: PhantomConfig) -> Landmarks:
    eye = reader.read(key)
    assert eye.fundus is not None
    found = find_landmarks(eye.fundus, eye.laterality)
    for what, confidence in (("disc", found.disc_confidence), ("fovea", found.fovea_confidence)):
        if confidence < _SURE:
            raise DataError(
                f"{reader.path}: eye {key!r}: expected a photo that shows the {what}, found it with a "
                f"confidence of {confidence:.2f}"
            )
    if reason := why_not_shown(Placement(found.fovea, half_width_mm=found.half_width_mm), config):
        raise DataError(f"{reader.path}: eye {key!r}: {reason}")
    return found


def _is_healthy(diagnosis: str) -> bool:
    """Whether nothing says that an eye is ill."""
    return diagnosis.strip().casefold() in ("", HEALTHY)


def _simulate(seed: int, number: int, config: PhantomConfig) -> tuple[Eye, list[str]]:
    return _searched(simulate_eye(seed, number, config))


def _simulate_behind(
    path: str, key: str, found: Landmarks, seed: int, number: int, config: PhantomConfig
) -> tuple[Eye, list[str]]:
    with EyeReader(path) as reader:
        photographed = reader.read(key)
    assert photographed.fundus is not None
    seen = SeenAnatomy(photographed.fundus, found.fovea, found.disc, found.half_width_mm)
    eye, notes = _searched(simulate_behind_photo(seen, seed, number, config, key, photographed.patient))
    history = {name: photographed.history[name] for name in _OF_THE_PHOTO if name in photographed.history}
    eye = replace(eye, sha256=photographed.sha256, history=eye.history | history)
    return replace(eye, masks=photographed.masks, mask_names=photographed.mask_names), notes


def _searched(eye: Eye) -> tuple[Eye, list[str]]:
    """The eye with the pose and the surfaces that the search finds in its volume."""
    notes = list[str]()
    assert eye.volume is not None
    return replace(eye, **searched_fields(eye.volume, eye.spacing_mm, notes)), notes
