"""Sphinx settings. Build with `make docs`; every warning is an error."""

from importlib.metadata import version as installed

project = "poisonsieve"
author = "The poisonsieve maintainers"
copyright = author  # noqa: A001 - Sphinx reads this name
release = version = installed("poisonsieve")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"poisonsieve {release}"

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

# Docstrings are Google style, and mark code with single backticks.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"npt.ArrayLike": "ArrayLike"}
