"""Runs a command that dies when the process which started it does: `leash.py PARENT SIGNAL COMMAND...`.

Run by path, by a bare interpreter: it imports nothing of this package, and turns into the command at once."""

import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signal, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        import ctypes

        # kept across exec; it fires when the parent's THREAD ends, which must therefore be its main thread
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal)
        if os.getppid() != parent:  # it died before the call above
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  # that is the point


main()
