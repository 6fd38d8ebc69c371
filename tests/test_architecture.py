"""The architecture is what the folders say: one direction of imports, and nothing happens on import."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_ASSIGNED = re.compile(r'^(revision|down_revision) = "(\d{4})"$', re.MULTILINE)


def test_imports_go_in_one_direction() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--config", "setup.cfg", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_core_needs_only_the_standard_library_and_pydantic() -> None:
    script = (
        "import sys, pkgutil, importlib, jupyterhub_daas.core as core\n"
        "for module in pkgutil.iter_modules(core.__path__):\n"
        "    importlib.import_module(f'jupyterhub_daas.core.{module.name}')\n"
        "foreign = {'jupyterhub', 'tornado', 'traitlets', 'sqlalchemy', 'aiohttp', 'yaml', 'jinja2'}\n"
        "print(sorted(foreign & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_migrations_of_a_service_are_one_line() -> None:
    """Two migrations after the same one would keep the service from starting."""
    for folder in sorted((ROOT / "jupyterhub_daas" / "services").glob("*/migrations")):
        files = sorted(folder.glob("[0-9]*.py"))
        chain = [
            (values["revision"], values.get("down_revision"))
            for values in (dict(_ASSIGNED.findall(file.read_text())) for file in files)
        ]
        numbers = [f"{number:04d}" for number in range(1, len(files) + 1)]
        assert chain == list(zip(numbers, [None, *numbers[:-1]], strict=True)), folder
