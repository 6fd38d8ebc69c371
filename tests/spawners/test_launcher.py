"""The supervisor of a local session: nothing outlives it, and the home's links stay where they belong."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyterhub_daas.spawners.backends.local import launcher, processes
from tests.spawners.portal import is_alive
from tests.support.frozen import freeze
from tests.support.stack import unprivileged
from tests.support.waiting import wait_until

HUB = "launcher-test"
ESCAPES = {
    "own session": "setsid sleep 300 &",
    "no hang-up": "nohup sleep 300 >/dev/null 2>&1 &",
    "twice forked": "(setsid sh -c 'sleep 300 & sleep 300 &' &) &",
    "without environment": "env -i setsid nohup sleep 300 >/dev/null 2>&1 &",
    "deaf to signals": "setsid sh -c 'trap \"\" TERM HUP INT; sleep 300; sleep 300' &",
}


class Session:
    """A supervised shell command as the local backend would start it."""

    def __init__(
        self, folder: Path, command: list[str], *, session_id: str, grace: float = 0.5, let_go: bool = True
    ) -> None:
        prefix, uid = unprivileged()
        self.session_id = session_id
        home = folder / "home"
        home.mkdir()
        for parent in (folder, *folder.parents):
            if prefix and parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
        os.chown(home, uid, -1)
        self.home = home
        report, its_end = os.pipe()
        order = {
            "home": str(home),
            "folder": "proposals/20180301",
            "mounts": {},
            "log": "test.log",
            "command": command,
            "grace": grace,
            "report": its_end,
        }
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            launcher.SESSION: session_id,
            launcher.PROPOSAL: "20180301",
            processes.HUB: HUB,
            launcher.ORDER: json.dumps(order),
        }
        self.process = subprocess.Popen(
            [*prefix, "/usr/bin/python3", "-I", "-S", launcher.__file__],
            env=environment,
            pass_fds=(its_end,),
            start_new_session=True,
            stdin=subprocess.PIPE,
        )
        os.close(its_end)
        assert self.process.stdin is not None
        with self.process.stdin as go:
            go.write(b"1" if let_go else b"")
        with os.fdopen(report, "rb") as file:
            self.said = file.read().decode()

    def family(self) -> processes.Family:
        """Return the living processes that carry the tag or descend from one that does."""
        return processes.find_family(HUB, self.session_id)

    def keeper(self) -> int:
        """Return the inner supervisor."""
        (keeper,) = self.family().supervisors - {self.process.pid}
        return keeper


@pytest.fixture
def launch(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Session]]:
    """Start supervised commands; whatever is left of them is killed after the test."""
    started: list[Session] = []

    def start(command: list[str], **given: float) -> Session:
        session_id = f"{abs(hash(request.node.nodeid)):016x}"[-16:]
        started.append(Session(tmp_path, command, session_id=session_id, **given))
        return started[-1]

    yield start
    for session in started:
        processes.end_family(HUB, session.session_id, seconds=10)
        session.process.wait(10)


def escaped(session: Session) -> set[int]:
    """Wait until the session's command has started its sleepers; return them."""
    marker = session.home / "started"
    wait_until(marker.exists, 10, what="the command has started its children")
    return set(session.family().members) - set(session.family().supervisors)


def test_reports_nothing_when_the_command_was_started(launch: Callable[..., Session]) -> None:
    session = launch(["/bin/sh", "-c", "exit 0"])
    assert session.said == ""
    assert session.process.wait(10) == 0


def test_starts_nothing_if_the_hub_is_gone_before_it_is_under_its_limits(
    launch: Callable[..., Session],
) -> None:
    session = launch(["/bin/sh", "-c", "touch started"], let_go=False)
    assert session.process.wait(10) == 1
    assert not list(session.home.iterdir())


def test_reports_a_command_that_is_not_there(launch: Callable[..., Session]) -> None:
    session = launch(["/nowhere/jupyterhub-singleuser"])
    assert "/nowhere/jupyterhub-singleuser cannot be started: No such file" in session.said
    assert session.process.wait(10) == 127


def test_hands_on_the_exit_status_of_the_command(launch: Callable[..., Session]) -> None:
    assert launch(["/bin/sh", "-c", "exit 7"]).process.wait(10) == 7


def test_keeps_its_order_from_the_session_and_its_log_private(launch: Callable[..., Session]) -> None:
    session = launch(["/bin/sh", "-c", "env; pwd"])
    session.process.wait(10)
    log = session.home / ".daas" / "test.log"
    assert launcher.ORDER not in log.read_text()
    assert log.read_text().splitlines()[-1] == str(session.home)
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=list(ESCAPES))
def test_leaves_nothing_when_it_is_asked_to_stop(launch: Callable[..., Session], escape: str) -> None:
    session = launch(["/bin/sh", "-c", f"{escape} sleep 0.2; touch started; sleep 300"])
    children = escaped(session)
    assert len(children) >= 2
    session.process.terminate()
    session.process.wait(10)
    assert [pid for pid in children if is_alive(pid)] == []
    assert not session.family()


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=list(ESCAPES))
def test_leaves_nothing_when_the_command_ends_by_itself(launch: Callable[..., Session], escape: str) -> None:
    session = launch(["/bin/sh", "-c", f"{escape} sleep 0.2; touch started; read line < go"])
    os.mkfifo(session.home / "go")
    children = escaped(session)
    with (session.home / "go").open("w") as go:
        go.write("on\n")
    session.process.wait(10)
    assert [pid for pid in children if is_alive(pid)] == []


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=list(ESCAPES))
@pytest.mark.parametrize("victim", ["guard", "keeper"])
def test_leaves_nothing_when_a_supervisor_is_killed(
    launch: Callable[..., Session], escape: str, victim: str
) -> None:
    session = launch(["/bin/sh", "-c", f"{escape} sleep 0.2; touch started; sleep 300"])
    children = escaped(session)
    os.kill(session.process.pid if victim == "guard" else session.keeper(), signal.SIGKILL)
    session.process.wait(10)
    wait_until(lambda: not [pid for pid in children if is_alive(pid)], 10, what="all have ended")
    wait_until(lambda: not session.family(), 10, what="the supervisors have ended")


def test_the_tag_finds_a_session_whose_supervisors_were_both_killed(launch: Callable[..., Session]) -> None:
    session = launch(["/bin/sh", "-c", "setsid sleep 300 & sleep 0.2; touch started; sleep 300"])
    children = escaped(session)
    freeze(session.keeper())
    freeze(session.process.pid)
    for pid in (session.process.pid, session.keeper()):
        os.kill(pid, signal.SIGKILL)
    session.process.wait(10)
    assert [pid for pid in children if is_alive(pid)]
    assert not processes.end_family(HUB, session.session_id, seconds=10)
    assert [pid for pid in children if is_alive(pid)] == []


def test_another_hubs_session_of_the_same_id_is_left_alone(launch: Callable[..., Session]) -> None:
    session = launch(["/bin/sh", "-c", "touch started; sleep 300"])
    assert not processes.end_family("another-hub", session.session_id, seconds=1)
    assert session.session_id not in processes.find_sessions("another-hub")
    assert session.session_id in processes.find_sessions(HUB)
    assert session.process.poll() is None


def test_a_process_that_got_a_supervisors_old_pid_is_none(launch: Callable[..., Session]) -> None:
    session = launch(["/bin/sh", "-c", "touch started; sleep 300"])
    assert processes.is_supervisor(session.process.pid, HUB, session.session_id)
    assert not processes.is_supervisor(session.process.pid, HUB, "0" * 16)
    assert not processes.is_supervisor(os.getpid(), HUB, session.session_id)
    commands = session.family().members - session.family().supervisors - {0}
    assert commands
    assert not any(processes.is_supervisor(pid, HUB, session.session_id) for pid in commands)


def test_refuses_to_supervise_as_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can show it")
    report, its_end = os.pipe()
    order = {"home": str(tmp_path), "folder": "f", "mounts": {}, "log": "l", "report": its_end}
    order |= {"command": ["/usr/bin/touch", str(tmp_path / "ran")], "grace": 1}
    command = [sys.executable, "-I", "-S", launcher.__file__]
    environment = {launcher.ORDER: json.dumps(order), launcher.PROPOSAL: "1"}
    done = subprocess.run(command, env=environment, pass_fds=(its_end,), input=b"1", check=False)
    os.close(its_end)
    with os.fdopen(report) as file:
        assert file.read() == "A session never runs as root."
    assert done.returncode == 1
    assert not (tmp_path / "ran").exists()


# --- links


def place(home: Path, proposal: str, **parts: Path) -> None:
    """Place the links of a proposal in a home."""
    mounts = {f"proposals/{proposal}/{part}": str(source) for part, source in parts.items()}
    launcher.place_links(str(home), proposal, mounts, f"proposals/{proposal}")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return an empty home, with data beside it."""
    for name in ("home", "data", "more"):
        (tmp_path / name).mkdir()
    return tmp_path / "home"


def test_links_the_proposals_folders(home: Path) -> None:
    place(home, "20180301", raw=home.parent / "data", processed=home.parent / "more")
    folder = home / "proposals" / "20180301"
    assert (folder / "raw").readlink() == home.parent / "data"
    assert (folder / "processed").readlink() == home.parent / "more"


def test_changes_a_link_whose_place_has_moved(home: Path) -> None:
    place(home, "20180301", raw=home.parent / "data")
    place(home, "20180301", raw=home.parent / "more")
    assert (home / "proposals/20180301/raw").readlink() == home.parent / "more"


def test_drops_the_links_of_a_proposal_that_is_not_in_use(home: Path) -> None:
    place(home, "20180301", raw=home.parent / "data", processed=home.parent / "more")
    place(home, "20190417", raw=home.parent / "more")
    assert sorted(path.name for path in (home / "proposals").iterdir()) == ["20190417"]


def test_keeps_what_the_person_put_beside_the_links(home: Path) -> None:
    place(home, "20180301", raw=home.parent / "data")
    notes = home / "proposals" / "20180301" / "notes.txt"
    notes.write_text("mine")
    own_link = home / "proposals" / "20180301" / "shortcut"
    own_link.symlink_to("/etc")
    place(home, "20190417", raw=home.parent / "more")
    assert notes.read_text() == "mine"
    assert own_link.is_symlink()
    assert not (home / "proposals" / "20180301" / "raw").is_symlink()


def test_keeps_the_links_of_another_session_that_runs(launch: Callable[..., Session], tmp_path: Path) -> None:
    session = launch(["/bin/sh", "-c", "touch started; sleep 300"])
    place(session.home, "20180301", raw=tmp_path)
    place(session.home, "20190417", raw=tmp_path)
    assert (session.home / "proposals/20180301/raw").is_symlink()
    processes.end_family(HUB, session.session_id, seconds=10)
    place(session.home, "20190417", raw=tmp_path)
    assert not (session.home / "proposals/20180301/raw").is_symlink()


@pytest.mark.parametrize("planted", ["proposals", "proposals/20180301", ".daas"])
def test_refuses_a_folder_that_is_a_link(home: Path, planted: str) -> None:
    elsewhere = home.parent / "elsewhere"
    elsewhere.mkdir()
    (home / planted).parent.mkdir(exist_ok=True)
    (home / planted).symlink_to(elsewhere)
    with pytest.raises(launcher.LaunchError, match="cannot be used"):
        place(home, "20180301", raw=home.parent / "data")
    assert list(elsewhere.iterdir()) == []


def test_refuses_a_log_that_is_a_link(home: Path) -> None:
    precious = home.parent / "precious"
    precious.write_text("kept")
    (home / ".daas").mkdir()
    (home / ".daas" / "brave-curie.log").symlink_to(precious)
    with pytest.raises(launcher.LaunchError, match="log"):
        launcher.open_log(str(home), "brave-curie.log")
    assert precious.read_text() == "kept"


def test_refuses_to_replace_a_file_of_the_person(home: Path) -> None:
    (home / "proposals" / "20180301").mkdir(parents=True)
    (home / "proposals" / "20180301" / "raw").write_text("mine")
    with pytest.raises(launcher.LaunchError, match=r"proposals/20180301/raw .* Rename it"):
        place(home, "20180301", raw=home.parent / "data")
    assert (home / "proposals" / "20180301" / "raw").read_text() == "mine"


@pytest.mark.parametrize(
    "record",
    [
        "not json",
        "[1, 2]",
        '{"../outside/link": "20180301"}',
        '{"proposals/../../outside/link": "20180301"}',
        '{"OUTSIDE": "20180301"}',
        '{"proposals/20180301/kept.txt": "20180301", "x": 5}',
    ],
    ids=["garbage", "list", "climbs", "climbs later", "absolute", "names a file"],
)
def test_a_forged_record_of_links_removes_nothing_else(home: Path, record: str) -> None:
    outside = home.parent / "outside"
    outside.mkdir()
    (outside / "link").symlink_to("/etc")
    kept = home / "proposals" / "20180301" / "kept.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")
    (home / ".daas").mkdir()
    (home / ".daas" / "links.json").write_text(record.replace("OUTSIDE", str(outside / "link")))
    place(home, "20190417", raw=home.parent / "more")
    assert (outside / "link").is_symlink()
    assert kept.read_text() == "kept"
    assert (home / "proposals/20190417/raw").is_symlink()


def test_says_which_home_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(launcher.LaunchError, match=r"home folder .*/missing cannot be opened"):
        place(tmp_path / "missing", "20180301")
