"""Ports on loopback: free ones for programs that cannot be handed a socket, and a clear word about one that is taken."""

from __future__ import annotations

import socket

from resilience.lab.system import StackError

LOOPBACK = "127.0.0.1"

# A herd of connections must not be turned away by the queue; the kernel caps this at net.core.somaxconn.
_BACKLOG = 4096


def free_port() -> int:
    """A port that was free a moment ago. Somebody else may take it: whoever uses it tries again with another."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind((LOOPBACK, 0))
        port: int = sock.getsockname()[1]
        return port


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
