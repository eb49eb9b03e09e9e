"""Exact paired augmentation: photo and scan move together, and no B-scan is resampled."""

from __future__ import annotations

from typing import Any, Literal

from fund2oct.geometry import ScanPattern, Symmetry
from fund2oct.retina.pose import apply_symmetry_to_pose

Symmetries = Literal["all", "flips", "none"]


_OTHER_SIDE = {"OD": "OS", "OS": "OD", "": ""}


def allowed_symmetries(scan: ScanPattern, allowed: Symmetries) -> tuple[Symmetry, ...]:
    """Choose the symmetries of a scan that an augmentation may draw from.

    Args:
        scan: pattern of the lines.
        allowed: ``"all"`` symmetries; the ``"flips"``, which are left-right, up-down and both, as far as the
            scan has them, and do not resample the photo; or ``"none"``, which leaves the identity alone.

    Returns:
        The symmetries, the identity first.

    Raises:
        ValueError: if ``allowed`` is another word.

    Example:
        >>> from fund2oct import RadialScan
        >>> [len(allowed_symmetries(RadialScan(6), allowed)) for allowed in ("all", "flips", "none")]
        [24, 4, 1]
    """
    if allowed == "none":
        return (Symmetry(((1.0, 0.0), (0.0, 1.0)), tuple(range(scan.n_slices)), (False,) * scan.n_slices),)
    found = scan.symmetries()
    if allowed == "flips":
        return tuple(symmetry for symmetry in found if symmetry.matrix[0][1] == symmetry.matrix[1][0] == 0)
    if allowed == "all":
        return found
    raise ValueError(f"symmetries: expected 'all', 'flips' or 'none', found {allowed!r}")


def move_sample(sample: dict[str, Any], symmetry: Symmetry) -> dict[str, Any]:
    """Move a sample by a symmetry of its scan: the photo, the volume and all that belongs to them.

    Args:
        sample: what :class:`~fund2oct.data.loading.dataset.FundusOCTDataset` returns, or a part of it.
        symmetry: a symmetry of the sample's scan.

    Returns:
        A new sample, in which each A-scan still lies over the same retina.

    Example:
        >>> from fund2oct import RadialScan
        >>> half_turn = next(one for one in RadialScan(2).symmetries() if one.matrix == ((-1, 0), (0, -1)))
        >>> volume = torch.tensor([1.0, 2.0, 3.0]).expand(1, 2, 1, 3)  # its A-scans are 1, 2 and 3
        >>> move_sample({"volume": volume}, half_turn)["volume"][0, :, 0].tolist()
        [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]
    """
    moved = dict(sample)
    if "fundus" in sample:
        moved["fundus"] = symmetry.apply_to_fundus(sample["fundus"][None])[0]
    for name in ("volume", "rescan", "boundaries_um", "surfaces_um"):
        if name in sample:
            moved[name] = symmetry.apply_to_scan(sample[name], slice_dim=1)
    if "surface_confidence" in sample:
        moved["surface_confidence"] = symmetry.apply_to_scan(sample["surface_confidence"], slice_dim=0)
    if "pose_um" in sample:
        moved["pose_um"] = apply_symmetry_to_pose(sample["pose_um"], symmetry)
    if "grid" in sample:
        # A turn of the photo about its centre moves the scan's positions with the rest of the photo.
        positions = symmetry.apply_to_scan(sample["grid"], slice_dim=0, ascan_dim=1)
        moved["grid"] = positions @ positions.new_tensor(symmetry.matrix).T
    if symmetry.swaps_laterality:
        moved["laterality"] = _OTHER_SIDE[sample["laterality"]]
    return moved
