"""Be a session's job: fetch the launch, start the server, report its port once it listens, and end with it.

This file is the job's script, with GIVEN filled in, and runs alone on a node, in an isolated interpreter of
at least Python 3.6. What it is given holds no secret but a code that is good for one fetch: all that the
session gets comes from the hub, over the one connection that checks the code.
"""

# It knows no more than the interpreter of an old node does:
# ruff: noqa: PTH103, PTH108, PTH114, PTH115, PTH118, PTH120, PTH123, PTH208, PTH211, SIM105, PERF203, S310
# ruff: noqa: S606, UP006, UP032, UP035, UP045

import grp
import json
import os
import pwd
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Dict, List, Optional, Tuple

GIVEN = "{}"

OWN = ".daas"
ASK_SECONDS = 20
RETRY_SECONDS = 900
LISTEN_SECONDS = 600
REST_SECONDS = 2
PR_SET_CHILD_SUBREAPER = 36
# Whatever a scheduler says to the job is said to its server.
HANDED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
WRONG_ACCOUNT, NO_LAUNCH, NO_COMMAND = 91, 92, 93
# What a scheduler says of the job, and what programs on GPUs need.
KEPT = ("TMPDIR", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL")
KEPT_JOB = ("SLURM_JOB_ID", "SLURM_CONF", "OAR_JOB_ID")


def say(text: object) -> None:
    """Write a line to the session's log."""
    sys.stderr.write("daas: {}\n".format(text))
    sys.stderr.flush()


class Refused(Exception):  # noqa: N818
    """The hub does not want this job."""


class Hub:
    """The two calls that a job may make."""

    def __init__(self, given: Dict[str, Any]) -> None:
        self.url = given["url"]
        # Whatever proxy the node names is none of the hub's business.
        handlers: List[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.url.startswith("https:"):
            import ssl

            context = ssl.create_default_context(cafile=given["ca"])
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self.opener = urllib.request.build_opener(*handlers)

    def call(self, what: str, proof: str, body: Dict[str, Any]) -> Any:
        """Ask until there is an answer: the hub may be starting again."""
        data = json.dumps(body).encode()
        headers = {"Authorization": "DaaS-Job " + proof, "Content-Type": "application/json"}
        end, pause, again = time.time() + RETRY_SECONDS, 0.2, False
        problem: object = None
        while True:
            request = urllib.request.Request(self.url + what, data=data, headers=headers)
            try:
                with self.opener.open(request, timeout=ASK_SECONDS) as answer:
                    return json.loads(answer.read().decode())
            except urllib.error.HTTPError as error:
                if error.code == 409 and again and what == "port":
                    return {}  # the answer to the first call got lost
                if error.code < 500:
                    raise Refused("the hub answered {}".format(error.code))  # noqa: B904
                problem = error
            except (OSError, ValueError) as error:
                problem = error
            if time.time() > end:
                raise Refused("the hub does not answer: {}".format(problem))
            again = True
            time.sleep(pause)
            pause = min(pause * 2, 5)


def remove_script() -> None:
    """Remove this file from the person's home: it was for one start."""
    try:
        os.unlink(__file__)
    except OSError:
        pass  # it holds nothing that is of use a second time


def check_account(given: Dict[str, Any]) -> None:
    """Refuse to be root, or somebody else than the facility says."""
    found = (os.getuid(), os.getgid())
    if 0 in found or os.geteuid() != found[0] or found != (given["uid"], given["gid"]):
        raise Refused("this account has other numbers here than in the facility's directory")
    names = set()
    for each in os.getgroups():
        try:
            names.add(grp.getgrgid(each).gr_name)
        except KeyError:
            pass
    missing = sorted(set(given["groups"]) - names)
    if missing:
        raise Refused("this account lacks these groups here: " + ", ".join(missing))


def open_log(home: str, name: str) -> None:
    """Send what is written from now on to the session's log."""
    folder = os.path.join(home, OWN)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    log = os.open(os.path.join(folder, name), flags, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def place_links(home: str, folder: str, links: Dict[str, str]) -> None:
    """Make the proposal's folder and the links to its data, as the person and with her rights only."""
    os.makedirs(os.path.join(home, folder), exist_ok=True)
    for target, source in sorted(links.items()):
        path = os.path.join(home, target)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.islink(path):
                if os.readlink(path) == source:
                    continue
                os.unlink(path)
            os.symlink(source, path)
        except OSError as error:
            say("{} is not linked: {}".format(target, error.strerror))


def free_port(address: str) -> int:
    """Return a port of this node that nobody has now; that we got it is seen before it is reported."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def is_ours(port: int) -> bool:
    """Tell whether processes of this account, and no others, listen on a port of this node."""
    owners = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name) as table:
                lines = table.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                owners.add(int(fields[7]))
    return owners == {os.getuid()}


def lives(process: int) -> bool:
    """Tell whether a process is there."""
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def report(hub: Hub, secret: str, port: int, server: int) -> None:
    """Wait until the server listens and tell the hub; end the server if the hub does not want it."""
    end = time.time() + LISTEN_SECONDS
    while not is_ours(port):
        if not lives(server) or time.time() > end:
            return
        time.sleep(0.05)
    try:
        hub.call("port", secret, {"port": port})
    except Refused as error:
        say(error)
        os.kill(server, signal.SIGTERM)


def report_aside(hub: Hub, secret: str, port: int) -> None:
    """Do so in a process that the server does not have as its child."""
    server = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork():
        os._exit(0)
    try:
        report(hub, secret, port, server)
    finally:
        os._exit(0)


def adopt_orphans() -> None:
    """Stay above whatever the server starts: a scheduler without control groups finds no other process."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        say("what detaches itself is left to the scheduler")


def reap(server: int) -> Tuple[Optional[int], bool]:
    """Return the server's wait status if it has ended, and whether any process is left."""
    found = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except OSError:
            return found, False
        if not process:
            return found, True
        if process == server:
            found = status


def attend(server: int) -> int:
    """Hand signals on to the server until it ends; return its wait status. These signals are blocked."""
    while True:
        number = signal.sigwait(HANDED_ON | {signal.SIGCHLD})
        if number in HANDED_ON:
            os.kill(server, number)
            continue
        status, _ = reap(server)
        if status is not None:
            return status


def children() -> List[int]:
    """Return this process's children: those of one that ends become them."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/{}/stat".format(int(name)), "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if int(parent) == os.getpid() and state not in b"ZX":
            found.append(int(name))
    return found


def end_rest() -> None:
    """End what the server has left behind."""
    end, asked = time.time() + REST_SECONDS, set()
    while reap(0)[1]:
        number = signal.SIGTERM if time.time() < end else signal.SIGKILL
        for process in children():
            if (process, number) not in asked:
                asked.add((process, number))
                try:
                    os.kill(process, number)
                except OSError:
                    pass  # it has ended
        time.sleep(0.02)


def end_like(status: int) -> int:
    """Return the exit code of a wait status, or end by its signal."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number


def environment_of(launch: Dict[str, Any], home: str, port: int) -> Dict[str, str]:
    """Return the server's environment: what the hub says, and what the scheduler allotted."""
    account = pwd.getpwuid(os.getuid())
    result = {name: os.environ[name] for name in KEPT + KEPT_JOB if name in os.environ}
    result.update(HOME=home, USER=account.pw_name, LOGNAME=account.pw_name)
    result.update(SHELL=account.pw_shell or "/bin/sh")
    result.update(launch["environment"])
    result["DAAS_FOLDER"] = os.path.join(home, launch["folder"])
    result["JUPYTERHUB_SERVICE_URL"] = "http://{}:{}{}".format(launch["listen"], port, launch["prefix"])
    if launch["contained"]:
        # A container starts with a clean environment: what carries this prefix comes in, and is on no command
        # line.
        for name in set(result) - {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR"}:
            result[launch["contained"] + name] = result[name]
    return result


def serve(given: Dict[str, Any], home: str) -> int:
    """Become the session's server."""
    hub, secret = Hub(given), secrets.token_hex(32)
    try:
        launch = hub.call("launch", given["code"], {"secret": secret})
    except Refused as error:
        say(error)
        return NO_LAUNCH
    place_links(home, launch["folder"], launch["links"])
    port = free_port(launch["listen"])
    environment = environment_of(launch, home, port)
    report_aside(hub, secret, port)
    try:
        os.execvpe(launch["command"][0], launch["command"], environment)
    except OSError as error:
        say("{} cannot be started: {}".format(launch["command"][0], error.strerror))
        return NO_COMMAND


def main() -> int:
    """Start the session's server, and leave nothing when it has ended."""
    given = json.loads(GIVEN)
    if given["is_file"]:
        remove_script()
    try:
        check_account(given)
    except Refused as error:
        say(error)
        return WRONG_ACCOUNT
    home = given["home"] or pwd.getpwuid(os.getuid()).pw_dir
    os.umask(0o022)
    open_log(home, given["log"])
    os.chdir(home)
    adopt_orphans()
    # Before the fork, so that no signal is lost between two steps.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON | {signal.SIGCHLD})
    server = os.fork()
    if not server:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON | {signal.SIGCHLD})
        return serve(given, home)
    status = attend(server)
    end_rest()
    return end_like(status)


if __name__ == "__main__":
    sys.exit(main())
