"""Published folders on the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import ModuleType

from fund2oct.by_path import check_named_by_user
from fund2oct.models.published.files import CARD, CONFIG, WEIGHTS, is_published, read_config

_FORM = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def is_address(name: str | os.PathLike[str]) -> bool:
    """Whether a model is named by its place on the hub, ``hf://OWNER/NAME`` or ``hf://OWNER/NAME@REVISION``."""
    return str(name).startswith("hf:/")


def fetch_from_hub(address: str | os.PathLike[str]) -> Path:
    """Download a published model, unless an earlier call has.

    Only the configuration, the tensors and the card are downloaded.

    Args:
        address: ``hf://OWNER/NAME`` for the newest version, or ``hf://OWNER/NAME@REVISION``. It has to come
            from the user; addresses in files are refused.

    Returns:
        The folder on this machine.

    Raises:
        ValueError: if it is no such address, there is no such model, or the hub cannot be reached.
        ImportError: if ``huggingface_hub`` is not installed.

    Example:
        >>> fetch_from_hub("https://example.org/model")
        Traceback (most recent call last):
        ValueError: https://example.org/model: expected hf://OWNER/NAME, or hf://OWNER/NAME@REVISION
        >>> folder = fetch_from_hub("hf://OWNER/NAME")  # doctest: +SKIP
    """
    check_named_by_user(str(address))
    repository, revision = _parse(address)
    hub = _hub()
    try:
        folder = hub.snapshot_download(repository, revision=revision, allow_patterns=[CONFIG, WEIGHTS, CARD])
    except Exception as error:  # the library of HTTP under it has errors of its own
        raise ValueError(
            f"hf://{repository}: cannot be fetched: {_reason(error)}; check the network and the name"
        ) from error
    if not is_published(folder):
        raise ValueError(f"hf://{repository}: holds no {CONFIG} and {WEIGHTS}; it is no model of fund2oct")
    return Path(folder)


def push_to_hub(folder: str | Path, address: str, private: bool = True) -> str:
    """Upload a published folder to the hub.

    Args:
        folder: a folder that ``fund2oct publish`` wrote.
        address: ``hf://OWNER/NAME``, without a version; the repository is created if it does not exist.
        private: True if a repository that is created can be seen by its owner only.

    Returns:
        Address of the web page of the upload.

    Raises:
        ValueError: if it is no such folder, or the address has another form or names a version, or the hub
            cannot be reached or refuses it.
        ImportError: if ``huggingface_hub`` is not installed.

    Example:
        >>> push_to_hub("published/pix2vol", "hf://OWNER/NAME")  # doctest: +SKIP
        'https://huggingface.co/OWNER/NAME/tree/main'
    """
    read_config(Path(folder))
    repository = check_upload(address)
    allowed, hub = [CONFIG, WEIGHTS, CARD, "*.webp"], _hub()
    try:
        api = hub.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=str(folder), allow_patterns=allowed))
    except Exception as error:  # the library of HTTP under it has errors of its own
        raise ValueError(
            f"hf://{repository}: cannot be uploaded: {_reason(error)}; check the network and your login. "
            f"{folder} is written, and stays: publish again with --overwrite"
        ) from error


def check_upload(address: str) -> str:
    """Refuse an upload that would fail, before anything is written for it.

    Args:
        address: as :func:`push_to_hub` takes it.

    Returns:
        The repository, ``OWNER/NAME``.

    Raises:
        ValueError: if the address has another form, or names a version: an upload makes a new one.
        ImportError: if ``huggingface_hub`` is not installed.

    Example:
        >>> check_upload("hf://OWNER/NAME@v2")
        Traceback (most recent call last):
        ValueError: hf://OWNER/NAME@v2: an upload makes a new version; expected hf://OWNER/NAME
    """
    repository, revision = _parse(address)
    if revision is not None:
        raise ValueError(f"{address}: an upload makes a new version; expected hf://{repository}")
    _hub()
    return repository


def _parse(address: str | os.PathLike[str]) -> tuple[str, str | None]:
    # A Path has made one stroke of two.
    text = re.sub("^hf:/(?!/)", "hf://", str(address))
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text}: expected hf://OWNER/NAME, or hf://OWNER/NAME@REVISION")
    return found["repository"], found["revision"]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError('models on the hub need huggingface_hub: pip install "fund2oct[hub]"') from error
    return huggingface_hub
