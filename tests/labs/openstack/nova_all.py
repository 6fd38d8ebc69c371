"""Run nova in one process: nova_all.py RUN PORT METADATA_PORT.

API, conductor, scheduler, compute and metadata API of stock nova; only the message bus is within the process,
so that no broker is needed.
"""

import importlib
import os
import shlex
import signal
import sys
import threading
import traceback

port, metadata_port = int(sys.argv[2]), int(sys.argv[3])
sys.argv = ["nova-all"]

from nova import monkey_patch  # noqa: E402

monkey_patch.patch(backend="threading")
import nova.conf  # noqa: E402
import os_vif  # noqa: E402
import sqlite_busy  # noqa: E402, F401
import waitress  # noqa: E402
from nova import objects, service, utils  # noqa: E402
from nova.compute import rpcapi as compute  # noqa: E402
from nova.conductor import rpcapi as conductor  # noqa: E402
from nova.scheduler import rpcapi as scheduler  # noqa: E402
from nova.wsgi import osapi_compute  # noqa: E402 - reads the configuration
from oslo_privsep import priv_context  # noqa: E402
from oslo_service import opts  # noqa: E402

# Drivers are looked up below nova.virt only.
sys.modules["nova.virt.guest_driver"] = importlib.import_module("guest_driver")
opts.register_service_opts(nova.conf.CONF)
priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
objects.register_all()
os_vif.initialize()
services = []
try:
    for binary, topics in (
        ("nova-conductor", {"topic": conductor.RPC_TOPIC}),
        ("nova-scheduler", {"topic": scheduler.RPC_TOPIC}),
        ("nova-compute", {"topic": compute.RPC_TOPIC, "topic_alt": compute.RPC_TOPIC_ALT}),
    ):
        services.append(service.Service.create(binary=binary, **topics))
        services[-1].start()
except BaseException:
    traceback.print_exc()
    os._exit(1)  # the threads of the services would go on

from nova.wsgi import metadata  # noqa: E402

threading.Thread(
    target=waitress.serve,
    args=(metadata.application,),
    kwargs={"host": "127.0.0.1", "port": metadata_port, "threads": 4},
    daemon=True,
).start()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
waitress.serve(osapi_compute.application, host="127.0.0.1", port=port, threads=16)
