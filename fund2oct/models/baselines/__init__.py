"""Models from other people's papers, to compare with."""
