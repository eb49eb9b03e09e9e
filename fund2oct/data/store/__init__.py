"""One HDF5 file of eyes: how it is laid out, written whole, read lazily and checked."""
