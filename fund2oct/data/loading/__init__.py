"""One file of eyes to the batches that a model sees."""
