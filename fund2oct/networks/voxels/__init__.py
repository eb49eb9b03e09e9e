"""The generator that draws voxels, which the baselines use."""
