"""Where a process may write: held by the kernel (Landlock), for it and all that it starts.

Landlock needs no root: linux/landlock.h, docs.kernel.org/userspace-api/landlock.html. A confined
process cannot trace others either, nor reach into their memory.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38

_BASIC: Final = 1 << 1 | sum(1 << bit for bit in range(4, 13))
"""write_file, and from remove_dir to make_sym; reading and executing stay as they are."""
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_OF_FILES: Final = 1 << 1 | _TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def supported() -> int:
    """The version of Landlock that the kernel has; 0: none, or no Linux."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


def hide() -> None:
    """Keep other processes of the same user from reading our memory and environment.

    It holds for forked processes too. Root reads them all the same.
    """
    if sys.platform == "linux":
        _done(_libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def confine(writable: Iterable[str]) -> bool:
    """Have this thread, and what it starts, write below these paths only; whether that holds.

    Call it before other threads are started: they are not held to it. Paths that do not exist are
    left out. It cannot be undone. Raises OSError when a kernel that has Landlock refuses.
    """
    version = supported()
    if not version:
        return False
    handled = _BASIC | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)  # noqa: PLR2004 - Landlock's own numbers
    libc = _libc()
    rules = _Ruleset(handled)
    ruleset = _done(libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0))
    try:
        for path in writable:
            _allow(ruleset, path, handled)
        _done(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _done(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, path: str, handled: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        allowed = handled if os.path.isdir(path) else handled & _OF_FILES  # noqa: PTH112 - a string
        rule = _PathBeneath(allowed, parent)
        _done(_libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(parent)


def _done(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
