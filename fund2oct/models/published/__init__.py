"""Trained models as folders that are handed on: tensors, a configuration, a card."""

from fund2oct.models.published.box import box_model, models_in_the_box
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

__all__ = [
    "CARD",
    "CONFIG",
    "WEIGHTS",
    "box_model",
    "fetch_from_hub",
    "is_address",
    "is_published",
    "models_in_the_box",
    "push_to_hub",
    "read_config",
    "read_published",
    "write_published",
]
