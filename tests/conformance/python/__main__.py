"""`python -m tests.conformance.python LIBRARY`: one breaker of a Python library as a breaker service."""

from __future__ import annotations

import os
import sys

from resilience.lab.service import ServiceOptions, run_service
from tests.conformance.python.service import serve


def _options(environ: dict[str, str]) -> ServiceOptions:
    host, _, port = environ.get("LISTEN", "127.0.0.1:0").rpartition(":")
    return ServiceOptions(
        instance=environ.get("INSTANCE", "service-1"),
        host=host,
        port=int(port),
        listen_fd=None,
        admin_host=host,
        admin_port=0,
        die_with_parent=True,
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.conformance.python LIBRARY")
    sys.exit(run_service(lambda options: serve(sys.argv[1], options), _options(dict(os.environ))))
