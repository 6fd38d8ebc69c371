"""Run the demo: ``python -m demo``, from the folder that scripts/demo prepares."""

import sys

from demo.guardian import guard
from demo.run import run

sys.exit(guard(run))
