"""From a run to a folder that is handed on: the model, its card, its place in the package."""

from fund2oct.run.publishing.writing import Published, publish

__all__ = ["Published", "publish"]
