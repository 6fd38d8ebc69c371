"""Processes of ours end with the one that started them."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
# Holds the process id of the parent: one that was killed while this process came up is seen by that alone.
PARENT_VARIABLE = "DAAS_PARENT"


def die_with_parent(expected: str = "") -> None:
    """End when the parent does, even if that is killed: a survivor would serve old settings on its port.

    `expected` is the parent's process id, if it said so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = str(os.getppid())
    asked = libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) == 0
    if not asked or str(os.getppid()) != (expected or before):
        sys.exit("The process that started this one ended before it began.")
