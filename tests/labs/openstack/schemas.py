"""Make the services' empty databases: schemas.py FOLDER. Slow, and the same for every cloud."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from settings import DATABASES, PORTS, Places, environment, write_settings

HERE = Path(__file__).parent


def commands(places: Places) -> list[list[list[str]]]:
    """Return the commands that make the schemas: each list is for itself, its commands in their order."""
    keystone, glance = f"--config-file={places.file('keystone')}", f"--config-file={places.file('glance')}"
    nova = ["nova-manage", f"--config-file={places.file('nova')}"]
    return [
        [["keystone-manage", keystone, "db_sync"]],
        [["glance-manage", glance, "db_sync"]],
        [["python", str(HERE / "neutron_schema.py"), str(places.run / "db/neutron.sqlite")]],
        [["placement-manage", f"--config-file={places.file('placement')}", "db", "sync"]],
        [["cinder-manage", f"--config-file={places.file('cinder')}", "db", "sync"]],
        [
            [*nova, "api_db", "sync"],
            [*nova, "cell_v2", "map_cell0", f"--database_connection={places.database('nova_cell0')}"],
            [
                *nova,
                *("cell_v2", "create_cell", "--name=cell1", "--transport-url=fake:///"),
                f"--database_connection={places.database('nova_cell1')}",
            ],
            [*nova, "db", "sync"],
        ],
    ]


def make(folder: Path) -> None:
    """Make all databases."""
    venv = Path(sys.prefix)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        places = Places(Path(name), venv, dict.fromkeys(PORTS, 1), "none")
        write_settings(places)
        variables = {**os.environ, **environment(places), "PATH": f"{venv}/bin:{os.environ['PATH']}"}
        # One after the other: side by side they take as much of two cpus, and of the memory more.
        for group in commands(places):
            for command in group:
                subprocess.run(command, env=variables, check=True)
        for database in DATABASES:
            with sqlite3.connect(places.run / "db" / f"{database}.sqlite") as connection:
                # Readers do not block the writer.
                connection.execute("pragma journal_mode=wal")
            connection.close()
        (places.run / "db" / "made-in").write_text(name)
        shutil.copytree(places.run / "db", folder)


make(Path(sys.argv[1]))
