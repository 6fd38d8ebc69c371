"""The job's script: always the same program, with one literal that says whom to ask.

A value is never text of the script: it is JSON, written as a literal of Python. There is no shell.
"""

import json
from functools import cache
from pathlib import Path

from jupyterhub_daas.core.model import Model

PLACE = 'GIVEN = "{}"'


class Given(Model):
    """What the script holds: where the hub is, which job this is, and whose account it must find itself in.

    `code` is good for one fetch; `home` is None for the account's own; `ca` is a file of certificates on the
    node. Where the script `is_file` of the person's, it removes itself.
    """

    url: str
    code: str
    uid: int
    gid: int
    groups: tuple[str, ...] = ()
    home: str | None = None
    log: str
    ca: str | None = None
    is_file: bool = False


def build_script(given: Given, *, python: str) -> str:
    """Return the script; `python` is the path of an interpreter on the nodes."""
    program = _program()
    literal = repr(json.dumps(given.model_dump(), sort_keys=True, ensure_ascii=True))
    return f"#!{python} -IS\n" + program.replace(PLACE, f"GIVEN = {literal}")


@cache
def _program() -> str:
    program = Path(__file__).with_name("job.py").read_text()
    if program.count(f"\n{PLACE}\n") != 1:
        raise RuntimeError("job.py has no place for what it is given")
    return program
