"""Who gets which answer, on both databases; and what the answers hold."""

from typing import Any

import pytest

from tests.services.proposals.service import ISSUER, ProposalsProcess

ROUTES = [
    pytest.param(f"people?issuer={ISSUER}&subject=a1", ("daas-hub", "staff"), id="people"),
    pytest.param("people/amara/identities", ("daas-hub", "staff"), id="identities"),
    pytest.param("people/amara", ("amara", "daas-hub", "staff"), id="person"),
    pytest.param("people/amara/proposals", ("amara", "daas-hub", "staff"), id="proposals"),
    pytest.param("proposals/MA-9", ("amara", "bruno", "chiara", "daas-hub", "staff"), id="proposal"),
    pytest.param("proposals/MA-9/members", ("amara", "bruno", "chiara", "daas-hub", "staff"), id="members"),
    pytest.param("proposals/MA-9/datasets", ("amara", "bruno", "chiara", "daas-hub", "staff"), id="datasets"),
    pytest.param("proposals/MA-9/mounts?username=amara", ("amara", "daas-hub", "staff"), id="mounts"),
]
CALLERS = ("amara", "bruno", "chiara", "dora", "zed", "staff", "daas-hub", "plain-service")
NOT_FOUND = {
    "error": {"code": "not_found", "message": "There is nothing here for you.", "field": None},
}


@pytest.mark.parametrize(("path", "allowed"), ROUTES)
def test_answers_only_who_may_see(service: ProposalsProcess, path: str, allowed: tuple[str, ...]) -> None:
    for caller in CALLERS:
        answer = service.get(path, caller)
        if caller in allowed:
            assert answer.status_code == 200, (caller, answer.text)
        else:
            assert (answer.status_code, answer.json()) == (404, NOT_FOUND), caller


@pytest.mark.parametrize(("path", "allowed"), ROUTES)
def test_refuses_without_a_token_for_it(
    service: ProposalsProcess, path: str, allowed: tuple[str, ...]
) -> None:
    for token in (None, "wrong", "elsewhere"):
        answer = service.get(path, token)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize(
    "path",
    [
        "people/nobody",
        "people/nobody/proposals",
        "people/..%2Famara",
        "people/amara%0A",
        "people/AMARA",
        "people/аmara",
        "people/" + "a" * 10_000,
        "proposals/NONE",
        "proposals/SECRET-1",
        "proposals/SECRET-1/members",
        "proposals/SECRET-1/datasets",
        "proposals/SECRET-1/mounts?username=amara",
        "proposals/NONE/mounts?username=amara",
        "proposals/ma-9",
        "proposals/MA-9%0A",
        "proposals/MA-9%00",
        "proposals/%27%20OR%201=1--",
        "proposals/MA-9/mounts?username=bruno",
        "proposals/MA-9/mounts?username=dora",
        "proposals/MA-9/mounts?username=a%00",
        "proposals/MA-9/other",
    ],
)
def test_absent_and_forbidden_answer_alike(service: ProposalsProcess, path: str) -> None:
    answer = service.get(path, "amara")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert answer.json()["error"]["field"] is None
    if not path.endswith("/other"):
        assert answer.json() == NOT_FOUND


def test_nobody_gets_folders_of_a_proposal_that_is_not_hers(service: ProposalsProcess) -> None:
    # The hub's own token sees all proposals, but gives folders to who sees the proposal only.
    for identifier, username in (
        ("SECRET-1", "amara"),
        ("MA-9", "dora"),
        ("MA-9", "nobody"),
        ("NONE", "amara"),
    ):
        answer = service.get(f"proposals/{identifier}/mounts", "daas-hub", username=username)
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_a_person_unknown_to_the_facility_is_absent(service: ProposalsProcess) -> None:
    for path in ("people/zed", "people/zed/proposals"):
        assert service.get(path, "zed").json() == NOT_FOUND


def test_a_known_person_without_proposals_has_none(service: ProposalsProcess) -> None:
    assert service.get("people/dora/proposals", "dora").json() == {"items": [], "total": 0}


def test_lists_the_identities_of_a_person(service: ProposalsProcess) -> None:
    items = service.get("people/amara/identities", "daas-hub").json()["items"]
    assert {"issuer": ISSUER, "subject": "a1"} in items
    assert {"issuer": ISSUER, "subject": "a2"} in items
    for username in ("dora", "nobody"):
        assert service.get(f"people/{username}/identities", "daas-hub").json() == {"items": []}


MEMBERSHIPS = {
    ("amara", "MA-9"): True,
    ("bruno", "MA-9"): True,
    ("chiara", "MA-9"): True,  # as scientist of its instrument
    ("dora", "MA-9"): False,
    ("nobody", "MA-9"): False,
    ("amara", "SECRET-1"): False,
    ("amara", "NONE"): False,
}


def test_tells_which_memberships_hold(service: ProposalsProcess) -> None:
    pairs = [{"username": username, "proposal": proposal} for username, proposal in MEMBERSHIPS]
    answer = service.post("memberships", "daas-hub", {"items": pairs})
    assert answer.status_code == 200
    held = {(each["username"], each["proposal"]) for each in answer.json()["items"]}
    assert held == {pair for pair, holds in MEMBERSHIPS.items() if holds}
    assert service.post("memberships", "staff", {}).json() == {"items": []}


def test_memberships_are_for_services_and_staff(service: ProposalsProcess) -> None:
    body = {"items": [{"username": "amara", "proposal": "MA-9"}]}
    for caller in ("amara", "bruno", "dora", "plain-service"):
        answer = service.post("memberships", caller, body)
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    for token in (None, "wrong", "elsewhere"):
        assert service.post("memberships", token, body).status_code == 401
    too_many = {"items": body["items"] * 501}
    assert service.post("memberships", "daas-hub", too_many).status_code == 400


def test_finds_a_person_by_the_exact_identity(service: ProposalsProcess) -> None:
    def found(subject: str, issuer: str = ISSUER) -> list[str]:
        answer = service.get("people", "daas-hub", issuer=issuer, subject=subject)
        assert answer.status_code == 200
        assert answer.json()["total"] == len(answer.json()["items"])
        return [each["username"] for each in answer.json()["items"]]

    assert found("a1") == found("a2") == ["amara"]
    assert found("A1") == ["bruno"]
    assert found("a") == found("a%") == found("a1\0") == found("a1 ") == found("á1") == []
    assert found("a1", ISSUER + "/") == []


def test_describes_a_person(service: ProposalsProcess) -> None:
    assert service.get("people/amara", "amara").json() == {
        "username": "amara",
        "uid": 2001,
        "gid": 200,
        "groups": ["users"],
        "display_name": "Amara Okafor",
        "email": "amara@uni.example",
    }


def test_describes_a_proposal_in_utc(service: ProposalsProcess) -> None:
    assert service.get("proposals/MA-9", "amara").json() == {
        "identifier": "MA-9",
        "title": "Épitaxie of zinc",
        "abstract": "100% of the_layers\nwith 'quotes'",
        "instruments": [{"name": "id21", "title": "ID21 Microscopy"}],
        "state": "finished",
        "experiments": [
            {
                "identifier": "MA-9-1",
                "instrument": "id21",
                "start": "2024-05-01T08:00:00Z",
                "end": "2024-05-02T06:00:00Z",
            }
        ],
        "embargo_until": "2999-01-01T00:00:00Z",
        "url": "https://office.example/MA-9",
    }


def test_members_come_first_then_the_instruments_scientists(service: ProposalsProcess) -> None:
    def team(identifier: str) -> list[tuple[str, str]]:
        content = service.get(f"proposals/{identifier}/members", "amara").json()
        assert content["total"] == len(content["items"])
        return [(each["username"], each["role"]) for each in content["items"]]

    assert team("MA-9") == [
        ("bruno", "principal_investigator"),
        ("amara", "member"),
        ("chiara", "instrument_scientist"),
    ]
    # Named once, with the role on the proposal.
    assert team("MA-10") == [("amara", "proposer"), ("chiara", "local_contact")]


def test_members_read_their_raw_data_before_the_embargo_ends(service: ProposalsProcess) -> None:
    source = str(service.data.resolve() / "MA-9")
    expected = {
        "items": [
            {"source": f"{source}/raw", "target": "proposals/MA-9/raw", "mode": "ro"},
            {"source": f"{source}/processed", "target": "proposals/MA-9/processed", "mode": "rw"},
        ]
    }
    assert service.get("proposals/MA-9/mounts", "amara", username="amara").json() == expected
    assert service.get("proposals/MA-9/mounts", "daas-hub", username="bruno").json() == expected
    # The instrument's scientist works with the data too.
    assert service.get("proposals/MA-9/mounts", "chiara", username="chiara").json() == expected


def test_a_proposal_without_a_folder_has_no_mounts(service: ProposalsProcess) -> None:
    assert service.get("proposals/HC-1/mounts", "amara", username="amara").json() == {"items": []}


def test_lists_datasets_by_name(service: ProposalsProcess) -> None:
    def pids(**query: Any) -> tuple[list[str], int]:
        content = service.get("proposals/MA-9/datasets", "amara", **query).json()
        return [each["pid"] for each in content["items"]], content["total"]

    assert pids() == (["p/1", "p/2"], 2)
    assert pids(limit=1, offset=1) == (["p/2"], 2)
    assert pids(offset=2) == ([], 2)
    assert pids(search="SCAN 9") == (["p/1"], 1)
    assert pids(search="b.h5") == (["p/2"], 1)
    assert pids(search="%") == ([], 0)
    first = service.get("proposals/MA-9/datasets", "amara", limit=1).json()["items"][0]
    assert first == {
        "pid": "p/1",
        "name": "Scan 9",
        "path": "raw/a.h5",
        "size": 0,
        "state": "online",
        "created": None,
    }


def test_health_and_metrics_tell_of_the_directory(service: ProposalsProcess) -> None:
    assert service.health() == {
        "healthy": True,
        "parts": {"database": True, "directory": True},
        "problems": {},
    }
    assert service.metric('daas_directory_items{kind="proposals"}') == 4
    assert service.metric('daas_directory_items{kind="people"}') == 4
    assert service.metric("daas_directory_failing") == 0
    assert 0 <= service.metric("daas_directory_age_seconds") < 600
