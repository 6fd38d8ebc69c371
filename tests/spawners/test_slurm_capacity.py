"""What sinfo says becomes what a form shows; lines as Slurm 22.05 wrote them."""

import pytest

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.spawners.backends.slurm.capacity import count, parse_nodes
from jupyterhub_daas.spawners.backends.slurm.options import Place

GIB = 1 << 30
NODES = """\
cpu*|up|n1|mixed|6/2/0/8|64000|60000|(null)|gpu:0|
cpu*|up|n2|idle|0/8/0/8|64000|0|gpu:fake:2|gpu:fake:0(IDX:N/A)|
gpu|up|n2|idle|0/8/0/8|64000|0|gpu:fake:2|gpu:fake:1(IDX:0)|
down|down|n1|mixed|6/2/0/8|64000|60000|(null)|gpu:0|
broken|up|n3|down*|0/0/8/8|64000|0|(null)|gpu:0|
full|up|n4|allocated|8/0/0/8|64000|0|(null)|gpu:0|
not a line
"""


def flavour(cpus: float = 2, memory: int = GIB, gpus: int = 0) -> Flavour:
    """Return a flavour."""
    return Flavour(key="small", title="Small", cpus=cpus, memory=memory, gpus=gpus)


TABLE = {
    "the default partition, both nodes": (flavour(), {}, True, 5, ""),
    "a whole node": (flavour(cpus=8), {}, True, 1, ""),
    "memory counts too": (flavour(memory=30 * GIB), {}, True, 2, ""),
    "nothing is that big": (flavour(cpus=9), {}, False, None, "that big"),
    "a free GPU": (flavour(gpus=1), {"partition": "gpu"}, True, 1, ""),
    "a GPU of this type": (flavour(gpus=1), {"partition": "gpu", "gpu_type": "fake"}, True, 1, ""),
    "of another type": (flavour(gpus=1), {"partition": "gpu", "gpu_type": "a100"}, False, None, "that big"),
    "two while one is used": (flavour(gpus=2), {"partition": "gpu"}, True, 0, "in use"),
    "closed": (flavour(), {"partition": "down"}, True, 0, "closed"),
    "out of order": (flavour(), {"partition": "broken"}, True, 0, "closed"),
    "full": (flavour(), {"partition": "full"}, True, 0, "in use"),
    "unknown": (flavour(), {"partition": "nowhere"}, False, None, "that big"),
}


@pytest.mark.parametrize(("size", "place", "fits", "free", "words"), TABLE.values(), ids=TABLE.keys())
def test_counts(size: Flavour, place: dict[str, str], fits: bool, free: int | None, words: str) -> None:
    found = count(parse_nodes(NODES), size, [Place(**place)])
    assert (found.fits, found.free) == (fits, free)
    assert words in found.reason


def test_a_node_counts_once_however_many_profiles_go_there() -> None:
    places = [Place(), Place(partition="cpu"), Place(partition="gpu")]
    assert count(parse_nodes(NODES), flavour(), places).free == 5
