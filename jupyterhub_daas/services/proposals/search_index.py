"""Find proposals among a hundred thousand in the time of ten: all that is searched is in memory, as sets.

A word that is searched never spans two words of a text, so a text holds it where one of its own words does:
the index has each different word once, and the set of the proposals whose texts have it. Proposals are
numbered by identifier; a set is an integer with one binary digit for each, the first proposal's first.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from jupyterhub_daas.services.proposals.listing import SORT_COLUMNS, Listing

# Almost every text holds a word as short as this: its set is kept, and not made of thousands.
GRAM = 2
# What is fewer than one proposal in so many is sorted; a page of more is found by going through all in order.
FEW = 16
_YES = ord("1")

Parts = Mapping[str, bytes]


class Entry(NamedTuple):
    """What is searched of a proposal; `keys` are those of the sort columns by their name."""

    identifier: str
    state: str
    text: str
    instruments: tuple[str, ...]
    keys: Mapping[str, str]


class NamedSets:
    """Sets of proposals by name; a set of few is kept as a list of numbers."""

    def __init__(self, parts: Parts, name: str, width: int) -> None:
        self._names = parts[f"{name}.names"].decode()
        self._starts = _numbers(parts[f"{name}.starts"])
        self._bounds = _numbers(parts[f"{name}.bounds"])
        self._sets = memoryview(parts[f"{name}.sets"])
        self._width = width

    def named(self, name: str) -> int:
        """Return the set of exactly this name; of none if there is no such name."""
        at = self._names.find(f"\n{name}\n")
        return 0 if at < 0 else self._union((bisect_right(self._starts, at + 1) - 1,))

    def holding(self, word: str) -> int:
        """Return the union of all whose name holds a word."""
        return self._union(self._places(word))

    def _places(self, word: str) -> Iterator[int]:
        at = self._names.find(word)
        while at >= 0:
            place = bisect_right(self._starts, at) - 1
            yield place
            at = self._names.find(word, self._starts[place + 1])

    def _union(self, places: Iterable[int]) -> int:
        found, few = 0, array("I")
        for place in places:
            piece = self._sets[self._bounds[place] : self._bounds[place + 1]]
            if len(piece) == self._width:
                found |= int.from_bytes(piece, "big")
            else:
                few.frombytes(piece)
        return found | set_of(few, self._width)


class ProposalIndex:
    """One snapshot's index: made of the parts that `build_parts` returned; `version` tells it from others."""

    def __init__(self, version: str, parts: Parts) -> None:
        self.version = version
        self._identifiers = parts["identifiers"].decode().split()
        self._width = _width(len(self._identifiers))
        self._words, self._grams, self._states, self._places = (
            NamedSets(parts, name, self._width) for name in ("words", "grams", "states", "places")
        )
        self._orders = {key: _numbers(parts[f"order.{key}"]) for key in SORT_COLUMNS.values()}
        self._ranks = {key: _numbers(parts[f"rank.{key}"]) for key in SORT_COLUMNS.values()}

    def find(
        self, listing: Listing, *, own: Collection[str], instruments: Collection[str]
    ) -> tuple[Sequence[str], int]:
        """Return a page of identifiers, and how many are found on all pages.

        Seen are the person's `own` proposals and all at the `instruments`.
        """
        found = self._set_of(own)
        for each in instruments:
            found |= self._places.named(each)
        if listing.state is not None:
            found &= self._states.named(listing.state.value)
        if listing.instrument is not None:
            found &= self._places.named(listing.instrument)
        if listing.identifiers is not None:
            found &= self._set_of(listing.identifiers)
        for word in listing.words:
            found &= self._grams.named(word) if len(word) <= GRAM else self._words.holding(word)
        total = found.bit_count()
        page = islice(self._sorted(found, total, listing), listing.offset, listing.offset + listing.limit)
        return [self._identifiers[each] for each in page], total

    def _sorted(self, found: int, total: int, listing: Listing) -> Iterable[int]:
        digits = format(found, f"0{8 * self._width}b")
        if total * FEW < len(self._identifiers):
            rank = self._ranks[listing.column]
            return sorted(_ones(digits), key=rank.__getitem__, reverse=listing.descending)
        order = self._orders[listing.column]
        return (each for each in (reversed(order) if listing.descending else order) if digits[each] == "1")

    def _set_of(self, identifiers: Iterable[str]) -> int:
        known = self._identifiers
        places = ((bisect_left(known, each), each) for each in identifiers)
        numbers = [place for place, each in places if place < len(known) and known[place] == each]
        return set_of(numbers, self._width)


def build_parts(entries: Sequence[Entry]) -> dict[str, bytes]:
    """Return the parts of the index of these proposals, which are sorted by identifier."""
    width = _width(len(entries))
    words, states, places = (defaultdict[str, "array[int]"](lambda: array("I")) for _ in range(3))
    grams = defaultdict[str, bytearray](lambda: bytearray(width))
    grams_of_word: dict[str, frozenset[str]] = {}
    for number, entry in enumerate(entries):
        states[entry.state].append(number)
        for instrument in entry.instruments:
            places[instrument].append(number)
        own = set(entry.text.split())
        for word in own:
            words[word].append(number)
            if word not in grams_of_word:
                grams_of_word[word] = _grams_of(word)
        place, digit = number >> 3, 128 >> (number & 7)
        for gram in frozenset().union(*(grams_of_word[word] for word in own)):
            grams[gram][place] |= digit
    parts = {"identifiers": "\n".join(entry.identifier for entry in entries).encode()}
    for name, sets in (("words", words), ("states", states), ("places", places)):
        parts |= _named_sets(name, ((each, _packed(numbers, width)) for each, numbers in sets.items()))
    parts |= _named_sets("grams", ((each, bytes(digits)) for each, digits in grams.items()))
    for key in SORT_COLUMNS.values():
        parts |= _sorting(key, entries)
    return parts


def set_of(numbers: Collection[int], width: int) -> int:
    """Return the set of these proposals; `width` is the bytes of a set."""
    if not numbers:
        return 0
    digits = bytearray(b"0") * (8 * width)
    for number in numbers:
        digits[number] = _YES
    return int(digits, 2)


def _width(proposals: int) -> int:
    # At least one byte: a set of width 0 would be a list of none.
    return max(1, (proposals + 7) // 8)


def _numbers(part: bytes) -> "array[int]":
    return array("I", part)


def _ones(digits: str) -> Iterator[int]:
    at = digits.find("1")
    while at >= 0:
        yield at
        at = digits.find("1", at + 1)


def _grams_of(word: str) -> frozenset[str]:
    return frozenset(
        word[at : at + long] for long in range(1, GRAM + 1) for at in range(len(word) - long + 1)
    )


def _packed(numbers: "array[int]", width: int) -> bytes:
    if len(numbers) * numbers.itemsize < width:
        return numbers.tobytes()
    return set_of(numbers, width).to_bytes(width, "big")


def _named_sets(name: str, sets: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    names, pieces = [""], []
    starts, bounds = array("I", [1]), array("I", [0])
    for each, piece in sets:
        names.append(each)
        pieces.append(piece)
        starts.append(starts[-1] + len(each) + 1)
        bounds.append(bounds[-1] + len(piece))
    return {
        f"{name}.names": "\n".join([*names, ""]).encode(),
        f"{name}.starts": starts.tobytes(),
        f"{name}.bounds": bounds.tobytes(),
        f"{name}.sets": b"".join(pieces),
    }


def _sorting(key: str, entries: Sequence[Entry]) -> dict[str, bytes]:
    order = sorted(range(len(entries)), key=lambda each: (entries[each].keys[key], each))
    rank = array("I", bytes(4 * len(entries)))
    for place, number in enumerate(order):
        rank[number] = place
    return {f"order.{key}": array("I", order).tobytes(), f"rank.{key}": rank.tobytes()}
