"""How the documentation is built: hand-written pages in MyST, a reference that is generated from the code."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
# The code of this checkout is documented, whatever else is installed.
sys.path.insert(0, str(HERE.parent))

from jupyterhub_daas import __version__  # noqa: E402

project = "jupyterhub-daas"
author = "The jupyterhub-daas contributors"
copyright = f"2026, {author}"  # noqa: A001 - the name that Sphinx wants
release = __version__

extensions = ["myst_parser", "daas_docs"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_ext"]
default_role = "code"

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"jupyterhub-daas {release}"
html_show_sphinx = False
# Nothing is loaded from elsewhere: the pages can be read inside a closed network.
html_theme_options = {"source_repository": "", "footer_icons": []}
