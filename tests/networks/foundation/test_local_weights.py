"""Weights are found where the user put them, and nowhere else."""

import hashlib

import pytest

from fund2oct.by_path import values_of_a_file
from fund2oct.networks.encoder import available_encoder, encoder_for_file
from fund2oct.networks.foundation.local_weights import find_local_weights, weights_sha256


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder for weights with a file and a folder in it; another folder is the cache."""
    folder = tmp_path / "weights"
    (folder / "dinov2-small").mkdir(parents=True)
    (folder / "dinov2-small/config.json").write_text("{}")
    (folder / "dinov2-small/model.safetensors").write_bytes(b"weights")
    (folder / "dinov2-small/README.md").write_text("not looked at")
    (folder / "RETFound.pth").write_bytes(b"a pickle")
    monkeypatch.setenv("FUND2OCT_WEIGHTS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return folder


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_by_path_by_name_and_by_digest(weights):
    file, folder = weights / "RETFound.pth", weights / "dinov2-small"
    for given in (str(file), "weights/RETFound.pth", "RETFound.pth", "RETFound"):
        found = find_local_weights(given)
        assert (found.path, found.sha256) == (file, sha256(b"a pickle"))
        assert found.pinned == f"RETFound.pth@sha256:{sha256(b'a pickle')}"
    listed = f"{sha256(b'{}')}  config.json\n{sha256(b'weights')}  model.safetensors\n"
    for given in (str(folder), "dinov2-small", "weights/../weights/dinov2-small"):
        found = find_local_weights(given)
        assert (found.path, found.sha256) == (folder, sha256(listed.encode()))
        assert find_local_weights(encoder_for_file(given)) == found
    (folder / "preprocessor_config.json").write_text("{}")  # it decides what the network sees
    assert weights_sha256(folder) != found.sha256


def test_a_link_keeps_its_name(weights, tmp_path):
    (tmp_path / "elsewhere.pth").symlink_to(weights / "RETFound.pth")
    assert find_local_weights("elsewhere.pth").pinned.startswith("elsewhere.pth@")


@pytest.mark.parametrize(
    "name",
    ["magic", "facebook/dinov2-small", "hf://facebook/dinov2-small", "https://huggingface.co/facebook/dinov2-small",
     "weights/none.pth"],
)  # fmt: skip
def test_what_is_not_on_this_machine_is_not_fetched(name, weights):
    assert available_encoder(name) == name
    with pytest.raises(
        ValueError, match=rf"no weights '{name}' on this machine, and none are downloaded; .*hf"
    ):
        encoder_for_file(name)


def test_a_digest_says_which_weights_are_needed_and_where(weights, monkeypatch, tmp_path):
    pinned = find_local_weights("dinov2-small").pinned
    (weights / "dinov2-small/model.safetensors").write_bytes(b"others!")
    with pytest.raises(ModuleNotFoundError, match=r"holds others .SHA-256 \w{12}\.\.\.\); put them"):
        find_local_weights(pinned)
    monkeypatch.delenv("FUND2OCT_WEIGHTS")
    place = r"not found; put them as dinov2-small into .*cache.*or set FUND2OCT_WEIGHTS to the folder"
    with pytest.raises(ModuleNotFoundError, match=place):
        find_local_weights(pinned)


@pytest.mark.parametrize(
    "name",
    [
        "{weights}/RETFound.pth",
        "RETFound.pth",
        "{weights}/RETFound.pth@sha256:{digest}",
        "../weights/RETFound.pth@sha256:{digest}",
        "..@sha256:{digest}",
        ".@sha256:{digest}",
        "RETFound.pth@sha256:{digest}x",
    ],
)
def test_a_file_names_no_path(name, weights):
    digest = sha256(b"a pickle")
    name = name.format(weights=weights, digest=digest)
    with values_of_a_file("model.ckpt", {"encoder": name}):
        with pytest.raises(ValueError, match=r"was read from model.ckpt, which never says"):
            find_local_weights(name)
        assert find_local_weights(f"RETFound.pth@sha256:{digest}").path == weights / "RETFound.pth"


def test_what_code_names_is_found_beside_a_file_that_names_something_else(weights):
    with values_of_a_file("model.ckpt", {"encoder": "own", "weights": {"l1": 1.0}, "masks": ["RETFound"]}):
        assert find_local_weights("weights/RETFound.pth").path == weights / "RETFound.pth"
        with pytest.raises(ValueError, match=r"'RETFound' was read from model.ckpt"):
            find_local_weights("RETFound")
