"""From an anatomy to its photo and its volume."""
