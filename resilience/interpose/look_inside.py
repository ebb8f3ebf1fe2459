"""Look from inside of a container's network: what names resolve to, which TCP sockets there are, what can be reached.

    python -ISB - dial|look NAME...        prints one JSON object

The text of this file is run by a short-lived container of our image in the network namespace of the one that is looked at, with its
/etc/hosts and name server. So it is that container's own view, and that container needs no shell. Standard library only, no
import of ours.
"""

import json
import socket
import sys

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def address_of(text: str) -> str:
    """The address that the kernel prints as hexadecimal words in host order; IPv4 in IPv6 as IPv4."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    raw = b"".join(words) if sys.byteorder == "little" else bytes.fromhex(text)
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    if raw.startswith(b"\0" * 10 + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def sockets_in(table: str) -> list[list[object]]:
    """[local address, local port, remote address, remote port, state] of each line of a kernel's table."""
    found: list[list[object]] = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4:
            continue
        (local, local_port), (remote, remote_port) = (field.split(":") for field in fields[1:3])
        found.append(
            [address_of(local), int(local_port, 16), address_of(remote), int(remote_port, 16), fields[3]]
        )
    return found


def resolved(name: str) -> list[str]:
    """The addresses of a name; none where it has none."""
    try:
        infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(info[4][0]) for info in infos})


def dialled(address: str) -> str:
    """Why "host:port" cannot be reached; empty where it can."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
    except OSError as error:
        return str(error) or type(error).__name__
    return ""


def main(what: str, *names: str) -> None:
    """Print what was asked for."""
    if what == "dial":
        sys.stdout.write(json.dumps({"dialled": {name: dialled(name) for name in names}}))
        return
    sockets: list[list[object]] = []
    for path in _TABLES:
        try:
            with open(path) as file:  # noqa: PTH123 - this text runs alone, and starts fast
                sockets += sockets_in(file.read())
        except OSError:
            continue  # no IPv6 here
    sys.stdout.write(json.dumps({"resolved": {name: resolved(name) for name in names}, "sockets": sockets}))


if __name__ == "__main__":
    main(*sys.argv[1:])
