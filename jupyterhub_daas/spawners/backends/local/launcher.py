"""Supervise one local session, as the person, so that nothing of it outlives its end.

Invariant: whatever the session starts stays a descendant of this program until it is dead, however it
detaches itself. Two supervisors, guard and keeper, both adopt orphaned descendants and each notices when the
other is killed, so that killing one of them ends the session and leaves nothing. They outlive the hub.

This file runs alone, in an isolated interpreter without site packages: each start waits for it, so it imports
the least. The hub imports it too, for the functions that read the process table.
"""

# ruff: noqa: PTH123, PTH208, SIM105 - pathlib and contextlib would double the time that this file takes

import ctypes
import json
import os
import signal
import sys
import time

ORDER = "DAAS_LAUNCH"
SESSION = "DAAS_SESSION_ID"
PROPOSAL = "DAAS_PROPOSAL"
OWN = ".daas"  # our folder in the home: the record of links, the sessions' logs
LINKS = "links.json"

_STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_WAITED = _STOPS | {signal.SIGCHLD}
_FOREVER = 1e9
_TIDY_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LaunchError(Exception):
    """Tell the person why her session cannot start."""


def read_parents() -> dict[int, int]:
    """Map each process that is not a zombie to its parent."""
    parents = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue  # it ended meanwhile
        # The name in parentheses may itself contain blanks and parentheses.
        state, parent = stat[stat.rindex(b")") + 2 :].split(None, 2)[:2]
        if state not in b"ZX":
            parents[int(name)] = int(parent)
    return parents


def read_environment(pid: int) -> dict[bytes, bytes]:
    """Return the environment that a process was started with; empty if it ended or is not ours to read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (entry.partition(b"=") for entry in entries)}


def descendants(roots: set[int], parents: dict[int, int]) -> set[int]:
    """Return all processes below `roots`, without these."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    pending = list(roots)
    while pending:
        below = [pid for pid in children.get(pending.pop(), ()) if pid not in found and pid not in roots]
        found.update(below)
        pending.extend(below)
    return found


def place_links(home: str, proposal: str, mounts: dict[str, str], folder: str) -> None:
    """Make the proposal's folder, link its mounts (target -> source), drop links that other proposals left.

    Every step is taken relative to an open folder and follows no link, so that nothing is made outside.
    """
    root = _open_home(home)
    own = _open_own(root)
    try:
        made = _read_made(own)
        # Another session of the person may work on another proposal at this moment: its links stay.
        kept = {proposal} | _proposals_in_use(home)
        for target, owner in list(made.items()):
            if target not in mounts and (owner == proposal or owner not in kept):
                _drop_link(root, target)
                del made[target]
        os.close(_make_folder(root, folder.split("/")))
        for target, source in mounts.items():
            _place_link(root, target, source)
            made[target] = proposal
        _write_made(own, made)
    finally:
        os.close(own)
        os.close(root)


def open_log(home: str, name: str) -> int:
    """Open the session's log, empty, in our folder in the home."""
    root = _open_home(home)
    own = _open_own(root)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=own)
    except OSError as error:
        raise LaunchError(f"The session's log {OWN}/{name} cannot be written: {error.strerror}.") from error
    finally:
        os.close(own)
        os.close(root)


def _open_own(root: int) -> int:
    try:
        return _open_folder(root, [OWN], make=True)
    except OSError as error:
        raise LaunchError(f"The folder {OWN} in your home cannot be used: {error.strerror}.") from error


def _open_home(home: str) -> int:
    try:
        # Homes may be links themselves (automounted ones often are): the facility names them, not the person.
        return os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LaunchError(f"Your home folder {home} cannot be opened: {error.strerror}.") from error


def _open_folder(root: int, parts: list[str], *, make: bool) -> int:
    """Open a folder below `root` without following a link on the way."""
    current = os.dup(root)
    try:
        for part in parts:
            if make:
                try:
                    os.mkdir(part, 0o755, dir_fd=current)
                except FileExistsError:
                    pass
            below = os.open(part, _FOLDER, dir_fd=current)
            os.close(current)
            current = below
    except OSError:
        os.close(current)
        raise
    return current


def _make_folder(root: int, parts: list[str]) -> int:
    try:
        return _open_folder(root, parts, make=True)
    except OSError as error:
        raise LaunchError(
            f"The folder {'/'.join(parts)} in your home cannot be used ({error.strerror}): it must be a real "
            "folder of yours, not a link or a file. Move it away and start again."
        ) from error


def _place_link(root: int, target: str, source: str) -> None:
    *parts, name = target.split("/")
    folder = _make_folder(root, parts)
    try:
        present = _link_target(folder, name)
        if present == source:
            return
        if present is None and _exists(folder, name):
            raise LaunchError(
                f"{target} in your home is in the way of the proposal's data. Rename it and start again."
            )
        # Made beside and renamed: at no moment is the link absent for a session that runs already.
        fresh = f".{name}.{os.getpid()}"
        os.symlink(source, fresh, dir_fd=folder)
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        raise LaunchError(f"The link {target} in your home cannot be made: {error.strerror}.") from error
    finally:
        os.close(folder)


def _drop_link(root: int, target: str) -> None:
    parts = target.split("/")
    try:
        folder = _open_folder(root, parts[:-1], make=False)
        try:
            if _link_target(folder, parts[-1]) is not None:
                os.unlink(parts[-1], dir_fd=folder)
        finally:
            os.close(folder)
        above = _open_folder(root, parts[:-2], make=False)
        try:
            os.rmdir(parts[-2], dir_fd=above)
        finally:
            os.close(above)
    except (OSError, IndexError):
        pass  # it is gone already, or the person keeps something of her own there


def _link_target(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _read_made(own: int) -> dict[str, str]:
    """Return the links that earlier sessions made, target -> proposal; the person may have changed it."""
    try:
        with open(os.open(LINKS, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=own), "rb") as file:
            content = json.loads(file.read(1 << 20))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        target: owner
        for target, owner in content.items()
        if isinstance(owner, str) and not target.startswith("/") and ".." not in target.split("/")
    }


def _write_made(own: int, made: dict[str, str]) -> None:
    fresh = f"{LINKS}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(fresh, flags, 0o600, dir_fd=own), "w") as file:
            json.dump(made, file)
        os.rename(fresh, LINKS, src_dir_fd=own, dst_dir_fd=own)
    except OSError as error:
        raise LaunchError(f"Your home folder cannot be written: {error.strerror}.") from error


def _proposals_in_use(home: str) -> set[str]:
    """Return the proposals of the sessions that run with this home."""
    wanted, used = home.encode(), set()
    for pid in read_parents():
        environment = read_environment(pid)
        if environment.get(b"HOME") == wanted and PROPOSAL.encode() in environment and pid != os.getpid():
            used.add(environment[PROPOSAL.encode()].decode(errors="replace"))
    return used


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise LaunchError(f"The session cannot be supervised: {os.strerror(number)}.")


def _reap(pid: int) -> int | None:
    """Collect all children that ended; return the exit status of `pid` if it is among them."""
    status = None
    while True:
        try:
            ended, raw = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if ended == 0:
            return status
        if ended == pid:
            status = os.waitstatus_to_exitcode(raw)


def _watch(pid: int, grace: float) -> int:
    """Wait until a child ends, passing on a request to stop; then kill what is left below this process."""
    deadline = None
    status = _reap(pid)
    while status is None:
        left = _FOREVER if deadline is None else max(0.0, deadline - time.monotonic())
        received = signal.sigtimedwait(_WAITED, left)
        if received is None:
            break
        if deadline is None and received.si_signo in _STOPS:
            deadline = time.monotonic() + grace
            _kill(pid, signal.SIGTERM)
        status = _reap(pid)
    _end_descendants()
    if status is None:
        return 128 + signal.SIGTERM
    return status if status >= 0 else 128 - status


def _end_descendants() -> None:
    """End what is left: asked first, because an X server tidies up after itself, then killed.

    What may not be killed (another account's) keeps this process waiting, as an anchor for the hub.
    """
    asked: set[int] = set()
    deadline = time.monotonic() + _TIDY_SECONDS
    while True:
        _reap(0)
        family = descendants({os.getpid()}, read_parents())
        if not family and not _has_children():
            return
        late = time.monotonic() > deadline
        for pid in family if late else family - asked:
            _kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked |= family
        signal.sigtimedwait({signal.SIGCHLD}, 0.02)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # gone, or another account's: the hub deals with that


def _keep(command: list[str], grace: float, guard: int, report: int, log: int) -> int:
    """Be the keeper: start the session's command and end with it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != guard:
        return 1  # the guard was killed before the line above
    session = os.fork()
    if session == 0:
        _run(command, report, log)
    os.close(report)
    os.close(log)
    return _watch(session, grace)


def _run(command: list[str], report: int, log: int) -> None:
    """Become the session's command, in a session of its own. Never returns."""
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        # The interpreter ignores these; a shell in the session relies on them.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        _tell(report, f"{command[0]} cannot be started: {error.strerror}.")
    os._exit(127)


def _tell(report: int, message: str) -> None:
    """Answer the hub, which waits: no message means that the command was started."""
    try:
        os.write(report, message.encode()[:4000])
    except BrokenPipeError:
        pass  # the hub was killed meanwhile


def main() -> int:
    """Be the guard: prepare the home, start the keeper and end with it."""
    order = json.loads(os.environ.pop(ORDER))
    report = int(order["report"])
    os.set_inheritable(report, False)
    # Blocked before the first fork, so that no request to stop is lost between two steps.
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    if not os.read(0, 1):  # the hub writes when we are under our limits; one that was killed does not
        return 1
    try:
        if os.geteuid() == 0:
            raise LaunchError("A session never runs as root.")
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        place_links(order["home"], os.environ.get(PROPOSAL, ""), order["mounts"], order["folder"])
        log = open_log(order["home"], order["log"])
        os.chdir(order["home"])
    except (LaunchError, OSError) as error:
        _tell(report, str(error))
        return 1
    guard = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        try:
            status = _keep(order["command"], order["grace"], guard, report, log)
        except LaunchError as error:
            _tell(report, str(error))
            status = 1
        os._exit(status)
    os.close(report)
    os.close(log)
    return _watch(keeper, order["grace"] + 3.0)


if __name__ == "__main__":
    sys.exit(main())
