"""A server that writes zeros to every connection, whatever it takes; prints its port, and ends when its stdin does."""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys

DATA = bytes(65536)


def main() -> None:
    """Serve."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=2048) as listener,
        selectors.DefaultSelector() as selector,
        contextlib.ExitStack() as stack,
    ):
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            for key, _ in selector.select():
                sock = key.fileobj
                if not isinstance(sock, socket.socket):
                    return
                if sock is listener:
                    connection = stack.enter_context(sock.accept()[0])
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_WRITE)
                    continue
                try:
                    sock.send(DATA)
                except BlockingIOError:
                    continue
                except OSError:
                    selector.unregister(sock)


if __name__ == "__main__":
    main()
