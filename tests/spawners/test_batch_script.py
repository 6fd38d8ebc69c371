"""The job's script and the submission: what gets there is compared byte by byte with what is allowed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyterhub_daas.core.catalogue import Environment, EnvironmentKind, Flavour
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.people import Person, Role
from jupyterhub_daas.core.proposals import Mount, MountMode
from jupyterhub_daas.spawners.backends.batch import script
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.jobs import JobRequest
from jupyterhub_daas.spawners.backends.batch.options import Software
from jupyterhub_daas.spawners.backends.batch.script import Given, build_script
from jupyterhub_daas.spawners.backends.slurm import SlurmBackend, login_node
from jupyterhub_daas.spawners.backends.slurm.cli import submission
from jupyterhub_daas.spawners.backends.slurm.options import Place, SlurmSoftware

HOSTILE = [
    "'; import os; os.system('id') #",
    '"""\nimport os\n"""',
    "\\",
    "\\'",
    "a\nGIVEN = 1",
    "$(id)",
    "`id`",
    "\x00",
    "é\u2028\U0001f600",
    "#SBATCH --uid=0",
    "{{ 7 * 7 }}",
    "%s",
]
PROGRAM = Path(str(script.__file__)).with_name("job.py").read_text()


def given(**more: object) -> Given:
    """Return what a script is given."""
    values = {"url": "http://hub/", "code": "c" * 64, "uid": 1001, "gid": 1001, "log": "brave-curie.log"}
    return Given.model_validate({**values, **more})


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_is_data_in_the_script_whatever_it_holds(value: str) -> None:
    built = build_script(given(url=value, log=value, groups=(value,)), python="/usr/bin/python3")
    lines = built.split("\n")
    before, after = PROGRAM.split('\nGIVEN = "{}"\n')
    # One line differs from the program that is in the package, and the first one is the interpreter.
    assert lines[0] == "#!/usr/bin/python3 -IS"
    rest = built[len(lines[0]) + 1 :]
    assert rest.startswith(before + "\nGIVEN = ")
    assert rest.endswith("\n" + after)
    literal = rest[len(before) + 1 : len(rest) - len(after) - 1]
    assert "\n" not in literal
    assert literal.isascii()
    held: dict[str, str] = {}
    exec(compile(literal, "script", "exec"), held)
    found = json.loads(held["GIVEN"])
    assert (found["url"], found["log"], found["groups"]) == (value, value, [value])


def test_the_script_is_the_same_for_everybody_but_for_that_line() -> None:
    one = build_script(given(), python="/usr/bin/python3").split("\n")
    other = build_script(given(code="d" * 64, uid=7, url="https://x/"), python="/usr/bin/python3").split("\n")
    assert sum(a != b for a, b in zip(one, other, strict=True)) == 1


def request(place: Place, **more: object) -> JobRequest:
    """Return a request for a job."""
    values = {
        "name": "daas-1-2",
        "account": JobAccount("amara", 1001, 1001),
        "script": "#!",
        "cpus": 2,
        "memory": 512,
        "gpus": 0,
        "minutes": 60,
        "place": place,
    }
    return JobRequest(**{**values, **more})  # type: ignore[arg-type]


PLACE = Place(
    partition="gpu",
    account="lab",
    qos="high",
    slurm_reservation="school",
    constraint="a100&ib",
    gpu_type="a100",
)


def test_a_submission_word_by_word() -> None:
    assert submission(request(PLACE, gpus=2), "/usr/bin/sbatch") == [
        "/usr/bin/sbatch",
        "--parsable",
        "--no-requeue",
        "--job-name=daas-1-2",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=2",
        "--mem=512M",
        "--time=60",
        "--gres=gpu:a100:2",
        "--partition=gpu",
        "--account=lab",
        "--qos=high",
        "--reservation=school",
        "--constraint=a100&ib",
        "--chdir=/",
        "--output=/dev/null",
        "--error=/dev/null",
        "--export=NIL",
    ]
    words = submission(request(Place()), "/usr/bin/sbatch")
    assert not [word for word in words if word.startswith(("--gres", "--partition", "--account", "--qos"))]


@pytest.mark.parametrize("place", [PLACE, Place(), Place(constraint="[a|b]*2&(c)")])
@pytest.mark.parametrize("gpus", [0, 2])
def test_the_login_node_lets_all_words_of_a_submission_pass(place: Place, gpus: int) -> None:
    words = submission(request(place, gpus=gpus, name=f"daas-476dbc1b-{'5' * 16}"), "/usr/bin/sbatch")
    login_node.check("sbatch", words[1:], "amara")
    for word in ("--uid=0", "--wrap=id", words[-1], "--mem=1M\n"):
        with pytest.raises(login_node.Refused):
            login_node.check("sbatch", [*words[1:], word], "amara")


ANY = st.text(max_size=40)


@hypothesis.given(name=ANY, display=ANY, groups=st.tuples(ANY, ANY), proposal=ANY, folder=ANY, variable=ANY)
def test_whatever_a_launch_holds_the_words_of_a_submission_are_the_same(
    name: str, display: str, groups: tuple[str, ...], proposal: str, folder: str, variable: str
) -> None:
    """Unchecked on purpose: what reaches a program does not hang on checks elsewhere."""
    backend = SlurmBackend(hub_id="0" * 8, shared_account=False, options={})
    person = Person.model_construct(username=name, uid=1001, gid=1001, groups=groups, display_name=display)
    launch = Launch.model_construct(
        session_id="0123456789abcdef",
        session="brave-curie",
        person=person,
        proposal=proposal,
        environment=Environment(key="works", title="Works", kind=EnvironmentKind.JUPYTER),
        profile="works",
        flavour=Flavour(key="small", title="Small", cpus=1, memory=1 << 29),
        options={"command": ["x", f"-{name}"], "variables": {"A": variable}, "partition": "cpu"},
        mounts=(Mount.model_construct(source=folder, target=folder, mode=MountMode.READ_ONLY),),
        variables={"DAAS_PROPOSAL": proposal},
    )
    asked = backend.build_request(launch, JobAccount(name, 1001, 1001), name="daas-1-2", script="#!")
    assert submission(asked, "/usr/bin/sbatch")[1:] == [
        "--parsable",
        "--no-requeue",
        "--job-name=daas-1-2",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=1",
        "--mem=512M",
        "--time=480",
        "--partition=cpu",
        "--chdir=/",
        "--output=/dev/null",
        "--error=/dev/null",
        "--export=NIL",
    ]


@pytest.mark.parametrize(
    "field", ["partition", "account", "qos", "slurm_reservation", "constraint", "gpu_type"]
)
@pytest.mark.parametrize(
    "value", ["", "-x", "a b", "a\n", "a;b", "$(id)", "a'b", 'a"b', "a`b", "é", "a\\b", "a" * 500]
)
def test_refuses_a_place_of_another_form(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Place.model_validate({field: value})


@pytest.mark.parametrize("field", ["venv", "conda", "modules_script", "container"])
@pytest.mark.parametrize("value", ["venv", "/a b", "/a;b", "/a\n", "/$(id)", "/a'", "-x"])
def test_refuses_a_path_of_another_form(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Software.model_validate({"command": ["x"], field: value})


@pytest.mark.parametrize("value", ["--all", "a b", "a;b", "$(id)", ""])
def test_refuses_a_module_of_another_form(value: str) -> None:
    with pytest.raises(ValidationError):
        Software.model_validate({"modules": [value]})


def test_software_is_named_once() -> None:
    with pytest.raises(ValidationError, match="one of"):
        Software.model_validate({"venv": "/a", "image": "/b.sif"})
    with pytest.raises(ValidationError, match="name the software"):
        Software.model_validate({})


def test_flavour_and_role_change_the_place() -> None:
    software = SlurmSoftware.model_validate(
        {
            "venv": "/sw/venv",
            "partition": "cpu",
            "qos": "normal",
            "flavours": {"gpu": {"partition": "gpu", "walltime_hours": 4}},
            "roles": {"instrument_scientist": {"qos": "high"}},
        }
    )

    class Flavoured:
        key = "gpu"

    plain = software.place(Flavoured(), (Role.USER,))  # type: ignore[arg-type]
    assert (plain.partition, plain.qos, plain.walltime_hours) == ("gpu", "normal", 4)
    special = software.place(Flavoured(), (Role.USER, Role.INSTRUMENT_SCIENTIST))  # type: ignore[arg-type]
    assert (special.partition, special.qos) == ("gpu", "high")


def test_an_image_gets_the_folders_of_the_proposal_and_no_more() -> None:
    software = SlurmSoftware(image="/sw/images/tomography.sif", binds=("/sw",))
    launch = Launch.model_construct(
        flavour=Flavour(key="gpu", title="GPU", cpus=1, memory=1 << 30, gpus=1),
        mounts=(
            Mount.model_construct(source="/data/1/raw", mode=MountMode.READ_ONLY),
            Mount.model_construct(source="/data/1/processed", mode=MountMode.READ_WRITE),
        ),
    )
    assert software.words(launch) == [
        "/usr/bin/apptainer",
        "exec",
        "--cleanenv",
        "--no-privs",
        "--nv",
        "--bind=/sw",
        "--bind=/data/1/raw:/data/1/raw:ro",
        "--bind=/data/1/processed:/data/1/processed:rw",
        "/sw/images/tomography.sif",
        "python3",
        "-m",
        "jupyterhub.singleuser",
    ]
    assert software.contained == "APPTAINERENV_"


@pytest.mark.parametrize("word", ["plain", "a b", "$(id)", "'", '"', "`id`", ";id", "*", "\\", "-n", "é\n"])
def test_modules_reach_a_shell_as_arguments_only(tmp_path: Path, word: str) -> None:
    script_file = tmp_path / "modules.sh"
    script_file.write_text('module() { shift; printf "%s|" "$@" >"$MODULES_OF_TEST"; }\n')
    software = Software(
        modules=("gcc/12", "silx/2.1"), modules_script=str(script_file), command=("printf", "%s", word)
    )
    said = tmp_path / "said"
    done = subprocess.run(
        software.words(None),  # type: ignore[arg-type]
        env={"PATH": "/usr/bin:/bin", "MODULES_OF_TEST": str(said)},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == word
    assert said.read_text() == "gcc/12|silx/2.1|"


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"uid": 54321}, "other numbers"), ({"gid": 54321}, "other numbers")],
    ids=["uid", "gid"],
)
def test_a_job_refuses_another_account(changed: dict[str, int], words: str) -> None:
    numbers = {"uid": os.getuid(), "gid": os.getgid(), **changed}
    built = build_script(given(url="http://127.0.0.1:9/", **numbers), python=sys.executable)
    done = subprocess.run(
        [sys.executable, "-IS", "-"], input=built, capture_output=True, text=True, check=False
    )
    assert done.returncode == 91
    assert words in done.stderr


def test_a_job_refuses_to_be_root() -> None:
    if os.geteuid() != 0:
        pytest.fail("run by root, as CI does")
    built = build_script(given(uid=0, gid=0), python=sys.executable)
    done = subprocess.run(
        [sys.executable, "-IS", "-"], input=built, capture_output=True, text=True, check=False
    )
    assert done.returncode == 91
