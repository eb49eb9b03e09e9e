"""Networks that fill in what is hidden of photos and volumes, to learn from eyes without pairs."""
