"""The command ``jupyterhub-daas``, for administrators at the machine of the services.

It reads the services' databases and changes nothing; run it under the account of the services. Exit status:
0 all is well, 1 the audit trail is broken, 2 the command could not do its work.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from jupyterhub_daas.core.audit import BEGINNING, Break, Head
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.errors import ConfigurationError, DaasError
from jupyterhub_daas.services.accounts.audit import AuditStore, Wanted
from jupyterhub_daas.services.environment import DATABASE_VARIABLE

OK, BROKEN, FAILED = 0, 1, 2
_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = _parser().parse_args(arguments)
    command: Callable[[AuditStore, argparse.Namespace], Awaitable[int]] = given.command
    try:
        return asyncio.run(_with_trail(command, given))
    except DaasError as error:
        print(error.message, file=sys.stderr)
    except ValueError:
        print("A row of the audit trail can't be read: run 'audit verify'.", file=sys.stderr)
    except BrokenPipeError:
        # Whoever read the export has had enough; nothing more may be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jupyterhub-daas", description="Look after a portal's services.")
    audit = parser.add_subparsers(title="parts", required=True, metavar="part").add_parser(
        "audit", help="the audit trail", description="Read the audit trail of the account service."
    )
    commands = audit.add_subparsers(title="commands", required=True, metavar="command")
    verify = commands.add_parser(
        "verify",
        help="check that no row was removed, changed, moved or put in between",
        description="Check the whole trail. Prints its head; keep that elsewhere and give it next time.",
    )
    verify.add_argument(
        "--expect", type=_head, metavar="HEAD", help="a head that was printed before: it must be in the trail"
    )
    verify.set_defaults(command=_verify)
    export = commands.add_parser(
        "export", help="write it as JSON lines", description="Write events as JSON lines, the oldest first."
    )
    export.add_argument("--from", dest="begins", type=_moment, help="only events of this moment or later")
    export.add_argument("--to", dest="ends", type=_moment, help="only events before this moment")
    export.set_defaults(command=_export)
    for each in (verify, export):
        place = each.add_mutually_exclusive_group()
        place.add_argument("--state", type=Path, metavar="FOLDER", help="the services' folder, as configured")
        place.add_argument(
            "--database-url", metavar="URL", help=f"the services' database; default: ${DATABASE_VARIABLE}"
        )
    return parser


def _moment(text: str) -> datetime:
    dated = f"{text}T00:00:00Z" if len(text) == len("2026-01-31") else text
    try:
        return _MOMENT.validate_python(dated)
    except ValidationError:
        raise argparse.ArgumentTypeError("give a day or a moment: 2026-01-31, 2026-01-31T12:00:00Z") from None


def _head(text: str) -> Head:
    number, _, hash_ = text.partition(":")
    if not number.isascii() or not number.isdigit() or len(hash_) != len(BEGINNING):
        raise argparse.ArgumentTypeError("give a head as 'audit verify' prints it")
    return Head(int(number), hash_)


def _database_url(given: argparse.Namespace) -> str:
    if given.state is not None:
        url = f"sqlite:///{given.state / 'accounts.sqlite'}"
    else:
        url = given.database_url or os.environ.get(DATABASE_VARIABLE, "")
    if not url:
        raise ConfigurationError("Say where the services' database is: --state or --database-url.")
    try:
        parsed = make_url(url)
    except ArgumentError:
        return str(url)
    # SQLite would make an empty database of a wrong name, and an empty trail is in order.
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise ConfigurationError(f"There is no database {parsed.database}.")
    return str(url)


async def _with_trail(
    command: Callable[[AuditStore, argparse.Namespace], Awaitable[int]], given: argparse.Namespace
) -> int:
    engine = create_engine(_database_url(given))
    try:
        trail = AuditStore(engine)
        if not await trail.exists():
            raise ConfigurationError("There is no audit trail in this database.")
        return await command(trail, given)
    finally:
        await engine.dispose()


async def _verify(trail: AuditStore, given: argparse.Namespace) -> int:
    found = await trail.verify()
    if isinstance(found, Head) and given.expect is not None:
        found = await trail.check_contains(given.expect) or found
    if isinstance(found, Break):
        print(f"The audit trail is broken: {found.what}.")
        return BROKEN
    print(f"The audit trail is whole. Its head: {found}")
    return OK


async def _export(trail: AuditStore, given: argparse.Namespace) -> int:
    async for record in trail.export(Wanted(begins=given.begins, ends=given.ends)):
        print(record.model_dump_json())
    sys.stdout.flush()
    return OK


if __name__ == "__main__":
    sys.exit(main())
