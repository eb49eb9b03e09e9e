"""Translation of photos: which ones, what is written of each, and what that was made from."""
