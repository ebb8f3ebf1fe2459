"""Ports on loopback: free ones for programs that cannot be handed a socket, and a clear word about one that is taken."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from resilience.lab.system import StackError

LOOPBACK = "127.0.0.1"

# A herd of connections must not be turned away by the queue; the kernel caps this at net.core.somaxconn.
_BACKLOG = 4096

_LOWEST = 10_000
_TRIES = 1_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Where systems begin that do not tell it there.
_BY_RFC_6335 = 49_152


def free_port() -> int:
    """A port on loopback that nobody listens on, and that nobody is given who does not ask for that one. StackError if none is found.

    It is below the range from which the system hands out ports, unless that begins very low. One of that range may be given to any outgoing
    connection as long as its server is down: to one of the spike, and even to a client that calls the dead server and so reaches itself.
    (Somebody who names a port may still take it: whoever uses it tries again with another.)
    """
    (port,) = free_ports(1)
    return port


def free_ports(count: int) -> tuple[int, ...]:
    """So many free ports, each another one: drawn one by one, a few dozen would hold the same port twice now and then."""
    end = max(_handed_out_from(), 2 * _LOWEST)
    found: set[int] = set()
    refused = ""
    for _ in range(count + _TRIES):
        if len(found) == count:
            break
        port = random.SystemRandom().randrange(_LOWEST, end)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            try:
                sock.bind((LOOPBACK, port))
            except OSError as error:
                refused = f" ({error.strerror or error})"
                continue
        found.add(port)
    else:
        raise StackError(
            f"no port on {LOOPBACK} from {_LOWEST} to {end - 1} can be used{refused}; see `chaos-spike doctor`"
        )
    return tuple(found)


def _handed_out_from() -> int:
    try:
        return int(_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _BY_RFC_6335


def check_port(name: str, port: int) -> None:
    """StackError naming the port if nothing can listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
        except OSError as error:
            raise port_taken(name, port, error) from error


def port_taken(name: str, port: int, error: OSError) -> StackError:
    """The one message about a fixed port."""
    return StackError(
        f"port {port} for {name} cannot be used: {error.strerror or error}. "
        "Stop what listens there (`chaos-spike lab down` if it is a lab), or choose another port"
    )


def listening_socket(host: str, port: int) -> socket.socket:
    """A non-blocking listening TCP socket with a deep queue; OSError if the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
