"""From a new photo to the volume that a model draws for it."""
