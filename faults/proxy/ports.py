"""Ports to listen on: looking up where, binding in Go's words, and keeping a port while nobody listens on it.

A `Port` holds two sockets on one address: one that listens, and one that is bound and never does. While the first is
closed, clients are refused as by a dead server, and the second keeps the port from everybody else.
"""

from __future__ import annotations

import asyncio
import socket

from faults.proxy.addresses import AddressError, format_address

__all__ = ["BACKLOG", "BindError", "Port", "bind", "resolve_listen"]

BACKLOG = 4096


class BindError(Exception):
    """Listening failed; the message is what Go would have said."""


_REASONS = {
    98: "address already in use",
    13: "permission denied",
    99: "cannot assign requested address",
}


class Port:
    """An address that is ours until `close`. `address` is how the API shows it."""

    def __init__(self, family: socket.AddressFamily, host: str, port: int) -> None:
        self._family = family
        self._keeper = _bound(family, host, port)
        self._host, self._port = host, int(self._keeper.getsockname()[1])
        self.address = format_address(*self._keeper.getsockname()[:2])

    def listen(self) -> socket.socket:
        """Return a socket that listens here; the caller closes it. Raises OSError."""
        sock = _bound(self._family, self._host, self._port)
        try:
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """Give the address back."""
        self._keeper.close()


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host in {"", "::"} else 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def bind(family: socket.AddressFamily, host: str, port: int) -> tuple[Port, socket.socket]:
    """Listen on a literal address ('' for every interface); raise `BindError` in Go's words."""
    try:
        kept = Port(family, host, port)
        try:
            return kept, kept.listen()
        except OSError:
            kept.close()
            raise
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
        raise BindError(f"listen tcp {format_address(host, port)}: bind: {reason}") from None


def _has_ipv6() -> bool:
    """Whether an IPv6 socket can be made here."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


async def resolve_listen(host: str, resolver_name: str) -> tuple[socket.AddressFamily, str]:
    """Turn the host of a listen address into a literal; IPv4 is preferred, as in Go.

    Raises `AddressError` where there is no such host. An empty host stands for every interface.
    """
    if not host:
        return (socket.AF_INET6, "") if _has_ipv6() else (socket.AF_INET, "")
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(host, None, type=socket.SOCK_STREAM), timeout=5)
    except (OSError, TimeoutError, UnicodeError):
        raise AddressError(f"lookup {host} on {resolver_name}: no such host") from None
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    return socket.AddressFamily(family), str(address[0])
