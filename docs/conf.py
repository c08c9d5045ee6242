"""Sphinx configuration."""

import sys
from pathlib import Path

import renga

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Renga"
author = "The Renga authors"
version = release = renga.__version__
extensions = [
    "myst_parser",
    "reference",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sidebar",
]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = "Renga"
html_show_copyright = False
autodoc_typehints = "none"  # signatures have them, as the source does
python_use_unqualified_type_names = True
default_role = "py:obj"  # `name` links to its entry, if it has one
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_custom_sections = [("Learned parameters", "params_style")]
napoleon_attr_annotations = False
napoleon_use_ivar = True  # attributes of NamedTuples are documented once
nitpicky = True  # what a page or docstring refers to in Renga by a role must be there
nitpick_ignore_regex = [("py:obj", "(?s).*"), ("py:class", r"(?!renga).*|.*\._.*")]  # code, types of others
suppress_warnings = []
