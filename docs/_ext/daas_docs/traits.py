"""The configurable traits of a class, with their own help."""

import inspect
import textwrap

from traitlets import TraitType
from traitlets.config import Configurable

from daas_docs import rst


def render_traits(path: str) -> str:
    """Return the traits that a class adds to those of JupyterHub."""
    cls = rst.load(path)
    if not (isinstance(cls, type) and issubclass(cls, Configurable)):
        raise TypeError(f"{path} has no traits")
    lines: list[str] = []
    for name, trait in sorted(cls.class_own_traits(config=True).items()):
        lines += _trait(cls.__name__, name, trait)
    return "\n".join(lines)


def _trait(owner: str, name: str, trait: TraitType[object, object]) -> list[str]:
    if not trait.help:
        raise ValueError(f"{owner}.{name} has no help")
    text = inspect.cleandoc(str(trait.help))
    return [
        f".. confval:: c.{owner}.{name}",
        f"   :type: {type(trait).__name__}",
        "",
        textwrap.indent(text, "   "),
        "",
    ]
