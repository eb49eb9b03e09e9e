"""A page of the reference: a table of a module's names, then each of them in full."""

from importlib import import_module

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Subject(SphinxDirective):
    """``.. subject:: MODULE``, with a name of the module in each line."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module = self.arguments[0]
        names = [name.strip() for name in self.content if name.strip()]
        table = [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names), ""]
        full = [line for name in names for line in _full(module, name)]
        text = "\n".join([f".. currentmodule:: {module}", "", *table, *full])
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _full(module: str, name: str) -> list[str]:
    found = getattr(import_module(module), name)
    if isinstance(found, type):
        return [f".. autoclass:: {name}", "   :members:", ""]
    return [f".. {'autofunction' if callable(found) else 'autodata'}:: {name}", ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("subject", Subject)
    return {"parallel_read_safe": True}
