"""Many foreign files to one file of eyes."""
