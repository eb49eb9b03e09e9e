"""Where weights lie, and readers of the files of weights; they never run code from such a file."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, np.ndarray]


def weight_folders() -> list[Path]:
    """Folders in which weights are looked for: that of ``FUND2OCT_WEIGHTS`` if it is set, then the cache."""
    own = os.environ.get("FUND2OCT_WEIGHTS")
    return [*([Path(own)] if own else []), cache_folder()]


def cache_folder() -> Path:
    """The folder into which ``fund2oct weights fetch`` downloads."""
    if os.environ.get("XDG_CACHE_HOME"):
        folder = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        folder = Path(os.environ["LOCALAPPDATA"])
    else:
        folder = Path.home() / ".cache"
    return folder / "fund2oct" / "weights"


def read_tensors(path: Path) -> Tensors:
    """Read ``.safetensors``, ``.pth`` (PyTorch), ``.ckpt`` (a pickle of arrays) or ``.h5`` (Keras).

    Raises:
        ValueError: if the file is broken or holds something else than named arrays.
        OSError: if it cannot be opened.
    """
    return parse_tensors(path.read_bytes(), path.suffix, str(path))


def parse_tensors(data: bytes, suffix: str, label: str) -> Tensors:
    """Read the content of a file like :func:`read_tensors`; messages call it ``label``."""
    try:
        return _PARSERS[suffix](data)
    # What a broken file raises depends on where it broke, in each of four libraries.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{label}: broken or no file of weights ({reason})") from error


def read_saved(path: Path, asked_by: str) -> Mapping[Any, Any]:
    """Read any ``.safetensors`` or ``torch.save`` file, without running anything in it.

    Args:
        path: the file.
        asked_by: the setting that names it, for messages.

    Returns:
        What it holds by name: tensors and plain values.

    Raises:
        ValueError: if there is no such file, it is damaged, or it holds nothing by name.
    """
    import torch

    if path.is_dir():
        raise ValueError(
            f"{asked_by}: {path}: is a folder; name the file in it, as a training's checkpoints/last.ckpt"
        )
    if not path.is_file():
        raise ValueError(f"{asked_by}: {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # Training scripts like to save their arguments beside the weights; these are plain values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{asked_by}: {path}: holds more than tensors and plain values, which could run code; refused. "
            "Where you trust it, load it yourself and save its state_dict() as .safetensors"
        ) from None
    except Exception as error:  # on a damaged file the readers raise whatever they stumble over
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{asked_by}: {path}: damaged or no file of weights ({reason})") from None
    if isinstance(found, torch.Tensor) or not isinstance(found, Mapping):
        raise ValueError(f"{asked_by}: {path}: expected tensors by name, found a {type(found).__name__}")
    return found


def read_weights(path: Path, asked_by: str) -> dict[str, Tensor]:
    """Read the weights in a file, see :func:`read_saved`.

    In a file of ``torch.save`` they may lie in a dictionary, as Lightning, timm and MAE write it.

    Args:
        path: the file.
        asked_by: the setting that names it, for messages.

    Returns:
        Tensors by their names.

    Raises:
        ValueError: if the file cannot be read, or it holds no tensors by name.
    """
    found = read_saved(path, asked_by)
    # Beside a network's weights there may be an optimiser's, or an average of the network.
    weights = max((_by_name(one) for one in (found, *found.values())), key=len)
    if not weights:
        named = ", ".join(map(str, list(found)[:3])) or "none"
        raise ValueError(f"{asked_by}: {path}: expected tensors by name, found {named}")
    return weights


def _by_name(values: object) -> dict[str, Tensor]:
    import torch

    if not isinstance(values, Mapping):
        return {}
    return {name: v for name, v in values.items() if isinstance(name, str) and isinstance(v, torch.Tensor)}


def tensors_sha256(tensors: Tensors) -> str:
    """SHA-256 of names, types, shapes and values, whatever the format of the file that held them."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def write_safetensors(path: Path, tensors: Tensors) -> None:
    """Write a file whole or not at all, making its folder."""
    from safetensors.numpy import save

    from fund2oct.outputs import whole_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        # safetensors takes C order for granted and would write others' values in disorder.
        part.write_bytes(save({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}))


class ArrayUnpickler(pickle.Unpickler):
    """Reads NumPy arrays out of a pickle, and refuses everything else.

    The few names that arrays need are mapped to known objects, so a file can import nothing. It reads the
    pickle protocols 3 and 4.
    """

    _RECONSTRUCT = np.empty(0).__reduce__()[0]
    _ADMITTED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Look up a name among those that arrays need."""
        try:
            return self._ADMITTED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module_name}.{global_name}, where NumPy arrays alone are admitted"
            ) from None


def _parse_pickle(data: bytes) -> Tensors:
    return dict(_flatten(ArrayUnpickler(io.BytesIO(data)).load(), ""))


def _flatten(node: object, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name the arrays of nested dictionaries by their path, as in ``params/Logits/bias``."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _flatten(child, f"{name}/{key}" if name else str(key))
    elif isinstance(node, np.ndarray) and node.dtype.kind in "fiu":
        yield name, node
    else:
        raise TypeError(f"{name or 'its top'}: expected an array of numbers, found {type(node).__name__}")


def _parse_torch(data: bytes) -> Tensors:
    import torch

    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}


def _parse_safetensors(data: bytes) -> Tensors:
    from safetensors.numpy import load

    return load(data)


def _parse_hdf5(data: bytes) -> Tensors:
    import h5py

    tensors: Tensors = {}

    def keep(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            tensors[name] = node[()]

    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(keep)
    return tensors


_PARSERS = {
    ".ckpt": _parse_pickle,
    ".h5": _parse_hdf5,
    ".pth": _parse_torch,
    ".safetensors": _parse_safetensors,
}
