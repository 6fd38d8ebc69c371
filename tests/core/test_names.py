"""Names are refused unless all of their characters are those that were thought of."""

import re
import secrets

import pytest
from pydantic import TypeAdapter, ValidationError

from jupyterhub_daas.core.names import (
    ADJECTIVES,
    IDENTIFIER,
    SCIENTISTS,
    SESSION_ID,
    SLUG,
    USERNAME,
    Identifier,
    SessionId,
    Slug,
    Username,
    is_session_name,
    matches,
    session_name,
)

# What JupyterHub 6 takes as the name of a named server, and nothing less strict.
SERVER_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
PATTERNS = {
    "username": (USERNAME, TypeAdapter(Username)),
    "identifier": (IDENTIFIER, TypeAdapter(Identifier)),
    "slug": (SLUG, TypeAdapter(Slug)),
    "session_id": (SESSION_ID, TypeAdapter(SessionId)),
}
HOSTILE = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "a b",
    "a\n",
    "\na",
    "a\nb",
    "a\r",
    "a\0",
    "a\u2028",
    "'",
    "a'",
    'a"',
    "a;b",
    "a$b",
    "a`b`",
    "a%2fb",
    "-a",
    "_a",
    "аmara",  # Cyrillic a
    "ａmara",  # full width
    "amara\u0301",
    "amara\u200b",
    "ämara",
    "a٣",  # an Arabic digit
    "a²",
    "\ud800",
    "a" * 10_000,
]


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_refuses_a_hostile_name(kind: str, text: str) -> None:
    pattern, adapter = PATTERNS[kind]
    assert not matches(pattern, text)
    with pytest.raises(ValidationError):
        adapter.validate_python(text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("username", "a"),
        ("username", "amara.okafor-2_x"),
        ("username", "a" * 31),
        ("identifier", "20180301"),
        ("identifier", "HC-1.b_C"),
        ("identifier", "x" * 64),
        ("slug", "id21"),
        ("slug", "a" * 31),
        ("session_id", "0123456789abcdef"),
    ],
)
def test_takes_a_name(kind: str, text: str) -> None:
    pattern, adapter = PATTERNS[kind]
    assert matches(pattern, text)
    assert adapter.validate_python(text) == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("username", "Amara"),
        ("username", "1a"),
        ("username", ".a"),
        ("username", "a" * 32),
        ("identifier", ".hidden"),
        ("identifier", "x" * 65),
        ("slug", "a_b"),
        ("slug", "A"),
        ("slug", "1a"),
        ("slug", "a" * 32),
        ("session_id", "0123456789ABCDEF"),
        ("session_id", "0123456789abcde"),
        ("session_id", "0123456789abcdef0"),
    ],
)
def test_refuses_a_name_of_another_form(kind: str, text: str) -> None:
    pattern, adapter = PATTERNS[kind]
    assert not matches(pattern, text)
    with pytest.raises(ValidationError):
        adapter.validate_python(text)


@pytest.mark.parametrize("value", [None, 1, True, b"amara", ["amara"], {}])
def test_only_a_text_is_a_name(value: object) -> None:
    assert not matches(USERNAME, value)
    assert not is_session_name(value)


def test_each_session_name_is_valid_in_the_hub() -> None:
    longest = max(ADJECTIVES, key=len), max(SCIENTISTS, key=len)
    names = [f"{adjective}-{scientist}" for adjective in ADJECTIVES for scientist in SCIENTISTS]
    for name in [*names, f"{longest[0]}-{longest[1]}-99"]:
        assert SERVER_NAME.fullmatch(name), name
        assert "--" not in name
        assert is_session_name(name)
    assert len(set(names)) == len(names) > 3000


@pytest.mark.parametrize(
    "name",
    [
        *HOSTILE,
        "brave",
        "brave-",
        "brave-curie-",
        "brave-curie-1",
        "brave-curie-02",
        "brave-curie-100",
        "brave-curie-2-3",
        "brave-curie\n",
        "brave-curie-٢",
        "Brave-curie",
        "curie-brave",
        "brave-hitler",
        "brave_curie",
        "brave--curie",
        " brave-curie",
        "brave-curie/..",
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_refuses_a_session_name_that_the_portal_would_not_choose(name: str) -> None:
    assert not is_session_name(name)


def test_takes_numbered_session_names() -> None:
    assert all(is_session_name(f"brave-curie-{number}") for number in range(2, 100))


def test_chooses_a_name_that_is_not_taken() -> None:
    taken: set[str] = set()
    for _ in range(500):
        name = session_name(secrets.choice, taken)
        assert name not in taken
        assert is_session_name(name)
        taken.add(name)


def test_numbers_a_name_when_its_words_are_taken() -> None:
    def first(words: tuple[str, ...]) -> str:
        return words[0]

    name = session_name(first)
    taken = {name}
    for number in range(2, 100):
        assert session_name(first, taken) == f"{name}-{number}"
        taken.add(f"{name}-{number}")
    with pytest.raises(ValueError, match="no session name is left"):
        session_name(first, taken)
