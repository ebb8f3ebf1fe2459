# ruff: noqa: INP001 - a script beside the compose file, in no package
"""Exit 0 if `healthy.py PORT PATH` answers 200 on this container's loopback: the healthcheck of our own services.

Nothing but sockets, and to be run as `python -ISB`: the engine runs it every few seconds beside the system under test, so its
start must cost next to nothing.
"""

import socket
import sys


def main(port: str, path: str) -> int:
    """Ask once; 1 for anything but a 200 within two seconds."""
    try:
        with socket.create_connection(("127.0.0.1", int(port)), 2) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = connection.recv(64)
    except OSError as error:
        sys.stderr.write(f"port {port}: {error}\n")
        return 1
    sys.stdout.write(head.split(b"\r\n")[0].decode("ascii", "replace") + "\n")
    return 0 if head[8:13] == b" 200 " else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
