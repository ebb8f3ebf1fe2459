"""How much has passed each proxy of an interposition: what its tap has noted, and the bytes that its toxic proxy has read.

The tap of a TCP dependency notes connections that open and close, and nothing of what passes in between. A pool that was
filled before the load and kept throughout would look unused by the notes alone; by the bytes alone, a proxy that was cut off
all the time would. Neither number means anything by itself: only whether it grew is of interest.
"""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from resilience.interpose.model import Front
from resilience.lab.probing import probing_session, read_json
from resilience.lab.system import StackError

_BYTES = "toxiproxy_proxy_received_bytes_total"


async def passed(fronts: Iterable[Front]) -> dict[str, int]:
    """For each gate by name, a count that grows with whatever passes it. StackError where a front does not tell."""
    found: dict[str, int] = {}
    async with probing_session() as session:
        for front in fronts:
            taps = await read_json(session, f"http://127.0.0.1:{front.tap_port}/taps")
            if taps is None:
                raise StackError(f"the tap of {front.service} does not tell what has passed it")
            read = await _read_bytes(session, front)
            for gate in front.gates:
                found[gate.name] = int(taps[gate.name]["next_seq"]) + read.get(gate.name, 0)
    return found


async def _read_bytes(session: aiohttp.ClientSession, front: Front) -> dict[str, int]:
    """Bytes that the proxies of a front have read from either side, of open connections, too."""
    found: dict[str, int] = {}
    try:
        async with session.get(f"http://127.0.0.1:{front.admin_port}/metrics") as answer:
            answer.raise_for_status()
            for family in text_string_to_metric_families(await answer.text()):
                for sample in family.samples:
                    if sample.name == _BYTES:
                        name = sample.labels["proxy"]
                        found[name] = found.get(name, 0) + int(sample.value)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        why = str(error) or type(error).__name__
        raise StackError(f"the proxy of {front.service} does not tell what has passed it: {why}") from error
    return found
