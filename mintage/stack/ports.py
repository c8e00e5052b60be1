"""Free ports of the loopback interface."""

import contextlib
import random
import socket

from mintage.errors import StackError

GRPC = 10_000  # SeaweedFS expects each part's gRPC port so far above its HTTP port
LOWEST, HIGHEST = 11_000, 22_700  # below the range that systems hand out themselves, twins included


def is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        # as servers bind: a port whose last connections still linger is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_pairs(n: int) -> list[int]:
    """n ports that are free, and free as well 10,000 above. Raises StackError."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(LOWEST, HIGHEST), 2_000):
        if len(found) == n:
            return found
        if is_free(port) and is_free(port + GRPC):
            found.append(port)
    raise StackError("There are no free ports on this machine.")


def api_port(wanted: int | None, usual: int) -> int:
    """The port asked for, or the usual one if it is free, or any. Raises StackError."""
    if wanted is not None:
        if not is_free(wanted):
            raise StackError(f"Port {wanted} is taken by another program; choose another with --port, or give none.")
        return wanted
    return usual if is_free(usual) else free_pairs(1)[0]
