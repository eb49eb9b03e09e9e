"""What each scanner writes, as an exam."""
