"""Sphinx configuration."""

import renga

project = "Renga"
author = "The Renga authors"
version = release = renga.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Renga"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes of NamedTuples are documented once
nitpicky = False
suppress_warnings = ["docutils", "ref.python", "myst.xref_missing", "toc.not_included"]
