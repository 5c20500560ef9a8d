"""Sphinx: MyST pages, furo, no autodoc. ``generate.py`` writes the pages that the code knows."""

from atoll import __version__

project = "Atoll"
project_copyright = "the Atoll authors"
release = version = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

html_theme = "furo"
html_title = f"Atoll {release}"
html_show_sphinx = False
