"""A section of the reference: a table of names, then each of them in full."""

from importlib import import_module
from types import ModuleType

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Subject(SphinxDirective):
    """``.. subject:: MODULE``, with a name in each line; without any, all public names of the module."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module = import_module(self.arguments[0])
        names = [line.strip() for line in self.content if line.strip()] or public_names(module)
        table = [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names), ""]
        full = [line for name in names for line in _full(module, name)]
        text = "\n".join([f".. currentmodule:: {module.__name__}", "", *table, *full])
        return self.parse_text_to_nodes(text)


def public_names(module: ModuleType) -> list[str]:
    """What the module exports, or else defines."""
    return getattr(module, "__all__", None) or [
        name
        for name, found in vars(module).items()
        if not name.startswith("_") and getattr(found, "__module__", None) == module.__name__
    ]


def _full(module: ModuleType, name: str) -> list[str]:
    found = getattr(module, name)
    if isinstance(found, type):
        return [f".. autoclass:: {name}", "   :members:", ""]
    return [f".. {'autofunction' if callable(found) else 'autodata'}:: {name}", ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("subject", Subject)
    return {"parallel_read_safe": True}
