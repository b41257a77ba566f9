"""The site's build: `sphinx-build -W -n docs FOLDER`, without the network."""

from __future__ import annotations

import wsgi_sessions

project = "wsgi_sessions"
author = "the maintainers"
version = release = wsgi_sessions.__version__

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]

nitpicky = True
html_theme = "furo"
html_title = f"wsgi_sessions {release}"
html_copy_source = False
html_show_sphinx = False
