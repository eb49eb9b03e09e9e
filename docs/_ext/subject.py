"""A section of the reference: a table of names, then each of them in full."""

import inspect
import sys
from importlib import import_module
from types import ModuleType

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective


class Subject(SphinxDirective):
    """``.. subject:: MODULE``, with a name in each line; without any, all public names of the module."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Write the table and the descriptions, and let Sphinx read them."""
        module = import_module(self.arguments[0])
        chosen = [line.strip() for line in self.content if line.strip()]
        # A module that is shown as a whole can be referred to.
        context = "currentmodule" if chosen else "module"
        lines = [f".. {context}:: {module.__name__}", "", ".. list-table::", ""]
        for name in chosen or public_names(module):
            lines += [f"   * - :py:obj:`{name}`", f"     - {_first_sentence(_doc(module, name))}"]
        for name in chosen or public_names(module):
            lines += ["", *_full(module, name)]
        return self.parse_text_to_nodes("\n".join(lines))


def public_names(module: ModuleType) -> list[str]:
    """What the module exports, or else the functions and classes that it defines."""
    return getattr(module, "__all__", None) or [
        name
        for name, found in vars(module).items()
        if getattr(found, "__module__", None) == module.__name__ and not name.startswith("_")
        if isinstance(found, type) or inspect.isroutine(found)
    ]


def _full(module: ModuleType, name: str) -> list[str]:
    found = getattr(module, name)
    if isinstance(found, type):
        return [f".. autoclass:: {name}", "   :members:"]
    if inspect.isroutine(found):
        return [f".. autofunction:: {name}"]
    return [f".. py:data:: {name}", "", *(f"   {line}" for line in _doc(module, name).splitlines())]


def _doc(module: ModuleType, name: str) -> str:
    """The docstring of a function or class, or the text below a value where it is defined."""
    found = getattr(module, name)
    if isinstance(found, type) or inspect.isroutine(found):
        return inspect.getdoc(found) or ""
    package = [one for key, one in sys.modules.items() if key.partition(".")[0] == "fund2oct"]
    for holder in (module, *(one for one in package if vars(one).get(name) is found)):
        docs = ModuleAnalyzer.for_module(holder.__name__).find_attr_docs()
        if ("", name) in docs:
            return "\n".join(docs["", name]).strip()
    raise ValueError(f"{module.__name__}.{name}: expected a docstring below it")


def _first_sentence(doc: str) -> str:
    paragraph = " ".join(doc.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".").removesuffix(":") + "."


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("subject", Subject)
    return {"parallel_read_safe": True}
