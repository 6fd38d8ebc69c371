"""Two processes that watch each other: the guardian, which the person started, and the runner below it.

Whichever is killed, even with -9, the other one ends everything: the runner is told by the kernel when the
guardian dies, and the guardian adopts and ends what a dead runner leaves behind.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from demo.processes import adopt_orphans, die_with_parent, end_descendants

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def guard(run: Callable[[], int]) -> int:
    """Run a function in a process of its own; return its exit status when nothing of it is left."""
    adopt_orphans()
    guardian = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    runner = os.fork()
    if runner == 0:
        # Out of the terminal's process group: signals reach the runner once, from the guardian.
        os.setsid()
        adopt_orphans()
        die_with_parent(guardian)
        status = run()
        sys.stdout.flush()
        os._exit(status)

    def forward(signum: int, _frame: FrameType | None) -> None:
        os.kill(runner, signum)

    for signum in SIGNALS:
        signal.signal(signum, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    status = _wait_for(runner)
    end_descendants(grace=5)
    return status


def _wait_for(runner: int) -> int:
    while True:
        # Orphans that we adopted end here as well.
        pid, status = os.wait()
        if pid == runner:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1
