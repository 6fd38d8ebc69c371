"""What a facility may say of its cluster, and who a person is to the programs of a pod."""

import grp
import json

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import BackendError
from jupyterhub_daas.spawners.backends.groups import groups_of
from jupyterhub_daas.spawners.backends.kubernetes.accounts import build_files, gids_in
from jupyterhub_daas.spawners.backends.kubernetes.options import KubernetesOptions


@pytest.mark.parametrize(
    "wrong",
    [
        {"home": {}},
        {"home": {"host_path": "/home", "claim": "home"}},
        {"home": {"host_path": "/home", "sub_path": "../{username}"}},
        {"home": {"host_path": "/home", "sub_path": "{username}/../../x"}},
        {"home": {"host_path": "/home", "sub_path": "/{username}"}},
        {"home": {"host_path": "/home/../root"}},
        {"home": {"host_path": "home"}},
        {"home_path": "home"},
        {"home_path": "/home:/bin/sh"},
        {"home_path": "/home\nroot"},
        {"volumes": [{"path": "/sw/..", "host_path": "/sw"}]},
        {"data": [{"prefix": "data", "host_path": "/data"}]},
        {"groups": {"id14": 0}},
        {"namespace": "../kube-system"},
        {"namespace": "Sessions"},
        {"pull_secrets": ["a/b"]},
        {"port": 80},
        {"placing": "anywhere"},
        {"unknown": 1},
    ],
    ids=lambda wrong: json.dumps(wrong)[:60],
)
def test_refuses_wrong_options(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        KubernetesOptions.model_validate(wrong)


# --- accounts


def test_groups_become_the_numbers_that_somebody_knows(caplog: pytest.LogCaptureFixture) -> None:
    person = Person(username="amara", uid=20001, gid=30001, groups=("id14", "daemon", "nobody-knows"))
    assert groups_of(person, {"id14": 40014, "daemon": 7}) == {"id14": 40014, "daemon": 7}
    assert "nobody-knows" in caplog.text
    # Else the hub's machine is asked.
    assert groups_of(person, {"id14": 40014})["daemon"] == grp.getgrnam("daemon").gr_gid


def test_refuses_the_group_of_root() -> None:
    with pytest.raises(BackendError, match="root's group"):
        gids_in(groups_of(Person(username="amara", uid=20001, gid=30001, groups=("root",)), {}))


def test_a_session_knows_its_person_by_name() -> None:
    person = Person(username="amara", uid=20001, gid=40014)
    files = build_files(person, "/home/amara", {"id14": 40014, "x:0:\nroot": 40015})
    # Her group has a name already; one that would add a line of its own gets none.
    assert files["group"].splitlines()[3:] == ["id14:x:40014:"]
    assert files["passwd"].splitlines()[2:] == ["amara:x:20001:40014::/home/amara:/bin/bash"]
