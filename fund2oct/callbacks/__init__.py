"""Callbacks that a training run carries."""

from fund2oct.callbacks.memory import MemoryCallback
from fund2oct.callbacks.panel import PanelCallback
from fund2oct.callbacks.record import RunRecordCallback
from fund2oct.callbacks.time_left import TimeLeftCallback

__all__ = ["MemoryCallback", "PanelCallback", "RunRecordCallback", "TimeLeftCallback"]
