"""Photo and volume brought to one form; importers and predictions stand on it alike."""
