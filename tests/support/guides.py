"""What the guides tell administrators to write, for tests that run with it."""

import ast
import re
from typing import Any

from tests.support.stack import ROOT

_BLOCK = re.compile(r"```\{code-block\} python\n *:caption: jupyterhub_config.py\n\n(.*?)```", re.DOTALL)


def provider_of(guide: str) -> dict[str, Any]:
    """Return the one provider that a page of the guides adds."""
    text = (ROOT / "docs" / "how-to" / guide).read_text(encoding="utf-8")
    (assignment,) = _BLOCK.findall(text)
    _, _, value = assignment.partition(" = ")
    (provider,) = ast.literal_eval(value.strip())
    return dict(provider)
