"""What a worker hears on its standard input after its assignment: start, abort, or silence for good."""

import asyncio
import json


class Control(asyncio.Protocol):
    """Standard input after the assignment: start, abort, or the end of whoever started us."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.epoch: asyncio.Future[int] = loop.create_future()
        self.abort = asyncio.Event()
        self.orphaned = False
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Commands, one a line."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "start" in command and not self.epoch.done():
                self.epoch.set_result(int(command["start"]))
            elif "abort" in command:
                self.stop()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Standard input ended: nobody reads us any more."""
        self.orphaned = True
        self.stop()

    def stop(self) -> None:
        """End the run now."""
        self.abort.set()
        if not self.epoch.done():
            self.epoch.cancel()
