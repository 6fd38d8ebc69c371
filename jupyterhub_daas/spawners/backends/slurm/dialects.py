"""What slurmrestd is sent and answers, in the versions of its API that we speak: 38, and 40 to 42.

Slurm 22.05 to 23.02 have the first one, from 23.11 on there are the others. Pure: nothing is sent here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest, by_session
from jupyterhub_daas.spawners.backends.names import session_of
from jupyterhub_daas.spawners.backends.slurm.capacity import Node, find_gpus, is_usable
from jupyterhub_daas.spawners.backends.slurm.options import Place
from jupyterhub_daas.spawners.backends.slurm.transport import build_job
from jupyterhub_daas.spawners.backends.slurm.words import PHASES

# The newest that both sides speak is used.
VERSIONS = (42, 41, 40, 38)
# From this one on a number says whether it is there, a state is a list of words, and so on.
WORDY = 40


class NotUnderstoodError(Exception):
    """An answer that has another form than it must have."""


def choose_version(paths: Mapping[str, object]) -> int | None:
    """Return the version to speak, by the paths in the description that the server gives of itself."""
    found = {int(each[1]) for path in paths if (each := re.match(r"/slurm/v0\.0\.(\d+)/jobs", path))}
    return next((version for version in VERSIONS if version in found), None)


def submission(request: JobRequest, version: int) -> dict[str, Any]:
    """Return the body of a submission; the job gets no variable but those of Slurm, and a PATH."""
    place = request.place
    assert isinstance(place, Place)
    wordy = version >= WORDY
    path = "/usr/bin:/bin"
    kind = f":{place.gpu_type}" if place.gpu_type else ""
    gpus = (
        {"tres_per_node": f"gres/gpu{kind}:{request.gpus}"}
        if wordy
        else {"gres": f"gpu{kind}:{request.gpus}"}
    )
    job: dict[str, Any] = {
        "name": request.name,
        "nodes": "1" if wordy else 1,
        "tasks": 1,
        "cpus_per_task": request.cpus,
        "memory_per_node": _given(request.memory) if wordy else request.memory,
        "time_limit": _given(request.minutes) if wordy else request.minutes,
        "partition": place.partition,
        "account": place.account,
        "qos": place.qos,
        "reservation": place.slurm_reservation,
        "constraints": place.constraint,
        "current_working_directory": "/",
        "standard_input": "/dev/null",
        "standard_output": "/dev/null",
        "standard_error": "/dev/null",
        # Version 38 takes it and does not heed it: a job that runs again all the same is ended.
        "requeue": False,
        # Without any it is refused.
        "environment": [f"PATH={path}"] if wordy else {"PATH": path},
        **(gpus if request.gpus else {}),
    }
    return {
        "script": request.script,
        "job": {name: value for name, value in job.items() if value is not None},
    }


def _given(number: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": number}


def read(content: bytes) -> dict[str, Any]:
    """Return the JSON of an answer; raise NotUnderstoodError if it is none.

    For a thread: an answer may tell of thousands of jobs, and a parser that calls us for each object lets the
    loop's thread go on meanwhile.
    """
    try:
        answer = json.loads(content, object_hook=lambda each: each)
    except ValueError as error:
        raise NotUnderstoodError(content[:200].decode(errors="replace")) from error
    if not isinstance(answer, dict):
        raise NotUnderstoodError("no object")
    return answer


def errors_of(answer: Mapping[str, Any]) -> str:
    """Return what an answer says of errors, for the log and to be recognised; empty if there is none."""
    said = [
        " ".join(str(each[key]) for key in ("error", "description", "source") if each.get(key))
        for each in answer.get("errors") or ()
        if isinstance(each, dict)
    ]
    text = "; ".join(said)
    if text and answer.get("job_submit_user_msg"):
        text = f"{answer['job_submit_user_msg']}; {text}"
    return text


def job_id_of(answer: Mapping[str, Any]) -> str:
    """Return the id of a job that was submitted; empty if there is none."""
    found = answer.get("job_id")
    return str(found) if isinstance(found, int) and found > 0 else ""


def jobs_in(answer: Mapping[str, Any], hub_id: str) -> dict[str, Job]:
    """Return the hub's jobs in a list of all."""
    return by_session(_own(answer, hub_id))


def _own(answer: Mapping[str, Any], hub_id: str) -> Iterator[Job]:
    try:
        for entry in answer["jobs"]:
            session_id = session_of(entry["name"] or "", hub_id)
            if session_id:
                yield build_job(
                    str(int(entry["job_id"])),
                    session_id,
                    account=entry["user_name"],
                    word=_word(entry["job_state"]),
                    reason=entry.get("state_reason") or "",
                    node=entry.get("batch_host") or "",
                    starts_at=_number(entry.get("start_time")),
                    ends_at=_number(entry.get("end_time")),
                )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotUnderstoodError(f"job: {error!r}") from error


def _word(state: object) -> str:
    """Return the one word that squeue would say: of a list, what it adds to the first."""
    if isinstance(state, str):
        return state
    if not isinstance(state, list) or not state:
        raise TypeError("no state")
    return str(next((word for word in state[1:] if word in PHASES), state[0]))


def _number(value: Any) -> float | None:
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return float(value) if value else None


def nodes_in(nodes: Mapping[str, Any], partitions: Mapping[str, Any]) -> tuple[Node, ...]:
    """Return the nodes, once for each partition that they are in."""
    try:
        open_to = dict(_partition(each) for each in partitions["partitions"])
        return tuple(_nodes(nodes["nodes"], open_to))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotUnderstoodError(f"nodes: {error!r}") from error


def _partition(entry: Mapping[str, Any]) -> tuple[str, tuple[bool, bool]]:
    """Return a partition's name, whether it takes jobs, and whether it is the default."""
    inner = entry.get("partition")
    state = entry.get("state") or (inner["state"] if isinstance(inner, dict) else "")
    flags = entry.get("flags") or ()
    default = "default" in flags
    return entry["name"], (state in ("UP", ["UP"]), default)


def _nodes(entries: Any, partitions: Mapping[str, tuple[bool, bool]]) -> Iterator[Node]:
    for entry in entries:
        state = entry["state"]
        words = [state, *entry.get("state_flags", ())] if isinstance(state, str) else state
        usable = all(is_usable(str(word).lower()) for word in words)
        gpus, used = find_gpus(entry.get("gres") or ""), find_gpus(entry.get("gres_used") or "")
        cpus, memory = int(entry["cpus"]), int(entry["real_memory"])
        for name in entry["partitions"]:
            takes_jobs, default = partitions.get(name, (False, False))
            yield Node(
                name=entry["name"],
                partition=name,
                default=default,
                usable=usable and takes_jobs,
                cpus=cpus,
                memory=memory,
                gpus=gpus,
                free_cpus=cpus - int(entry["alloc_cpus"]),
                free_memory=memory - int(entry["alloc_memory"]),
                free_gpus={kind: count - used.get(kind, 0) for kind, count in gpus.items()},
            )
