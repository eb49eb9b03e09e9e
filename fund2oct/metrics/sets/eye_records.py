"""Eyes as a distance between sets knows them: by key, each once, whatever order they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fund2oct.eye import some_of

_NAME_BYTES = 64
_ROUNDING = 1e-4
"""How far resampled intensities may leave [0, 1]."""
_SAME = 1e-2
"""Relative difference of two descriptions of one eye, far above the rounding of float32 and TF32."""


Size = tuple[int, ...]
"""S, Z and X of a volume."""


class EyeRecords(NamedTuple):
    """Who the eyes of a batch are, as tensors that processes can exchange.

    Attributes:
        numbers: hash of the key, S, Z, X and number of B-scans of one grey value; int64 ``(B, 5)``.
        names: end of the key in UTF-8, padded with zeros; uint8 ``(B, 64)``.
    """

    numbers: Tensor
    names: Tensor


class GatheredEyes(NamedTuple):
    """Eyes in the order of their hashes, each once.

    Attributes:
        features: on the CPU, shape ``(N, rows, d)``.
        names: of the eyes by the hash of their keys, the last 64 bytes of each.
        size: S, Z and X of all of them; None without an eye.
        constant_slices: number of B-scans of one grey value.
    """

    features: Tensor
    names: dict[int, str]
    size: Size | None
    constant_slices: int


def key_hash(key: str) -> int:
    """Hash of an eye's key, the same in every process and every session; 64 bits, signed."""
    return int.from_bytes(
        hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=8).digest(), "big", signed=True
    )


def record_eyes(volume: Tensor, keys: Sequence[str], role: str) -> EyeRecords:
    """Check a batch of volumes, and note who they are.

    Args:
        volume: intensities in [0, 1], floating point, shape ``(B, 1, S, Z, X)``.
        keys: of the eyes.
        role: ``"fake"`` may hold B-scans of one grey value, which are counted; anything else not.

    Returns:
        The records.

    Raises:
        ValueError: if the shape, type, values or the number of keys are others; it names the eye.
    """
    if volume.ndim != 5 or volume.shape[1] != 1 or volume.numel() == 0:
        raise ValueError(f"{role} volume: expected (B, 1, S, Z, X), found shape {tuple(volume.shape)}")
    if not volume.is_floating_point():
        raise ValueError(f"{role} volume: expected floating point values in [0, 1], found {volume.dtype}")
    if isinstance(keys, str) or len(keys) != len(volume):
        raise ValueError(f"{role} volume: expected one key for each of {len(volume)} eyes, found {keys!r}")
    low, high = volume.flatten(3).aminmax(dim=3)  # (B, 1, S)
    # Written so that NaN, of which every comparison is false, is refused as well.
    fine = ((low >= -_ROUNDING) & (high <= 1 + _ROUNDING)).flatten(1)
    constant = (low == high).flatten(1)
    for number, key in enumerate(keys):
        if not fine[number].all():
            found = volume[number].aminmax()
            raise ValueError(
                f"{role} eye {key!r}: expected intensities in [0, 1], "
                f"found {found.min.item():g} to {found.max.item():g}"
            )
        if role != "fake" and constant[number].any():
            raise ValueError(
                f"{role} eye {key!r}: slice {int(constant[number].int().argmax())} is of one grey value; "
                "leave the eye out, there is nothing to compare with"
            )
    numbers = [
        [key_hash(key), *volume.shape[2:], int(count)]
        for key, count in zip(keys, constant.sum(1), strict=True)
    ]
    names = [
        list(key.encode(errors="surrogateescape")[-_NAME_BYTES:].ljust(_NAME_BYTES, b"\0")) for key in keys
    ]
    return EyeRecords(
        torch.tensor(numbers, dtype=torch.int64, device=volume.device),
        torch.tensor(names, dtype=torch.uint8, device=volume.device),
    )


def no_records(device: torch.device) -> EyeRecords:
    """The records of no eye."""
    return EyeRecords(
        torch.zeros(0, 5, dtype=torch.int64, device=device),
        torch.zeros(0, _NAME_BYTES, dtype=torch.uint8, device=device),
    )


def gather_eyes(features: Tensor, records: EyeRecords, role: str) -> GatheredEyes:
    """Sort eyes by their hash, and drop those seen twice.

    Args:
        features: of the eyes in the order of the records, the same number of rows for each,
            shape ``(n * rows, d)``.
        records: of the eyes.
        role: for messages.

    Returns:
        The eyes.

    Raises:
        ValueError: if the volumes are of different sizes, or two of one key differ by more than a
            hundredth of their features' norm.
    """
    if len(records.numbers) == 0:
        return GatheredEyes(features.cpu().view(0, 1, features.shape[1]), {}, None, 0)
    hashes, sizes = records.numbers[:, 0].cpu(), records.numbers[:, 1:4].cpu()
    names = [bytes(name).rstrip(b"\0").decode(errors="replace") for name in records.names.tolist()]
    size = tuple(sizes[0].tolist())
    for name, found in zip(names, sizes.tolist(), strict=True):
        check_same_size(role, name, tuple(found), size)
    features = features.cpu().view(len(hashes), -1, features.shape[1])
    order = hashes.argsort(stable=True)
    kept = [int(order[0])]
    for number in order[1:].tolist():
        if hashes[number] != hashes[kept[-1]]:
            kept.append(number)
        elif not _same(features[number], features[kept[-1]]):
            raise ValueError(
                f"{role} eye {names[number]!r}: given twice with different volumes; give each eye one "
                "(a generator's noise drawn from the eye's own seed), or keys of their own"
            )
    return GatheredEyes(
        features[kept],
        {int(hashes[number]): names[number] for number in kept},
        size,
        int(records.numbers[kept, 4].sum()),
    )


def check_same_size(role: str, key: str, found: Size, expected: Size) -> None:
    """Refuse an eye whose volume has another size than those before it.

    Raises:
        ValueError: naming the eye.
    """
    if found != expected:
        raise ValueError(
            f"{role} eye {key!r}: expected a volume of (S, Z, X) = {expected} like the other eyes', "
            f"found {found}; bring all to one size"
        )


def check_same_eyes(real: GatheredEyes, other: GatheredEyes, role: str, advice: str) -> None:
    """Refuse sets that do not hold the same eyes.

    Raises:
        ValueError: if an eye is missing on either side; it names up to five.
    """
    for lacking, side, there in ((other, role, real), (real, "real", other)):
        missing = sorted(name for key, name in there.names.items() if key not in lacking.names)
        if missing:
            raise ValueError(
                f"{side} eyes: {len(missing)} of {len(there.names)} are missing: {some_of(missing)}; {advice}"
            )


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= _SAME * torch.maximum(a.norm(), b.norm()))
