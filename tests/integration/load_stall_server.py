"""A server that can be frozen: answers at once, has a deep backlog, and remembers when it answered.

Prints its port, answers every request head on any connection, and when its standard input ends prints the instants of all its
answers (ns of CLOCK_MONOTONIC) as one JSON list.
"""

import asyncio
import json
import sys
from time import monotonic_ns

import uvloop

from faults.descriptors import raise_descriptor_limit

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def main():
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    answered = []
    ended = asyncio.Event()

    class Connection(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            for _ in range(data.count(b"\r\n\r\n")):
                self.transport.write(ANSWER)
                answered.append(monotonic_ns())

    class Input(asyncio.Protocol):
        def connection_lost(self, _exc):
            ended.set()

    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    await loop.connect_read_pipe(Input, sys.stdin)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await ended.wait()
    sys.stdout.write(json.dumps(answered) + "\n")


if __name__ == "__main__":
    raise_descriptor_limit()
    uvloop.run(main())
