"""The leash: a process started through this file dies when its parent does, also after `kill -9`.

It is run by path with nothing but the standard library, so it must not import crewstream.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have this process killed when `parent` (a pid) ends; leave at once when it has ended already.

    SIGKILL, not SIGTERM: a process that drains, hangs or ignores signals must not stay either.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    else:
        watch(parent)
    if os.getppid() != parent:
        sys.exit(1)


def watch(parent: int, interval_s: float = 0.2) -> None:
    """Where the kernel has no such signal: a forked watcher kills this process after `parent`."""
    owned = os.getpid()
    if os.fork():
        return
    while os.getppid() == owned:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os.kill(owned, signal.SIGKILL)
        time.sleep(interval_s)
    os._exit(0)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    try:
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  the argv comes from owned.spawn
    except OSError as error:
        sys.exit(f"{sys.argv[2]} could not be run: {error.strerror}")
