"""The limit of open files: raised as far as it may be, and never a reason not to start."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import resource
from faults.descriptors import raise_descriptor_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
print(raise_descriptor_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard)
"""


def test_descriptor_limit_is_raised_to_the_hard_one() -> None:
    """In a process of its own: a limit that was lowered here would stay lowered for the other tests."""
    told = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "True"
