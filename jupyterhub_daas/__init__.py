"""Data Analysis as a Service for photon and neutron facilities, on JupyterHub."""

__version__ = "0.1.0.dev0"
