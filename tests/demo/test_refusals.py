"""What keeps a demo from starting is said in one line that tells what to do."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.demo.running import ROOT, assert_refused, start_and_wait
from tests.support.ports import free_port


def test_refuses_a_port_in_use(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = start_and_wait({"DAAS_STATE": str(place / "state"), "DAAS_PORT": str(port)})
    assert_refused(done, f"port {port} is in use", "DAAS_PORT=")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "8000;id", "http", "１"])
def test_refuses_a_port_that_is_none(place: Path, port: str) -> None:
    done = start_and_wait({"DAAS_STATE": str(place / "state"), "DAAS_PORT": port})
    assert_refused(done, "DAAS_PORT must be a number")
    assert not (place / "state").exists()


def test_refuses_a_folder_that_cannot_be_written(place: Path) -> None:
    # A file in the way stops root, too.
    (place / "file").write_text("")
    done = start_and_wait({"DAAS_STATE": str(place / "file" / "state"), "DAAS_PORT": str(free_port())})
    assert_refused(done, "cannot write to", "DAAS_STATE")


@pytest.mark.parametrize("sign", [*list(" :;&|<>()$`\"'\\*?[]#"), "\t", "\n"])
def test_refuses_a_folder_with_a_sign_that_shells_interpret(place: Path, sign: str) -> None:
    done = start_and_wait({"DAAS_STATE": f"{place}/a{sign}b", "DAAS_PORT": str(free_port())})
    assert_refused(done, "DAAS_STATE")
    assert list(place.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_root_gives_no_folder_away_that_is_in_use(place: Path) -> None:
    folder = place / "state"
    folder.mkdir()
    (folder / "thesis.tex").write_text("precious")
    done = start_and_wait({"DAAS_STATE": str(folder), "DAAS_PORT": str(free_port())})
    assert_refused(done, "belongs to root and is not empty", "DAAS_STATE")
    assert folder.stat().st_uid == 0


def test_says_what_to_install_when_it_may_not_do_so_itself(place: Path) -> None:
    # Debian's python3 without python3-venv, and neither root nor sudo: played by commands that fail.
    for name in ("sudo", "apt-get"):
        (place / name).write_text("#!/bin/sh\nexit 1\n")
        (place / name).chmod(0o755)
    script = f"set -eu; program=demo; . {ROOT}/scripts/common.sh; run() {{ return 1; }}; need_python"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert_refused(done, "apt-get install", "python3 python3-venv")


def test_says_which_packages_of_a_ready_made_environment_are_missing(place: Path) -> None:
    subprocess.run(["python3", "-m", "venv", "--without-pip", str(place / "empty")], check=True)
    done = start_and_wait(
        {"DAAS_STATE": str(place / "state"), "DAAS_PORT": str(free_port()), "DAAS_VENV": str(place / "empty")}
    )
    assert_refused(done, "lacks packages", "DAAS_VENV")
