"""The site's build: `sphinx-build -W -n docs FOLDER`, without the network."""

from __future__ import annotations

import re
import sys
from collections import abc
from typing import Any

import wsgi_sessions

project = "wsgi_sessions"
author = "the maintainers"
version = release = wsgi_sessions.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]

nitpicky = True
# Types in signatures that are another project's, or private here: their names say enough.
nitpick_ignore_regex = [("py:.*", ".*")]
# Two classes have one name, which Django prescribes: a type in a signature may mean either.
suppress_warnings = ["ref.python"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
maximum_signature_line_length = 72
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
default_role = "code"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_title = f"wsgi_sessions {release}"
html_copy_source = False
html_show_sphinx = False


def resolve(cls: type) -> None:
    """Give its module what its annotations name, which is imported for type checkers alone.

    msgspec's classes have no signature of their own: autodoc evaluates their annotations.
    """
    module = vars(sys.modules[cls.__module__])
    for annotation in cls.__annotations__.values():
        for name in re.findall(r"\b[A-Z]\w+", str(annotation)):
            module.setdefault(name, getattr(abc, name, Any))


resolve(wsgi_sessions.Transaction)
