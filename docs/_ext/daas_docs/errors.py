"""The error codes: what each means, and what to do."""

import inspect
from http import HTTPStatus

from daas_docs import rst
from daas_docs.advice import ADVICE
from daas_docs.modules import product_modules
from jupyterhub_daas.errors import DaasError, error_classes
from jupyterhub_daas.services import border
from jupyterhub_daas.spawners import refusals


def _codes() -> dict[str, type[DaasError]]:
    # Some codes are known in one place only: each exists once its module is read.
    product_modules()
    found = error_classes()
    missing, extra = sorted(set(found) - set(ADVICE)), sorted(set(ADVICE) - set(found))
    if missing or extra:
        raise ValueError(f"advice is missing for {missing} and superfluous for {extra}")
    return dict(sorted(found.items()))


def _meaning(cls: type[DaasError]) -> str:
    return rst.prose(" ".join((inspect.getdoc(cls) or "").split()))


def render_errors() -> str:
    """Return each code with its class, its HTTP statuses and its meaning."""
    rows = []
    for code, cls in _codes().items():
        statuses = (_shown(border.status_of(cls(""))), _shown(refusals.status_of(cls(""))))
        rows.append((rst.code(code), rst.code(cls.__name__), *statuses, _meaning(cls)))
    header = ("Code", "Class", "From a service", "From a start", "Meaning")
    return "\n".join(rst.table(header, rows, (20, 24, 12, 12, 32)))


def _shown(status: int) -> str:
    # What a border's table lacks does not pass that border.
    return "–" if status == HTTPStatus.INTERNAL_SERVER_ERROR else str(int(status))


def render_advice() -> str:
    """Return what people and staff do about each code."""
    lines: list[str] = []
    for code, cls in _codes().items():
        advice = ADVICE[code]
        lines += [rst.code(code), f"   {_meaning(cls)}", ""]
        lines += [
            f"   *The person:* {rst.prose(advice.person)}",
            "",
            f"   *Staff:* {rst.prose(advice.staff)}",
            "",
        ]
    return "\n".join(lines)
