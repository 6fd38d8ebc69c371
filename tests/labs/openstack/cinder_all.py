"""Run cinder's API, scheduler and volume service in one process: cinder_all.py RUN PORT.

Stock, as nova_all.py.
"""

import os
import shlex
import signal
import sys
import traceback

port = int(sys.argv[2])
sys.argv = ["cinder-all", "--config-file", os.environ["LAB_CINDER_SETTINGS"]]
os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"

from cinder import monkey_patch  # noqa: E402

monkey_patch.patch()
import os_brick  # noqa: E402
import sqlite_busy  # noqa: E402, F401
import waitress  # noqa: E402
from cinder import service, utils  # noqa: E402
from cinder.cmd import volume  # noqa: E402 - registers options: before the configuration is read
from cinder.wsgi import api  # noqa: E402 - reads the configuration
from oslo_config import cfg  # noqa: E402
from oslo_privsep import priv_context  # noqa: E402

settings = cfg.CONF
try:
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    os_brick.setup(settings)
    services = [service.Service.create(binary="cinder-scheduler")]
    for name in settings.enabled_backends:
        settings.register_opt(volume.host_opt, group=name)
        services.append(
            service.Service.create(
                host=f"{settings.host}@{name}", service_name=name, binary="cinder-volume", coordination=True
            )
        )
    for each in services:
        each.start()
except BaseException:
    traceback.print_exc()
    os._exit(1)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
waitress.serve(api.application, host="127.0.0.1", port=port, threads=8)
