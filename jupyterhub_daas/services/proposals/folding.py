"""Texts as they are searched and sorted: without case, accents and surplus space, digits by their value."""

import re
import unicodedata

TITLE_KEY = 200
ABSTRACT_KEY = 100
_DIGITS = re.compile(r"[0-9]+")


def fold(text: str) -> str:
    """Return a text that is equal for what a person takes to be the same letters."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = "".join(each for each in decomposed if not unicodedata.combining(each))
    # Control characters separate words: some databases refuse them in a text.
    return " ".join("".join(each if each >= " " else " " for each in text.casefold()).split())


def words(search: str) -> tuple[str, ...]:
    """Return the words that must all occur in a text that is found."""
    return tuple(dict.fromkeys(fold(search).split()))


def natural_key(text: str) -> str:
    """Return a key under which ``id2`` comes before ``id16``."""
    return _DIGITS.sub(lambda match: match[0].zfill(12), fold(text))
