"""Pictures: what was in, what came out, and where the scan lies on the photo."""

from fund2oct.visual.contact import draw_contact_sheet
from fund2oct.visual.panel import draw_panel, save_figure
from fund2oct.visual.thickness import draw_thickness

__all__ = ["draw_contact_sheet", "draw_panel", "draw_thickness", "save_figure"]
