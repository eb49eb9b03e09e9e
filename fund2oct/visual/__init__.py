"""Pictures: what was in, what came out, and where the scan lies on the photo."""

from fund2oct.visual.bscan import ShownVolume
from fund2oct.visual.contact import draw_contact_sheet
from fund2oct.visual.panel import draw_panel
from fund2oct.visual.style import DARK, FIGURE_FORMATS, LIGHT, THEMES, Theme, save_figure, save_figures
from fund2oct.visual.thickness import draw_thickness

__all__ = [
    "DARK",
    "FIGURE_FORMATS",
    "LIGHT",
    "THEMES",
    "ShownVolume",
    "Theme",
    "draw_contact_sheet",
    "draw_panel",
    "draw_thickness",
    "save_figure",
    "save_figures",
]
