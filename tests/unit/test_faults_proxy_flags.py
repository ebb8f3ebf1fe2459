"""The command line takes toxiproxy-server's flags as Go's flag package does."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.proxy.__main__ import _without_boolean_values, build_parser, main, options_from


@pytest.mark.parametrize("dashes", ["-", "--"])
@pytest.mark.parametrize("glue", [" ", "="])
def test_flags_are_those_of_toxiproxy_server(dashes: str, glue: str):
    """One dash or two, a space or an equals sign."""
    line = " ".join(
        f"{dashes}{name}{glue}{value}"
        for name, value in (("host", "0.0.0.0"), ("port", "1234"), ("config", "x.json"), ("seed", "7"))
    )
    arguments = [*line.split(), f"{dashes}proxy-metrics", f"{dashes}runtime-metrics=true"]
    options = options_from(build_parser().parse_args(_without_boolean_values(arguments)))
    assert (options.host, options.port, options.config) == ("0.0.0.0", 1234, Path("x.json"))
    assert (options.control.seed, options.control.proxy_metrics, options.control.runtime_metrics) == (
        7,
        True,
        True,
    )


def test_flags_default_to_loopback_and_a_random_seed():
    """Nobody else is served unless asked; two servers throw different dice."""
    first, second = (options_from(build_parser().parse_args([])) for _ in range(2))
    assert (first.host, first.port, first.guard.strict) == ("127.0.0.1", 8474, True)
    assert first.control.seed != second.control.seed


def test_compat_switches_the_guard_off():
    """Compatible mode refuses what Toxiproxy refuses, and nothing else."""
    options = options_from(build_parser().parse_args(["--compat"]))
    assert options.control.compat
    assert not options.guard.strict


def test_version_is_printed(capsys: pytest.CaptureFixture[str]):
    """As toxiproxy-server prints it."""
    assert main(["-version"]) == 0
    assert capsys.readouterr().out == "toxiproxy-server version 2.12.0\n"
