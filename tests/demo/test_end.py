"""However a demo ends, it leaves no process behind."""

import os
import signal

from tests.demo.conftest import StartDemo
from tests.support.waiting import wait_until


def test_ctrl_c_ends_everything_and_the_next_start_finds_all_as_it_was(start_demo: StartDemo) -> None:
    first = start_demo("state").wait_until_up()
    first.start_desktop()
    assert first.runs("Xtigervnc") or first.runs("Xvnc")
    logins, ports = first.logins(), (first.state / "ports.json").read_text()
    assert first.ask_to_stop(signal.SIGINT) == 0
    assert first.processes() == {}
    assert "Everything has stopped." in first.printed()
    assert "Traceback" not in first.printed()
    second = start_demo("state").wait_until_up()
    assert second.logins() == logins
    assert (second.state / "ports.json").read_text() == ports
    # The terminal is closed.
    assert second.ask_to_stop(signal.SIGHUP) == 0
    assert second.processes() == {}


def test_nothing_is_left_when_the_guardian_is_killed(start_demo: StartDemo) -> None:
    demo = start_demo("state").wait_until_up()
    demo.start_desktop()
    demo.process.kill()
    wait_until(lambda: not demo.processes(), 90, what="nothing of the demo is left")


def test_nothing_is_left_when_the_runner_is_killed(start_demo: StartDemo) -> None:
    demo = start_demo("state").wait_until_up()
    demo.start_desktop()
    os.kill(demo.runner(), signal.SIGKILL)
    assert demo.process.wait(timeout=90) != 0
    assert demo.processes() == {}


def test_says_what_ended_by_itself_and_ends_the_rest(start_demo: StartDemo) -> None:
    demo = start_demo("state").wait_until_up()
    proxy = next(pid for pid, command in demo.processes().items() if "configurable-http-proxy" in command)
    os.kill(proxy, signal.SIGKILL)
    assert demo.process.wait(timeout=90) == 1
    assert "demo: the proxy ended by itself" in demo.printed()
    assert demo.processes() == {}
