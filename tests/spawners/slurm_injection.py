"""What hostile people and files may try on the way to Slurm, and all that may come of it."""

import pwd
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

import requests

from jupyterhub_daas.spawners.backends.batch.script import Given, build_script
from tests.spawners.portal import PROPOSAL, SERVER, Portal
from tests.support.slurm_spy import Call
from tests.support.stack import xsrf_of

HOSTILE = ["x; id", "$(id)", "`id`", "a\n#SBATCH --uid=0", "--uid=0", "'", '"', "a\\", "é\u2028", "${PATH}"]
# What a profile's file may hold: it is for the session, and for nobody on the way.
ODD = {
    "command": ["/usr/bin/python3", str(SERVER), "works", *HOSTILE],
    "variables": {f"ODD_{number}": value for number, value in enumerate(HOSTILE)},
}
# Each takes what is hostile in one of the cases at least.
KEYS = ("proposal", "environment", "flavour", "profile", "backend", "account", "partition")
NAME = "calm-bohr"

# A portal, a person, options, and the hostile value in them: the hub's answer to the start.
Way = Callable[[Portal, str, Mapping[str, str], str], requests.Response]


def _form(portal: Portal, person: str, options: Mapping[str, str], _value: str) -> requests.Response:
    browser = portal.stack.login(person)
    url = f"{portal.stack.url}/hub/spawn/{person}/{NAME}"
    return browser.post(url, params={"_xsrf": xsrf_of(browser, "/hub/")}, data=dict(options), timeout=60)


def _rest(portal: Portal, person: str, options: Mapping[str, str], _value: str) -> requests.Response:
    return portal.start(NAME, options, person)


def _stored(portal: Portal, person: str, options: Mapping[str, str], _value: str) -> requests.Response:
    path = f"/users/{person}/servers/{NAME}"
    good = {"proposal": PROPOSAL, "environment": "works"}
    portal.stack.admin("PUT", path, json={"user_options": good})
    patched = portal.stack.admin("PATCH", path, json={"user_options": dict(options)})
    answer = portal.stack.admin("POST", path) if patched.ok else patched
    portal.stack.admin("DELETE", path, json={"remove": True})
    return answer


def _user_name(portal: Portal, _person: str, _options: Mapping[str, str], value: str) -> requests.Response:
    path = f"/users/{quote(value, safe='')}"
    portal.stack.admin("POST", path)
    good = {"proposal": PROPOSAL, "environment": "works"}
    return portal.stack.admin("POST", f"{path}/servers/{NAME}", json={"user_options": good})


WAYS: Mapping[str, Way] = {"form": _form, "rest": _rest, "stored": _stored, "user name": _user_name}


def words_of(session: Portal, session_id: str) -> list[str]:
    """Return all that a submission of the small flavour says."""
    return [
        "--parsable",
        "--no-requeue",
        f"--job-name=daas-{session.hub_id}-{session_id}",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=1",
        "--mem=512M",
        "--time=480",
        "--chdir=/",
        "--output=/dev/null",
        "--error=/dev/null",
        "--export=NIL",
    ]


def script_of(call: Call, session: Portal, session_id: str, person: str, *, name: str, group: str) -> str:
    """Return the script that a submission must have, byte by byte; only the code is not known before."""
    entry = pwd.getpwnam(person)
    code = re.search(r'"code": "([0-9a-f]{64})"', call.stdin)
    assert code is not None
    given = Given(
        url=f"{session.stack.hub_url}/hub/daas/jobs/{session_id}/",
        code=code[1],
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        groups=(group,),
        log=f"{name}.log",
    )
    return build_script(given, python="/usr/bin/python3")
