"""A YAML document as a stream of entries: section, key, value, and the line where each part stands.

Made for files of some 100 000 entries: nothing is kept but the entry at hand. Every scalar stays the text
that was written (so `20180301:` is a name and not a number); empty, `~` and `null` are None. A key that is
given twice is an error.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import yaml

from jupyterhub_daas.services.proposals.connectors.base import DirectoryError

MAX_DEPTH = 20
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class PlacedDict(dict[str, Any]):
    """A mapping that knows the line of each key."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str | int, int] = {}


class PlacedList(list[Any]):
    """A sequence that knows the line of each item."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str | int, int] = {}


class Entry(NamedTuple):
    """One entry of a section; `line` is its key's."""

    section: str
    key: str
    value: Any
    line: int

    def line_of(self, place: tuple[str | int, ...]) -> int:
        """Return the line of the innermost part of a place that is in the file."""
        line, value = self.line, self.value
        for part in place:
            if not isinstance(value, PlacedDict | PlacedList) or part not in value.lines:
                break
            line = value.lines[part]
            value = value[part]  # type: ignore[index]  # lines has a key exactly if the container has
        return line


def read_entries(stream: BinaryIO) -> Iterator[Entry]:
    """Yield the entries of the mappings that the document's top level maps to."""
    loader = yaml.CSafeLoader(stream)
    try:
        yield from _Document(loader).entries()
    except yaml.MarkedYAMLError as error:
        line = _line_at(error.problem_mark or error.context_mark)
        raise DirectoryError(f"line {line}: {error.problem or 'no YAML'}", line=line) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DirectoryError("the file is no UTF-8 text in YAML") from error
    finally:
        loader.dispose()


def _line_at(mark: Any) -> int:
    # People count lines from one.
    return 1 if mark is None else int(mark.line) + 1


class _Document:
    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._anchors: dict[str, Any] = {}

    def entries(self) -> Iterator[Entry]:
        self._loader.get_event()
        if self._loader.check_event(yaml.StreamEndEvent):
            return
        self._loader.get_event()
        event = self._loader.get_event()
        if isinstance(event, yaml.ScalarEvent) and event.value in _NULLS:
            return
        self._expect_mapping(event)
        seen: set[str] = set()
        while (key := self._key(seen)) is not None:
            event = self._loader.get_event()
            if isinstance(event, yaml.ScalarEvent) and event.value in _NULLS:
                continue
            self._expect_mapping(event)
            yield from self._section(key[0])
        self._loader.get_event()
        if not self._loader.check_event(yaml.StreamEndEvent):
            raise self._error(self._loader.peek_event(), "a second document; there may be one only")

    def _section(self, section: str) -> Iterator[Entry]:
        seen: set[str] = set()
        while (key := self._key(seen)) is not None:
            yield Entry(section, key[0], self._value(self._loader.get_event(), 0), key[1])

    def _key(self, seen: set[str]) -> tuple[str, int] | None:
        event = self._loader.get_event()
        if isinstance(event, yaml.MappingEndEvent):
            return None
        if not isinstance(event, yaml.ScalarEvent):
            raise self._error(event, "a key must be a text")
        if event.value in seen:
            raise self._error(event, f"{event.value[:80]!r} is given twice")
        seen.add(event.value)
        return event.value, _line_at(event.start_mark)

    def _value(self, event: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self._error(event, "nested too deeply")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(event, "an alias of nothing before it")
            return self._anchors[event.anchor]
        if event.tag is not None and not event.tag.startswith("tag:yaml.org,2002:"):
            raise self._error(event, "tags are not known here")
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = None if event.implicit[0] and event.value in _NULLS else event.value
        elif isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(depth)
        else:
            value = self._sequence(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _mapping(self, depth: int) -> PlacedDict:
        value = PlacedDict()
        seen: set[str] = set()
        while (key := self._key(seen)) is not None:
            value.lines[key[0]] = key[1]
            value[key[0]] = self._value(self._loader.get_event(), depth + 1)
        return value

    def _sequence(self, depth: int) -> PlacedList:
        value = PlacedList()
        while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
            value.lines[len(value)] = _line_at(event.start_mark)
            value.append(self._value(event, depth + 1))
        return value

    def _expect_mapping(self, event: Any) -> None:
        if not isinstance(event, yaml.MappingStartEvent):
            raise self._error(event, "must be a mapping of names")

    def _error(self, event: Any, problem: str) -> DirectoryError:
        line = _line_at(event.start_mark)
        return DirectoryError(f"line {line}: {problem}", line=line)
