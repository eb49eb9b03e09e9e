"""Callbacks that a training run carries."""

from fund2oct.callbacks.panel import PanelCallback
from fund2oct.callbacks.record import RunRecordCallback

__all__ = ["PanelCallback", "RunRecordCallback"]
