"""Which replica a container is: "gateway-2" of `chaos-spike-1a2b3c_gateway_2`.

Compose cannot tell a replica its number, and a container's own host name is a piece of its id, which says nothing to a
reader. Docker's DNS knows the name: a reverse look-up of the container's address on it gives "NAME.NETWORK". `/etc/hosts` would
answer first, with the host name, so the question goes to DNS alone, through `getent`, which every glibc image has.
"""

from __future__ import annotations

import re
import socket
import subprocess

_TIMEOUT_S = 5.0


def replica_name(reverse_look_up: str, service: str) -> str | None:
    """Such as "gateway-2", from a line of `getent hosts`; `None` if the name has no number. Both composes' names are read."""
    found = re.search(rf"(?:^|[\s_-])({re.escape(service)})[_-](\d+)\.", reverse_look_up)
    return f"{found[1]}-{found[2]}" if found else None


def name_in_docker(service: str) -> str:
    """This container's replica name; its host name where Docker's DNS has none."""
    own = socket.gethostname()
    try:
        answer = subprocess.run(
            ["getent", "-s", "hosts:dns", "hosts", socket.gethostbyname(own)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return own
    return replica_name(answer, service) or own
