"""Sphinx configuration."""

import fund2oct

project = "fund2oct"
author = "The fund2oct developers"
release = fund2oct.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
# Fields of a named tuple are documented where they are listed, not twice.
napoleon_use_ivar = True
autosummary_generate = True
autodoc_typehints = "description"
autodoc_member_order = "bysource"
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
# References to other projects are resolved where their inventories can be reached, and are plain
# text elsewhere.
intersphinx_mapping = {}
nitpicky = False
