"""Which network a container leaves, by the names that people use for it."""

from __future__ import annotations

import pytest

from faults.containers import DisconnectFault

INSPECTED = {
    "Config": {"Labels": {"com.docker.compose.project": "shop"}},
    "NetworkSettings": {
        "Networks": {
            "shop_front": {"NetworkID": "f1"},
            "shop_default": {"NetworkID": "d1"},
            "other": {"NetworkID": "o1"},
        }
    },
}


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("front", "f1"),
        ("shop_front", "f1"),
        ("f1", "f1"),
        ("other", "o1"),
        ("shop", None),
        ("back", None),
        (None, None),
    ],
)
def test_disconnect_knows_a_network_as_its_compose_file_does(said: str | None, left: str | None) -> None:
    """By the file's name, the engine's, or its id; of several none is chosen."""
    fault = DisconnectFault("out", "gateway", 1_000_000_000, network=said)
    fault._before = INSPECTED
    assert fault._joined().get("NetworkID") == left


def test_disconnect_outside_of_compose_takes_the_engines_name_alone() -> None:
    """Without a project nothing is put before a name."""
    fault = DisconnectFault("out", "gateway", 1_000_000_000, network="front")
    fault._before = {**INSPECTED, "Config": {"Labels": None}}
    assert fault._joined() == {}
