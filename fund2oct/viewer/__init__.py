"""One page to look at eyes in a browser: photo, slices, surfaces, thickness, en face and 3D."""

from fund2oct.viewer.page import write_page

__all__ = ["write_page"]
