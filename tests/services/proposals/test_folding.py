"""Texts are searched as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_daas.services.proposals.folding import fold, natural_key, words

TEXTS = st.text(max_size=60)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Dóra KOVÁCS", "dora kovacs"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ﬁbre", "fibre"),
        ("µ-XRF", "μ-xrf"),
        ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
        ("İstanbul", "istanbul"),
        (" a \t\n b\u00a0c ", "a b c"),
        ("a\0b\x07c", "a b c"),
        ("日本", "日本"),
    ],
)
def test_folds_case_accents_and_space(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(TEXTS)
def test_folding_twice_is_folding_once(text: str) -> None:
    once = fold(text)
    assert fold(once) == once
    assert all(each >= " " for each in once)


@given(TEXTS)
def test_a_text_is_found_by_each_of_its_words(text: str) -> None:
    assert all(word in fold(text) for word in words(text))


def test_numbers_sort_by_value() -> None:
    names = ["id16", "ID2", "MA-100", "MA-20", "MA-3"]
    assert sorted(names, key=natural_key) == ["ID2", "id16", "MA-3", "MA-20", "MA-100"]
