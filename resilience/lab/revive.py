"""`python -m resilience.lab.revive URL NAME`: have the supervisor at URL start the process NAME again, and wait until it is back.

The command of a process fault, executed by whoever heals: the standard library's least, because every import delays the healing. Ends with 0
once the process serves, 1 with the reason on stderr, 2 for other arguments.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Sequence

_ASK_S = 20.0


def main(arguments: Sequence[str]) -> int:
    """Ask; the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m resilience.lab.revive URL NAME\n")
        return 2
    url, name = arguments
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_ASK_S)
    try:
        connection.request("POST", f"/processes/{name}/start")
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"the lab's supervisor does not answer at {url}: {error!r}\n")
        return 1
    finally:
        connection.close()
    if answer.status == 200:
        return 0
    sys.stderr.write(f"{name}: {json.loads(said)['error']}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
