"""Sphinx configuration."""

import sys
from pathlib import Path

import fund2oct

sys.path.append(str(Path(__file__).parent / "_ext"))

project = "fund2oct"
author = "The fund2oct developers"
release = fund2oct.__version__
html_title = f"fund2oct {release}"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    # Formulas, search and icons come with the page: nothing is asked of the network.
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    "subject",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["fund2oct.css"]
html_js_files = [("enlarge.js", {"defer": "defer"})]
templates_path: list[str] = []
# The copy button leaves out prompts.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Fields of a named tuple are documented where they are listed, not twice.
napoleon_use_ivar = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 4

# A reference that leads nowhere is an error, but for two kinds of names. Other projects are named, not
# linked: their inventories cannot be read without a network. And a type that stands for others (Array,
# Content, ...) is written as it is called in the code.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|numpy|np|pytorch_lightning|torchmetrics|matplotlib|collections|concurrent)\..*"),
    (r"py:class", r"(os|pathlib|PIL|jsonargparse)\..*|Path"),
    (r"py:class", r"Array|Call|Compression|Content|Distance|.*EyeIndex|EyePaths|RawBatch|Resize"),
    (r"py:class", r"Balance|Shape|Spacing|StartMethod|Symmetries|Tensors|Transform"),
    (r"py:class", r"Figure|Sampler|Tensor|nn\.Module|fund2oct\.precision\.F"),
]
