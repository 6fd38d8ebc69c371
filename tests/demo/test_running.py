"""Demos that run: who may enter, as whom everything runs, and what stays private."""

import os
import pwd
from pathlib import Path

from tests.demo.running import RunningDemo, assert_refused, start_and_wait
from tests.support.ports import free_port
from tests.support.sign_in import browser, sign_in_with_account, sign_in_with_provider

Two = tuple[RunningDemo, RunningDemo]


def test_two_run_side_by_side_and_let_their_own_people_in(two_demos: Two) -> None:
    for demo, other in (two_demos, reversed(two_demos)):
        assert f"http://127.0.0.1:{demo.port}/" in demo.printed()
        umbrella, facility = demo.logins()["amara"]
        arrived = sign_in_with_provider(browser(), demo.url, "amara", umbrella)
        assert arrived.status_code == 200
        assert arrived.url.startswith(f"{demo.url}/services/portal/")
        assert sign_in_with_account(browser(), demo.url, "amara", facility).status_code == 302
        # Passwords are made for each demo: what one prints opens no other.
        assert sign_in_with_account(browser(), other.url, "amara", facility).status_code != 302


def test_whoever_has_no_proposal_or_account_stays_out(two_demos: Two) -> None:
    demo = two_demos[0]
    for person in ("dora", "zoe"):
        answer = sign_in_with_provider(browser(), demo.url, person, demo.logins()[person][0])
        assert answer.status_code == 403, person


def test_nothing_runs_as_root(two_demos: Two) -> None:
    demo = two_demos[0]
    demo.start_desktop()
    accounts = {Path(f"/proc/{pid}").stat().st_uid for pid in demo.processes()}
    assert len(accounts) == 1
    account = pwd.getpwuid(accounts.pop())
    assert account.pw_uid == (os.getuid() or pwd.getpwnam("daas-demo").pw_uid) != 0
    assert f"all sessions run as the account {account.pw_name}" in demo.printed()


def test_secrets_are_private_and_in_no_command(two_demos: Two) -> None:
    demo = two_demos[1]
    assert demo.state.stat().st_mode & 0o077 == 0
    secrets = [path for path in (demo.state / "secrets").iterdir() if path.is_file()]
    assert {"client_secret", "proxy_token", "logins.json", "provider.json"} <= {path.name for path in secrets}
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    commands = "\n".join(demo.processes().values())
    assert "configurable-http-proxy" in commands
    for name in ("client_secret", "proxy_token"):
        secret = (demo.state / "secrets" / name).read_text().strip()
        assert len(secret) == 64
        assert secret not in commands


def test_only_this_computer_can_reach_it(two_demos: Two) -> None:
    demo = two_demos[0]
    mine = {f"socket:[{inode}]" for inode in listening_beyond_loopback()}
    for pid in demo.processes():
        links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]
        assert not mine.intersection(links), demo.processes()[pid]


def listening_beyond_loopback() -> set[str]:
    """Return the inodes of the TCP sockets that listen on an address that others could reach."""
    found = set()
    for table, loopback in (
        ("tcp", ("0100007F",)),
        ("tcp6", ("0" * 24 + "01000000", "0" * 16 + "FFFF00000100007F")),
    ):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[1].partition(":")[0] not in loopback:
                found.add(fields[9])
    return found


def test_refuses_a_second_demo_with_the_same_folder(two_demos: Two) -> None:
    demo = two_demos[0]
    done = start_and_wait({"DAAS_STATE": str(demo.state), "DAAS_PORT": str(free_port())})
    assert_refused(done, "a demo is running with", "DAAS_STATE")
    assert demo.process.poll() is None
