"""Pictures: what was in, what came out, and where the scan lies on the photo."""

from fund2oct.visual.contact import draw_contact_sheet
from fund2oct.visual.panel import draw_panel, save_figure

__all__ = ["draw_contact_sheet", "draw_panel", "save_figure"]
