"""Serve one stock API: serve.py RUN MODULE PORT. It finds its configuration by the variables of its own."""

import importlib
import sys

_run, module, port = sys.argv[1:]
sys.argv = [module]  # some services read the arguments when they are imported

import sqlite_busy  # noqa: E402, F401
import waitress  # noqa: E402

application = importlib.import_module(module).application
if module.startswith("neutron."):
    # No agent runs that would report a bound port as wired.
    from neutron.plugins.ml2.driver_context import PortContext
    from sqlalchemy.orm import configure_mappers

    set_binding = PortContext.set_binding

    def _bind(self, segment_id, vif_type, vif_details, status=None):
        return set_binding(self, segment_id, vif_type, vif_details, status or "ACTIVE")

    PortContext.set_binding = _bind
    # Who is the first to ask for ports would get an error: they lack what the first look at any table adds.
    configure_mappers()

waitress.serve(
    application,
    host="127.0.0.1",
    port=int(port),
    threads=8,
    channel_timeout=300,
    # A disk is larger than a gigabyte, which is waitress' limit.
    max_request_body_size=64 << 30,
)
