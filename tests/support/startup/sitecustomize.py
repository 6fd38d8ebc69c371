"""What each of these Pythons does first: its start is a tenth shorter."""

import gc
import sys

# While everything is imported there is no garbage to find.
gc.set_threshold(50_000, 20, 50)
# Colours for error pages of Mako, through Alembic, from a package that only the tests' environment has.
sys.modules["mako.ext.pygmentplugin"] = None  # type: ignore[assignment]
