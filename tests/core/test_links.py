"""Whose an identity is: every combination of what the directory says and what is kept, one row per case."""

import pytest

from jupyterhub_daas.core.links import Held, LinkSource, Owner, owner_of

BY_DIRECTORY = Held("amara", LinkSource.DIRECTORY)
BY_PERSON = Held("amara", LinkSource.PERSON)
BY_STAFF = Held("amara", LinkSource.STAFF)
TAKEN = Held(withdrawn="amara")
NEVER = Held()
AMARA, BRUNO, NOBODY = Owner(username="amara"), Owner(username="bruno"), Owner()
DISPUTED = Owner(disputed=True)

CASES: dict[str, tuple[str | None, Held, Owner]] = {
    "nobody knows it": (None, NEVER, NOBODY),
    "the directory alone": ("amara", NEVER, AMARA),
    "the directory still": ("amara", BY_DIRECTORY, AMARA),
    "the directory gave it up": (None, BY_DIRECTORY, NOBODY),
    "the directory gave it to another": ("bruno", BY_DIRECTORY, BRUNO),
    "linked by the person": (None, BY_PERSON, AMARA),
    "linked by the person, the directory agrees": ("amara", BY_PERSON, AMARA),
    "linked by the person, the directory names another": ("bruno", BY_PERSON, DISPUTED),
    "linked by staff": (None, BY_STAFF, AMARA),
    "linked by staff, the directory agrees": ("amara", BY_STAFF, AMARA),
    "linked by staff, the directory names another": ("bruno", BY_STAFF, AMARA),
    "taken by hand": (None, TAKEN, NOBODY),
    "taken by hand, the directory still names her": ("amara", TAKEN, NOBODY),
    "taken by hand, the directory names another": ("bruno", TAKEN, BRUNO),
}


@pytest.mark.parametrize(("directory", "held", "owner"), CASES.values(), ids=CASES)
def test_whose_it_is(directory: str | None, held: Held, owner: Owner) -> None:
    assert owner_of(directory=directory, held=held) == owner
