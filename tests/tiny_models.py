"""Models that are small enough for a test."""

TINY_PIX2VOL = {
    "encoder": "own", "surface_width": 16, "tissue_width": 16, "texture": (8, 8), "feature_width": 0,
    "bscan_width": 8,
}  # fmt: skip
"""A small Pix2Vol that needs nobody's weights."""
