"""What training alone needs of a model: optimisers and schedules, terms of the loss, a start from a file."""
