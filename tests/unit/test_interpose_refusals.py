"""What interposition refuses, each with its reason and its way out; and what it only warns of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from resilience.interpose.choosing import callers_of, choose, entrances
from resilience.interpose.model import Facts, InterposeRefused, Wanted
from resilience.interpose.rewriting import interpose

FACTS = Facts("shop", "-", "ours:1", {"db": ("5432/tcp",)}, (40001, 40002, 40003, 40004))


def model(db: dict[str, Any], web: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A dependency and its caller."""
    return {"services": {"web": {"image": "w", **(web or {})}, "db": {"image": "postgres:16", **db}}, **more}


REFUSED = [
    pytest.param(model({"network_mode": "host"}), r"network_mode 'host'", "remove `network_mode`", id="host"),
    pytest.param(model({"network_mode": "none"}), r"network_mode 'none'", "remove `network_mode`", id="none"),
    pytest.param(
        model({"network_mode": "container:abc"}), "network_mode 'container:abc'", "remove", id="container"
    ),
    pytest.param(
        model({"network_mode": "service:web"}),
        "shares that of web",
        "interpose web with the port of db",
        id="shared",
    ),
    pytest.param(
        model({"ports": ["53:53/udp"]}), "53/udp, and a proxy passes on TCP only", "leave it out", id="udp"
    ),
    pytest.param(
        model({"expose": ["53/udp", "53"]}),
        "53/udp",
        "let an override take the UDP port away",
        id="udp-exposed",
    ),
    pytest.param(
        model({"networks": {"n": None}}, networks={"n": {"driver": "overlay"}}),
        "Swarm's",
        "bridge network",
        id="swarm",
    ),
    pytest.param(
        model({"networks": {"n": None}}, networks={"n": {"external": True}}),
        "the network n, which is external",
        "a network of this project",
        id="external-network",
    ),
    pytest.param(
        model({}, {"extra_hosts": ["db:10.0.0.5"]}),
        r"web has an address of its own for db",
        "from extra_hosts of web",
        id="dns",
    ),
    pytest.param(
        model({}, {"extra_hosts": {"db": "10.0.0.5"}}),
        r"\(extra_hosts\)",
        "remove that entry",
        id="dns-mapping",
    ),
    pytest.param(
        model({}, {"external_links": ["old_db:db"]}),
        "a link of its own for db",
        "external_links of web",
        id="external-link",
    ),
    pytest.param(
        {"services": {**model({})["services"], "db--real": {"image": "x"}}},
        "needs the name db--real",
        "rename the service db--real",
        id="name-real",
    ),
    pytest.param(
        {"services": {**model({})["services"], "chaos-db": {"image": "x"}}},
        "needs the name chaos-db",
        "rename",
        id="name-proxy",
    ),
    pytest.param(
        model({"networks": {"default": {"aliases": ["web"]}}}),
        "shares the name web with web",
        "take the alias web away",
        id="alias",
    ),
    pytest.param(
        {"services": {**model({}, {"links": ["other:db"]})["services"], "other": {"image": "x"}}},
        "web knows other under the name db",
        "link other under another name",
        id="link",
    ),
]


@pytest.mark.parametrize(("given", "reason", "way_out"), REFUSED)
def test_interpose_refuses_with_reason_and_way_out(given: dict[str, Any], reason: str, way_out: str) -> None:
    """One refusal, which says what is wrong and what to do; no model comes out."""
    with pytest.raises(InterposeRefused, match=reason) as refused:
        interpose(given, [Wanted("db")], FACTS)
    assert way_out in refused.value.refusals[0].way_out


def test_interpose_refuses_unknown_twice_and_without_port_all_at_once() -> None:
    """Every refusal is told, in the order of asking."""
    given = model({"image": "x"})
    with pytest.raises(InterposeRefused) as refused:
        interpose(given, [Wanted("cache"), Wanted("web"), Wanted("db"), Wanted("db")], FACTS)
    said = [str(each).partition("\n")[0] for each in refused.value.refusals]
    assert said[0] == "cache: is no service of this file (db, web)"
    assert said[1] == "web: tells no port, and neither does its image"
    assert said[2] == "db: is named twice"


@pytest.mark.parametrize(
    ("service", "reason", "way_out"),
    [
        ({"image": "postgres:99"}, "its image postgres:99 is not on this machine", "docker compose pull db"),
        ({"build": "./db"}, "its image is not on this machine", "docker compose build db"),
    ],
    ids=["pulled", "built"],
)
def test_interpose_image_that_is_not_here_is_not_said_to_tell_no_port(
    service: dict[str, Any], reason: str, way_out: str
) -> None:
    """Nobody has asked it: the way out is to bring it here. With a port in the file nothing is to be asked."""
    facts = replace(FACTS, exposed={}, absent=frozenset({"db"}))
    given = {"services": {**model({})["services"], "db": service}}
    with pytest.raises(InterposeRefused, match=reason) as refused:
        interpose(given, [Wanted("db")], facts)
    assert way_out in refused.value.refusals[0].way_out
    given["services"]["db"] = {**service, "expose": ["5432"]}
    assert interpose(given, [Wanted("db")], facts).fronts[0].gates[0].port == 5432


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(model({"deploy": {"replicas": 3}}), "db has 3 replicas", id="replicas"),
        pytest.param(model({"image": "bitnami/kafka:3"}), "addresses to connect to", id="kafka"),
        pytest.param(
            model({"command": ["redis-server", "--cluster-enabled", "yes"]}),
            "a cluster's protocol",
            id="cluster",
        ),
        pytest.param(
            model({"environment": {"ALLOW": "10.1.0.0/16"}}), "lets clients in by address", id="allow-list"
        ),
        pytest.param(
            model({"labels": {"traefik.enable": "true"}}), "what routes by them goes past", id="labels"
        ),
        pytest.param(model({"hostname": "rabbit"}), "loses its hostname rabbit", id="hostname"),
        pytest.param(model({}, {"network_mode": "service:db"}), "web shares the network of db", id="sidecar"),
        pytest.param(
            model({}, {"network_mode": "host", "environment": {"DB": "db:5432"}}),
            "cannot be proved",
            id="host-caller",
        ),
    ],
)
def test_interpose_warns(given: dict[str, Any], said: str) -> None:
    """It is done all the same, and its owner is told."""
    (warning,) = interpose(given, [Wanted("db")], FACTS).warnings
    assert said in warning


def test_interpose_warns_of_nothing_in_an_ordinary_file() -> None:
    """No warning without a reason: versions and loopback addresses are no allow-lists."""
    given = model({"command": ["-c", "listen=0.0.0.0", "--bind", "127.0.0.1"]}, {"depends_on": ["db"]})
    assert interpose(given, [Wanted("db")], FACTS).warnings == ()


def test_choice_takes_what_others_call_and_leaves_jobs_out() -> None:
    """Called by waiting, by a link, by a name in the environment; a job that must have ended is nobody's dependency."""
    services = {
        "web": {
            "image": "w",
            "depends_on": {"migrate": {"condition": "service_completed_successfully"}, "db": {}},
            "links": ["cache:store"],
            "environment": {"URL": "http://pricing:8000/"},
        },
        "db": {"image": "postgres:16"},
        "cache": {"image": "r", "expose": ["6379"]},
        "pricing": {"image": "p", "ports": [{"target": 8000, "published": "8001", "protocol": "tcp"}]},
        "migrate": {"image": "m", "expose": ["1"]},
        "dns": {"image": "d", "ports": ["53:53/udp"]},
        "tool": {"image": "t", "depends_on": ["dns"], "ports": ["127.0.0.1:9000:80"]},
    }
    choice = choose({"services": services}, FACTS)
    assert [each.service for each in choice.wanted] == ["db", "cache", "pricing"]
    assert [each.service for each in choice.left_out] == ["dns"]
    assert callers_of({"services": services}, "db", "shop") == ("web",)
    assert entrances({"services": services}, ["db", "cache", "pricing"]) == (("tool", 9000),)
