"""Whether the eyes of a set are alike enough to be learned from together."""

from __future__ import annotations

import numpy as np

from fund2oct.data.loading.dataset import FundusOCTDataset

_SAME = 0.02


def irregularities(dataset: FundusOCTDataset) -> list[str]:
    """What differs between the eyes of a training, and what follows from it.

    * Distances of rows or A-scans more than 2% from their median. A network draws rows and columns, not
      micrometres: it cannot know which eye is sampled how.
    * Photos or volumes of which the importer prepared some and others not.

    Returns:
        A line for each, which names eyes; empty where all are alike.
    """
    found = []
    if dataset.content != "photos":
        spacings_um = 1000 * dataset.spacings_mm()
        for values, axis in zip(spacings_um.T, ("rows", "A-scans"), strict=True):
            found += _spread(values, axis, dataset.keys)
    photos, volumes = dataset.prepared()
    if dataset.content != "volumes" and 0 < photos < 1:
        found.append(
            f"{photos:.0%} of the photos had their light evened at import, the others not; set "
            "normalise_photos=true to do it to all"
        )
    if dataset.content != "photos" and 0 < volumes < 1:
        found.append(
            f"{volumes:.0%} of the volumes were brought to common levels at import, the others not; set "
            "normalise_volumes=true to do it to all"
        )
    return found


def _spread(values_um: np.ndarray, axis: str, keys: tuple[str, ...]) -> list[str]:
    known = np.flatnonzero(np.isfinite(values_um))
    if not len(known):
        return []
    median = float(np.median(values_um[known]))
    unlike = np.abs(values_um[known] / median - 1) > _SAME
    if not unlike.any():
        return []
    low, high = (known[find(values_um[known])] for find in (np.argmin, np.argmax))
    return [
        f"the distance of {axis} differs between eyes, from {values_um[low]:.3g} µm in eye {keys[low]!r} to "
        f"{values_um[high]:.3g} µm in eye {keys[high]!r}, {unlike.sum()} of {len(known)} eyes more than "
        f"{_SAME:.0%} from the median; a model takes the median of {median:.3g} µm for all, so that what it "
        "draws is off by as much; import eyes of one spacing, or train on each kind apart"
    ]
