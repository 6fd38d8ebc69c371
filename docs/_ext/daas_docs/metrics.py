"""What the services count, as Prometheus reads it."""

from prometheus_client import REGISTRY

from daas_docs import rst
from daas_docs.modules import product_modules

_PREFIX = "daas_"


def render_metrics() -> str:
    """Return each metric of ours with its kind and meaning; counters end in ``_total`` when they are read."""
    product_modules()
    found = {each.name: each for each in REGISTRY.collect() if each.name.startswith(_PREFIX)}
    rows = [
        (
            rst.code(name + ("_total" if each.type == "counter" else "")),
            each.type,
            rst.prose(each.documentation),
        )
        for name, each in sorted(found.items())
    ]
    return "\n".join(rst.table(("Metric", "Kind", "Meaning"), rows, (45, 15, 40)))
