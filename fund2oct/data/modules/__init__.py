"""Lightning's datamodules: eyes for training, validation and test."""
