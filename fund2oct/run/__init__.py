"""What the commands do: train, predict."""
