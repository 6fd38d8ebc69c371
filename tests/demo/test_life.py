"""A demo comes up, can be used, and leaves nothing behind however it ends."""

import os
import pwd
import signal
from pathlib import Path

import pytest
import requests

from tests.demo.conftest import StartDemo
from tests.demo.running import RunningDemo
from tests.support.sign_in import browser, sign_in_with_account, sign_in_with_provider
from tests.support.waiting import wait_until


def signed_in_page(response: requests.Response, demo: RunningDemo) -> bool:
    return response.status_code == 200 and response.url.startswith(f"{demo.url}/services/portal/")


def test_two_demos_run_side_by_side_and_let_their_own_people_in(start_demo: StartDemo) -> None:
    demos = [start_demo("first"), start_demo("second")]
    for demo in demos:
        demo.wait_until_up()
    for demo, other in zip(demos, reversed(demos), strict=True):
        assert f"http://127.0.0.1:{demo.port}/" in demo.printed()
        umbrella, facility = demo.logins()["amara"]
        assert signed_in_page(sign_in_with_provider(browser(), demo.url, "amara", umbrella), demo)
        assert sign_in_with_account(browser(), demo.url, "amara", facility).status_code == 302
        # Passwords are made for each demo: what one prints opens no other.
        assert sign_in_with_account(browser(), other.url, "amara", facility).status_code != 302
    assert all(demo.ask_to_stop() == 0 for demo in demos)
    assert [demo.processes() for demo in demos] == [{}, {}]


def test_nothing_runs_as_root_and_secrets_are_private(start_demo: StartDemo) -> None:
    demo = start_demo("state").wait_until_up()
    demo.start_desktop()
    accounts = {Path(f"/proc/{pid}").stat().st_uid for pid in demo.processes()}
    assert len(accounts) == 1
    account = pwd.getpwuid(accounts.pop())
    assert account.pw_uid == (os.getuid() or pwd.getpwnam("daas-demo").pw_uid) != 0
    assert f"all sessions run as the account {account.pw_name}" in demo.printed()
    assert demo.state.stat().st_mode & 0o077 == 0
    secrets = [path for path in (demo.state / "secrets").iterdir() if path.is_file()]
    assert {"client_secret", "proxy_token", "logins.json", "provider.json"} <= {path.name for path in secrets}
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    commands = "\n".join(demo.processes().values())
    for name in ("client_secret", "proxy_token"):
        assert (demo.state / "secrets" / name).read_text().strip() not in commands


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_leaves_no_process_when_asked_to_stop(start_demo: StartDemo, signum: signal.Signals) -> None:
    demo = start_demo("state").wait_until_up()
    demo.start_desktop()
    assert demo.runs("Xtigervnc") or demo.runs("Xvnc")
    assert demo.ask_to_stop(signum) == 0
    assert demo.processes() == {}
    assert "Traceback" not in demo.printed()


def test_leaves_no_process_when_the_guardian_is_killed(start_demo: StartDemo) -> None:
    demo = start_demo("state").wait_until_up()
    demo.start_desktop()
    demo.process.kill()
    wait_until(lambda: not demo.processes(), 90, what="nothing of the demo is left")


def test_leaves_no_process_when_the_runner_is_killed(start_demo: StartDemo) -> None:
    demo = start_demo("state").wait_until_up()
    demo.start_desktop()
    os.kill(demo.runner(), signal.SIGKILL)
    assert demo.process.wait(timeout=90) != 0
    assert demo.processes() == {}


def test_says_what_ended_and_ends_the_rest(start_demo: StartDemo) -> None:
    demo = start_demo("state").wait_until_up()
    proxy = next(pid for pid, command in demo.processes().items() if "configurable-http-proxy" in command)
    os.kill(proxy, signal.SIGKILL)
    assert demo.process.wait(timeout=90) == 1
    assert "demo: the proxy ended by itself" in demo.printed()
    assert demo.processes() == {}


def test_starts_again_with_the_same_logins_and_ports(start_demo: StartDemo) -> None:
    first = start_demo("state").wait_until_up()
    logins, ports = first.logins(), (first.state / "ports.json").read_text()
    assert first.ask_to_stop() == 0
    second = start_demo("state").wait_until_up()
    assert second.logins() == logins
    assert (second.state / "ports.json").read_text() == ports
