"""Colour fundus photograph to OCT volume, with the scan's geometry known."""

__version__ = "0.1.0"
