"""The generator of surfaces, tissue and texture."""
