"""What signals do while a command runs."""

from __future__ import annotations

import os
import signal

import pytest

from resilience.cli.signals import Signals


def test_signals_refuse_to_pause_a_run(capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-Z says why not, and what to do instead; afterwards it pauses again as ever."""
    before = signal.getsignal(signal.SIGTSTP)
    with Signals() as signals:
        assert signal.getsignal(signal.SIGTSTP) is not before  # else the next line would stop the tests
        os.kill(os.getpid(), signal.SIGTSTP)
        assert signals.number == 0
    assert "cannot be paused" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTSTP) is before
