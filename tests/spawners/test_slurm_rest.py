"""slurmrestd's words in the versions of its API that we speak, and people's tokens for it."""

import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.errors import (
    AccessError,
    AccountUnknownError,
    BackendUnavailableError,
    ConfigurationError,
)
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.jobs import JobRequest, Phase
from jupyterhub_daas.spawners.backends.slurm import SlurmBackend, dialects
from jupyterhub_daas.spawners.backends.slurm.capacity import count
from jupyterhub_daas.spawners.backends.slurm.options import Place
from jupyterhub_daas.spawners.backends.slurm.tokens import REFUSED, Tokens

HUB, SESSION = "476dbc1b", "0123456789abcdef"
NAME = f"daas-{HUB}-{SESSION}"
REST = {"url": "https://slurm.example", "token_command": ["/bin/false"]}


def request(**more: Any) -> JobRequest:
    """Return a job with everything."""
    place = Place(
        partition="gpu",
        account="daas",
        qos="staff",
        slurm_reservation="beamtime",
        constraint="a&b",
        gpu_type="a100",
    )
    given = {"cpus": 2, "memory": 1024, "gpus": 1, "minutes": 60, "place": place, **more}
    return JobRequest(name=NAME, account=JobAccount("amara", 1000, 1000), script="#!/bin/sh\n", **given)


SAME = {
    "name": NAME,
    "tasks": 1,
    "cpus_per_task": 2,
    "partition": "gpu",
    "account": "daas",
    "qos": "staff",
    "reservation": "beamtime",
    "constraints": "a&b",
    "current_working_directory": "/",
    "standard_input": "/dev/null",
    "standard_output": "/dev/null",
    "standard_error": "/dev/null",
    "requeue": False,
}


def test_a_submission_in_the_old_version() -> None:
    assert dialects.submission(request(), 38) == {
        "script": "#!/bin/sh\n",
        "job": {
            **SAME,
            "nodes": 1,
            "memory_per_node": 1024,
            "time_limit": 60,
            "gres": "gpu:a100:1",
            "environment": {"PATH": "/usr/bin:/bin"},
        },
    }


@pytest.mark.parametrize("version", [40, 41, 42])
def test_a_submission_in_the_new_versions(version: int) -> None:
    assert dialects.submission(request(), version) == {
        "script": "#!/bin/sh\n",
        "job": {
            **SAME,
            "nodes": "1",
            "memory_per_node": {"set": True, "infinite": False, "number": 1024},
            "time_limit": {"set": True, "infinite": False, "number": 60},
            "tres_per_node": "gres/gpu:a100:1",
            "environment": ["PATH=/usr/bin:/bin"],
        },
    }


def test_what_is_not_asked_for_is_not_sent() -> None:
    job = dialects.submission(request(gpus=0, place=Place()), 38)["job"]
    assert not {"gres", "partition", "account", "qos", "reservation", "constraints"} & set(job)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [((36, 37, 38), 38), ((40, 41, 42), 42), ((38, 39, 40), 40), ((42, 43, 44), 42), ((36, 37, 39), None)],
)
def test_the_newest_version_that_both_know_is_spoken(offered: tuple[int, ...], chosen: int | None) -> None:
    paths = {f"/slurm/v0.0.{version}/jobs": {} for version in offered} | {
        "/openapi": {},
        "/slurmdb/v0.0.42/jobs": {},
    }
    assert dialects.choose_version(paths) == chosen


def job(state: object = "RUNNING", **more: Any) -> dict[str, Any]:
    """Return a job as it is listed."""
    return {
        "name": NAME,
        "job_id": 17,
        "user_name": "amara",
        "job_state": state,
        "state_reason": "None",
        "batch_host": "n1",
        "start_time": 1795637376,
        "end_time": 1795637496,
        **more,
    }


@pytest.mark.parametrize(
    ("state", "phase", "word"),
    [
        ("PENDING", Phase.WAITING, "PENDING"),
        ("SUSPENDED", Phase.RUNNING, "SUSPENDED"),
        (["RUNNING"], Phase.RUNNING, "RUNNING"),
        (["RUNNING", "CONFIGURING"], Phase.WAITING, "CONFIGURING"),
        (["CANCELLED", "COMPLETING"], Phase.RUNNING, "COMPLETING"),
        (["RUNNING", "POWER_UP_NODE"], Phase.RUNNING, "RUNNING"),
        (["PENDING", "REQUEUED"], Phase.WAITING, "REQUEUED"),
        (["TIMEOUT"], Phase.ENDED, "TIMEOUT"),
        (["TELEPORTING"], Phase.RUNNING, "TELEPORTING"),
    ],
)
def test_each_state_is_a_phase(state: object, phase: Phase, word: str) -> None:
    found = dialects.jobs_in({"jobs": [job(state)]}, HUB)[SESSION]
    assert (found.phase, found.word) == (phase, word)


def test_a_number_may_say_whether_it_is_there() -> None:
    given = {"set": True, "infinite": False, "number": 1795637376}
    never = {"set": True, "infinite": True, "number": 0}
    found = dialects.jobs_in({"jobs": [job(start_time=given, end_time=never)]}, HUB)[SESSION]
    assert (found.starts_at, found.ends_at) == (1795637376.0, None)
    assert dialects.jobs_in({"jobs": [job(start_time=0)]}, HUB)[SESSION].starts_at is None


def test_others_jobs_are_passed_over_whatever_they_look_like() -> None:
    others = [{"name": "fit"}, {"name": None}, job(name=f"daas-other-{SESSION}"), job(name=NAME + "0")]
    assert dialects.jobs_in({"jobs": others}, HUB) == {}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"jobs": None},
        {"jobs": [{}]},
        {"jobs": [job(state=None)]},
        {"jobs": [job(state=[])]},
        {"jobs": [job(job_id="x")]},
        {"jobs": ["x"]},
    ],
)
def test_an_answer_of_another_form_is_none(answer: dict[str, Any]) -> None:
    """Else a session whose job is not understood would be taken for ended."""
    with pytest.raises(dialects.NotUnderstoodError):
        dialects.jobs_in(answer, HUB)


@pytest.mark.parametrize("content", [b"Authentication failure", b"", b"[]", b"{", b"\xff"])
def test_what_is_no_object_is_no_answer(content: bytes) -> None:
    with pytest.raises(dialects.NotUnderstoodError):
        dialects.read(content)


def node(name: str, **more: Any) -> dict[str, Any]:
    """Return a node as it is listed."""
    return {
        "name": name,
        "state": ["IDLE"],
        "cpus": 16,
        "real_memory": 64000,
        "alloc_cpus": 0,
        "alloc_memory": 0,
        "gres": "",
        "gres_used": "gpu:0",
        "partitions": ["cpu"],
        **more,
    }


def test_what_is_free_is_counted() -> None:
    nodes = [
        node("n1", alloc_cpus=12, state="mixed", state_flags=[]),
        node("n2", state=["IDLE", "DRAIN"]),
        node("n3", state="idle", state_flags=["DRAIN"]),
        node("n4", gres="gpu:fake:2", gres_used="gpu:fake:1(IDX:0)", partitions=["gpu"]),
        node("n5", partitions=["down"]),
    ]
    partitions = [
        {"name": "cpu", "flags": ["default"], "state": "UP"},
        {"name": "gpu", "flags": [], "partition": {"state": ["UP"]}},
        {"name": "down", "state": "DOWN"},
    ]
    found = dialects.nodes_in({"nodes": nodes}, {"partitions": partitions})
    four = Flavour(key="four", title="Four", cpus=4, memory=1 << 30)
    gpu = Flavour(key="gpu", title="GPU", cpus=1, memory=1 << 30, gpus=1)
    assert count(found, four, [Place()]).free == 1
    assert count(found, gpu, [Place(partition="gpu")]).free == 1
    assert count(found, four, [Place(partition="down")]).free == 0


# --- tokens


def token(name: str = "amara", seconds: float = 900, claim: str = "sun") -> str:
    """Return a token as far as a hub can read it."""
    parts = [
        json.dumps({"alg": "HS256"}),
        json.dumps({claim: name, "exp": time.time() + seconds}),
        "signature",
    ]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


class Giver:
    """A command that gives out tokens, and notes for whom."""

    def __init__(self, folder: Path) -> None:
        self.notes, self.says = folder / "notes", folder / "says"
        self.script = folder / "give.py"
        self.script.write_text(
            f"#!{sys.executable} -IS\nimport sys\n"
            f"open({str(self.notes)!r}, 'a').write(sys.argv[-1] + '\\n')\n"
            f"status, _, text = open({str(self.says)!r}).read().partition(' ')\n"
            "print(text)\nsys.exit(int(status))\n"
        )
        self.script.chmod(0o755)
        self.say(token())

    def say(self, text: str, status: int = 0) -> None:
        """Say this from now on."""
        self.says.write_text(f"{status} {text}")

    def asked(self) -> list[str]:
        """Return for whom tokens were asked."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []


@pytest.fixture
def giver(tmp_path: Path) -> Giver:
    """The command."""
    return Giver(tmp_path)


@pytest.fixture
def tokens(giver: Giver) -> Tokens:
    """Tokens from it."""
    return Tokens([str(giver.script)], claim="sun", seconds=60)


@pytest.mark.parametrize("prefix", ["", "SLURM_JWT="])
async def test_a_token_is_kept_until_its_time_is_over(giver: Giver, tokens: Tokens, prefix: str) -> None:
    one, other = token(), token(seconds=901)
    giver.say(prefix + one)
    assert await tokens.get("amara") == one
    giver.say(prefix + other)
    assert await tokens.get("amara") == one
    tokens.forget("amara")
    assert await tokens.get("amara") == other
    assert giver.asked() == ["amara", "amara"]


@pytest.mark.parametrize(
    "said",
    [
        token("root"),
        token(seconds=10),
        token(claim="name"),
        "nothing",
        "",
        "a.b.c",
        "a.e30.c",
        token() + "\n" + token(),
    ],
    ids=["another's", "over", "without a name", "no token", "empty", "no JSON", "no claims", "two"],
)
async def test_what_is_no_token_of_that_person_is_not_used(giver: Giver, tokens: Tokens, said: str) -> None:
    giver.say(said)
    with pytest.raises(BackendUnavailableError):
        await tokens.get("amara")


async def test_who_gets_none_is_refused_and_not_asked_to_wait(giver: Giver, tokens: Tokens) -> None:
    giver.say("", REFUSED)
    with pytest.raises(AccessError, match="have it added"):
        await tokens.get("amara")
    giver.say("", 255)
    with pytest.raises(BackendUnavailableError):
        await tokens.get("amara")


@pytest.mark.parametrize("name", ["root", "-u", "a b", "Amara", "", "a\nb"])
async def test_no_name_of_another_form_reaches_the_command(giver: Giver, tokens: Tokens, name: str) -> None:
    with pytest.raises(AccountUnknownError):
        await tokens.get(name)
    assert giver.asked() == []


# --- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rest": {**REST, "url": "http://slurm.example"}}, "https"),
        ({"rest": {**REST, "url": "https://user:secret@slurm.example"}}, "url"),
        ({"rest": {**REST, "token_command": []}}, "token_command"),
        ({"rest": REST, "ssh": {"host": "l", "key": "/k", "known_hosts": "/h"}}, "one of ssh and rest"),
        ({"ssh": {"host": "-oProxyCommand=id", "key": "/k", "known_hosts": "/h"}}, "host"),
    ],
)
def test_a_way_that_is_not_safe_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        SlurmBackend(hub_id=HUB, shared_account=False, options=options)


def test_a_hub_off_the_cluster_shares_no_account() -> None:
    with pytest.raises(ConfigurationError, match="cannot share its account"):
        SlurmBackend(hub_id=HUB, shared_account=True, options={"rest": REST, "homes": "/tmp"})
