"""Become another program that ends when its parent does: `tether.py PARENT SIGNAL ACCOUNT COMMAND…`.

Run as a script in an isolated interpreter, so it imports none of our modules. PARENT is the pid that must still be the
parent, SIGNAL the number the kernel sends when that parent dies (Linux), ACCOUNT `-` or `uid:gid` to run under.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signal, account, *command = sys.argv[1:]
    if account != "-":
        _become(account)
    # After the change of account, which clears it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
    # The parent may have died before the line above took hold.
    if os.getppid() != int(parent):
        sys.exit("the process that started this one is gone")
    os.execv(command[0], command)  # noqa: S606  the whole point: no shell, the same pid


def _become(account: str) -> None:
    uid, gid = (int(number) for number in account.split(":"))
    os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)


if __name__ == "__main__":
    main()
