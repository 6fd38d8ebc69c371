"""A launch holds what the facility says, and nothing that a person wrote."""

from datetime import datetime, timezone

from jupyterhub_daas.core.catalogue import Catalogue
from jupyterhub_daas.core.launch import build_launch
from jupyterhub_daas.core.people import Person, Role
from jupyterhub_daas.core.proposals import Mount, MountMode
from jupyterhub_daas.core.selection import Selection

CATALOGUE = Catalogue.model_validate(
    {
        "environments": {"jupyter": {"title": "Jupyter", "kind": "jupyter"}},
        "flavours": {"small": {"title": "Small", "cpus": 1, "memory": "3G", "storage": "5G"}},
        "profiles": {
            "jupyter-local": {
                "environment": "jupyter",
                "backend": "local",
                "flavours": ["small"],
                "options": {"site": "value"},
            }
        },
    }
)
PERSON = Person(username="amara", uid=20001, gid=20001)
MOUNT = Mount(source="/data/20180301/raw", target="proposals/20180301/raw", mode=MountMode.READ_ONLY)
END = datetime(2026, 11, 22, tzinfo=timezone.utc)


def test_joins_selection_catalogue_person_and_mounts() -> None:
    selection = Selection.parse({"proposal": "20180301", "environment": "jupyter"}, CATALOGUE)
    launch = build_launch(
        selection,
        CATALOGUE,
        person=PERSON,
        roles=(Role.STAFF,),
        instruments=("id21",),
        mounts=(MOUNT,),
        session_id="0123456789abcdef",
        session="brave-curie",
        expires_at=END,
    )
    assert launch.model_dump(mode="json") == {
        "session_id": "0123456789abcdef",
        "session": "brave-curie",
        "person": {
            "username": "amara",
            "uid": 20001,
            "gid": 20001,
            "groups": [],
            "display_name": "",
            "email": None,
        },
        "roles": ["staff"],
        "proposal": "20180301",
        "instruments": ["id21"],
        "environment": {"key": "jupyter", "title": "Jupyter", "kind": "jupyter", "description": ""},
        "backend": "local",
        "profile": "jupyter-local",
        "flavour": {
            "key": "small",
            "title": "Small",
            "cpus": 1.0,
            "memory": 3 << 30,
            "storage": 5 << 30,
            "gpus": 0,
        },
        "options": {"site": "value"},
        "mounts": [{"source": "/data/20180301/raw", "target": "proposals/20180301/raw", "mode": "ro"}],
        "variables": {
            "DAAS_PROPOSAL": "20180301",
            "DAAS_SESSION": "brave-curie",
            "DAAS_SESSION_ID": "0123456789abcdef",
            "DAAS_ENVIRONMENT": "jupyter",
            "DAAS_FLAVOUR": "small",
        },
        "expires_at": "2026-11-22T00:00:00Z",
    }
