"""Names: which texts may be a username, an identifier, a key or a session's name.

A session's name is always one that the portal could have chosen itself: adjective-scientist, with an optional
number from 2 to 99. Such a name is valid under JupyterHub 6 (1-30 characters, lower case, digits and single
dashes), readable on the phone, and tells nothing about proposal or person.
"""

import re
from collections.abc import Callable, Collection
from typing import Annotated

from pydantic import Field

USERNAME = r"^[a-z][a-z0-9._-]{0,30}$"
IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SLUG = r"^[a-z][a-z0-9-]{0,30}$"
SESSION_ID = r"^[0-9a-f]{16}$"

Username = Annotated[str, Field(pattern=USERNAME)]
Identifier = Annotated[str, Field(pattern=IDENTIFIER)]
Slug = Annotated[str, Field(pattern=SLUG)]
SessionId = Annotated[str, Field(pattern=SESSION_ID)]

ADJECTIVES = tuple(
    "able agile amber bold brave bright brisk calm clear clever cosmic crisp curious daring deft eager early "
    "famous fast fine fresh gentle glad golden grand happy honest jolly keen kind lively loyal lucid lucky "
    "merry mild modest noble patient polite prime proud quick quiet rapid ready royal sharp silver smart "
    "solid steady sunny swift tidy vivid warm wise witty".split()
)
SCIENTISTS = tuple(
    "ampere avogadro banting bethe bohr boltzmann born bragg brockhouse chadwick compton cori curie dirac "
    "doppler einstein elion euler faraday fermi feynman franklin gauss germain goeppert hahn heisenberg "
    "hertz hodgkin hooke huygens joliot kelvin kepler kovalevskaya laue lonsdale lorentz maxwell meitner "
    "mendeleev moseley nernst newton noether onsager pauli perutz planck ramakrishnan raman rontgen "
    "rutherford sanger shull siegbahn thomson tonomura volta watt wu yonath young yukawa".split()
)
_NAME = re.compile(r"([a-z]+)-([a-z]+)(?:-([2-9]|[1-9][0-9]))?", re.ASCII)
_ADJECTIVES, _SCIENTISTS = frozenset(ADJECTIVES), frozenset(SCIENTISTS)


def is_session_name(text: object) -> bool:
    """Tell whether the portal could have chosen this name."""
    match = _NAME.fullmatch(text) if isinstance(text, str) else None
    return match is not None and match[1] in _ADJECTIVES and match[2] in _SCIENTISTS


def session_name(choose: Callable[[tuple[str, ...]], str], taken: Collection[str] = ()) -> str:
    """Return a name that is not taken; `choose` picks one of a tuple, as ``secrets.choice`` does."""
    for _ in range(20):
        name = f"{choose(ADJECTIVES)}-{choose(SCIENTISTS)}"
        if name not in taken:
            return name
    for number in range(2, 100):
        if f"{name}-{number}" not in taken:
            return f"{name}-{number}"
    raise ValueError("no session name is left")


def matches(pattern: str, text: object) -> bool:
    """Tell whether all of a text is of one of this module's patterns (a final newline is none of it)."""
    return isinstance(text, str) and re.fullmatch(pattern.strip("^$"), text, re.ASCII) is not None
