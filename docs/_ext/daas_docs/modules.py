"""All modules of the product, read once: some of what is documented exists only after that."""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

import jupyterhub_daas

# Programs, and files that Alembic runs by itself.
_NOT_READ = ("__main__", "migrations", "alembic")


@cache
def product_modules() -> tuple[ModuleType, ...]:
    """Import every module of the package; importing one does nothing else."""
    found = pkgutil.walk_packages(jupyterhub_daas.__path__, "jupyterhub_daas.")
    names = sorted(each.name for each in found if not set(each.name.split(".")) & set(_NOT_READ))
    return tuple(import_module(name) for name in names)
