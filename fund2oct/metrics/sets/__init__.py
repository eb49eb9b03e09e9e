"""What is measured of sets of eyes: distances, and what a set has in common."""
