"""Trained models as folders that are handed on: tensors, a configuration, a card."""

from fund2oct.models.published.files import (
    CARD,
    CONFIG,
    WEIGHTS,
    is_published,
    read_config,
    read_published,
    write_published,
)
from fund2oct.models.published.hub import fetch_from_hub, is_address, push_to_hub
from fund2oct.models.published.shipped import shipped_model, shipped_models

__all__ = [
    "CARD",
    "CONFIG",
    "WEIGHTS",
    "fetch_from_hub",
    "is_address",
    "is_published",
    "push_to_hub",
    "read_config",
    "read_published",
    "shipped_model",
    "shipped_models",
    "write_published",
]
