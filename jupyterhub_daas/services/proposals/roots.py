"""The folders that data may lie in. No path leaves them, neither by its text nor by a symbolic link."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

MAX_LINKS = 40


class OutsideRootsError(ValueError):
    """Refuse a path that leads out of the roots."""


class Roots:
    """Judge paths; links are followed at each call, so that one made later is seen."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(PurePosixPath(os.path.normpath(root)) for root in roots)

    def place(self, folder: str) -> PurePosixPath:
        """Return the absolute path of a folder; a relative one lies in the first root that has it."""
        path = clean(folder)
        if path.is_absolute():
            return path
        if not self._roots:
            raise OutsideRootsError("no roots are configured")
        candidates = [root / path for root in self._roots]
        return next((each for each in candidates if os.path.lexists(each)), candidates[0])

    def resolve(self, path: PurePosixPath, known: dict[PurePosixPath, PurePosixPath] | None = None) -> str:
        """Return the path with all links followed, or raise if that lies in no root.

        `known` keeps what was resolved: for many paths at one moment.
        """
        real = follow(path, {} if known is None else known)
        for root in self._roots:
            real_root = follow(root, {} if known is None else known)
            if real != real_root and real.is_relative_to(real_root):
                return str(real)
        raise OutsideRootsError("leads out of the configured roots")


def clean(path: str) -> PurePosixPath:
    """Refuse a text that is no plain path."""
    pure = PurePosixPath(path)
    if ".." in pure.parts or not pure.name:
        raise OutsideRootsError("must be a plain path without '..'")
    if any(ord(character) < 32 for character in path):
        raise OutsideRootsError("must not hold control characters")
    return pure


def follow(
    path: PurePosixPath, known: dict[PurePosixPath, PurePosixPath], links: int = MAX_LINKS
) -> PurePosixPath:
    """Resolve links with one look at each component that `known` lacks; what does not exist is no link."""
    found = known.get(path)
    if found is not None:
        return found
    if path.parent == path:
        return path
    parent = follow(path.parent, known, links)
    if path.name == "..":
        return parent.parent
    real = parent / path.name
    if _is_link(real):
        if links == 0:
            raise OutsideRootsError("leads round in symbolic links")
        real = follow(parent / PurePosixPath(Path(real).readlink()), known, links - 1)
    known[path] = real
    return real


def _is_link(path: PurePosixPath) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        # What can't be seen may be a link to anywhere.
        raise OutsideRootsError("can't be looked at") from error
