"""What of a training would do nothing, or other than what it says."""
