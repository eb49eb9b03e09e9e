"""Callbacks that a training run carries."""

from fund2oct.callbacks.panel import PanelCallback
from fund2oct.callbacks.record import RunRecordCallback
from fund2oct.callbacks.time_left import TimeLeftCallback

__all__ = ["PanelCallback", "RunRecordCallback", "TimeLeftCallback"]
