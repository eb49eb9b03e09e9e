"""Eyes as files that other programs open; :mod:`fund2oct.export.formats` lists the formats."""

from fund2oct.export.files import export_files
from fund2oct.export.formats import FORMATS, Format, export_eye

__all__ = ["FORMATS", "Format", "export_eye", "export_files"]
