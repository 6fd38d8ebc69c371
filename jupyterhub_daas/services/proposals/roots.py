"""The folders that data may lie in. No path leaves them, neither by its text nor by a symbolic link."""

import os
import posixpath
import re
import stat
from collections.abc import Iterable
from pathlib import Path

MAX_LINKS = 40
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class OutsideRootsError(ValueError):
    """Refuse a path that leads out of the roots."""


class Roots:
    """Judge paths; links are followed at each call, so that one made later is seen."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(posixpath.normpath(str(root)) for root in roots)

    def place(self, folder: str) -> str:
        """Return the absolute path of a folder; a relative one lies in the first root that has it."""
        path = clean(folder)
        if path.startswith("/"):
            return path
        if not self._roots:
            raise OutsideRootsError("no roots are configured")
        candidates = [posixpath.join(root, path) for root in self._roots]
        return next((each for each in candidates if os.path.lexists(each)), candidates[0])

    def followed(self) -> dict[str, str]:
        """Return the roots and what is above them with links followed, for `resolve` of many paths."""
        known: dict[str, str] = {}
        for root in self._roots:
            follow(root, known)
        return known

    def resolve(self, path: str, known: dict[str, str] | None = None) -> str:
        """Return the path with all links followed, or raise if that lies in no root.

        What is in `known` was followed before, and what is followed now is added to it.
        """
        known = {} if known is None else known
        real = follow(path, known)
        if not any(real.startswith(follow(root, known).rstrip("/") + "/") for root in self._roots):
            raise OutsideRootsError("leads out of the configured roots")
        return real


def clean(path: str) -> str:
    """Return a plain path, or refuse the text."""
    if _CONTROL.search(path):
        raise OutsideRootsError("must not hold control characters")
    plain = posixpath.normpath(path)
    if ".." in path.split("/") or plain in (".", "/", "//"):
        raise OutsideRootsError("must be a plain path without '..'")
    return "/" + plain.lstrip("/") if plain.startswith("/") else plain


def follow(path: str, known: dict[str, str], links: int = MAX_LINKS) -> str:
    """Resolve links with one look at each component that `known` lacks; what does not exist is no link."""
    found = known.get(path)
    if found is not None:
        return found
    above, name = posixpath.split(path)
    if above == path:
        return path
    parent = follow(above, known, links)
    if name == "..":
        return posixpath.dirname(parent)
    real = posixpath.join(parent, name) if name not in ("", ".") else parent
    if _is_link(real):
        if links == 0:
            raise OutsideRootsError("leads round in symbolic links")
        real = follow(posixpath.join(parent, _target(real)), known, links - 1)
    known[path] = real
    return real


def _target(link: str) -> str:
    try:
        return str(Path(link).readlink())
    except OSError as error:
        raise OutsideRootsError("changes while it is looked at") from error


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        # What can't be seen may be a link to anywhere.
        raise OutsideRootsError("can't be looked at") from error
