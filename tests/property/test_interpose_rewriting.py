"""Rewriting a compose model: for any file, only what has to change does, and putting the names back gives the file that came in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.interpose.model import LABEL, Facts, InterposeRefused, Interposition, Wanted
from resilience.interpose.reading import depends_on, links_of, names_of, networks_of, volumes_from
from resilience.interpose.rewriting import ADMIN_NETWORK, interpose

NAMES = ("web", "worker", "db", "cache", "job")
ADDRESSES = ("ipv4_address", "ipv6_address")
CONDITIONS = st.sampled_from(["service_started", "service_healthy"])


@st.composite
def services(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """One service that speaks of others in all the ways there are."""
    others = [other for other in NAMES if other != name]
    said: dict[str, Any] = {"image": f"{name}:1"}
    if waits := draw(st.lists(st.sampled_from(others), unique=True, max_size=3)):
        said["depends_on"] = (
            {other: {"condition": draw(CONDITIONS)} for other in waits} if draw(st.booleans()) else waits
        )
    if linked := draw(st.lists(st.sampled_from(others), unique=True, max_size=2)):
        said["links"] = [f"{other}:{name}-{other}" if draw(st.booleans()) else other for other in linked]
    if draw(st.booleans()):
        said["volumes_from"] = [f"{draw(st.sampled_from(others))}:ro"]
    return {**said, **draw(itself(name))}


@st.composite
def itself(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """What it says of itself."""
    others = [other for other in NAMES if other != name]
    said: dict[str, Any] = {}
    if draw(st.booleans()):
        said["environment"] = {"URL": f"tcp://{draw(st.sampled_from(NAMES))}:80/", "PRICE": "5$$"}
    if draw(st.booleans()):
        said["ports"] = draw(
            st.lists(
                st.sampled_from(
                    ["127.0.0.1:8000:80", {"target": 81, "published": "81"}, "9000-9001:90-91/tcp"]
                ),
                max_size=2,
            )
        )
    if draw(st.booleans()):
        said["networks"] = {
            network: draw(
                st.sampled_from([None, {"aliases": [f"{name}.alias"]}, {"ipv4_address": "10.9.0.9"}])
            )
            for network in draw(
                st.lists(st.sampled_from(["default", "front", "back"]), min_size=1, unique=True)
            )
        }
    for key in ("container_name", "hostname"):
        if draw(st.booleans()):
            said[key] = f"{name}-{key}"
    if draw(st.booleans()):
        said["healthcheck"] = {"test": ["CMD", "ping", name]}
    if draw(st.booleans()):
        said["pid"] = f"service:{draw(st.sampled_from(others))}"
    if draw(st.booleans()):
        said["labels"] = draw(st.sampled_from([{"a": "b"}, ["a=b"]]))
    return said


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    """A resolved file."""
    networks = {"back": {"internal": True}} if draw(st.booleans()) else {}
    return {
        "services": {name: draw(services(name)) for name in NAMES},
        "networks": networks,
        "volumes": {"v": {}},
    }


WANTED = st.lists(st.sampled_from(["db", "cache"]), min_size=1, unique=True).map(
    lambda names: [Wanted(name, 5432) for name in names]
)


def done(model: dict[str, Any], wanted: list[Wanted]) -> Interposition:
    """The rewritten model."""
    ports = tuple(range(40_000, 40_000 + 2 * len(wanted)))
    return interpose(model, wanted, Facts("shop", "-", "ours:1", {}, ports))


def put_back(found: Interposition) -> dict[str, Any]:
    """The inverse: proxies away, names and what they carried back to the dependency."""
    model = copy.deepcopy(dict(found.model))
    known = model["services"]
    for front in found.fronts:
        proxy, real = known.pop(front.proxy), known.pop(front.real)
        ports = [*(real.get("ports") or ()), *proxy["ports"][:-2]]
        known[front.service] = {**real, "moved": {"ports": ports, "networks": proxy["networks"]}}
        for service in known.values():
            waits = depends_on(service)
            if front.real in waits:
                how = waits.pop(front.real)
                waits.pop(front.proxy)
                service["depends_on"] = {**waits, front.service: how}
            elif front.proxy in waits:
                waits.pop(front.proxy)
                service["depends_on"] = waits
            if "links" in service:
                service["links"] = [
                    f"{front.service if target == front.proxy else target}:{alias}"
                    for target, alias in links_of(service)
                ]
            if "volumes_from" in service:
                service["volumes_from"] = [
                    f"{front.service if owner == front.real else owner}:{mode}"
                    for owner, mode in volumes_from(service)
                ]
            if service.get("pid") == f"service:{front.real}":
                service["pid"] = f"service:{front.service}"
    return model


def spoken(service: dict[str, Any]) -> dict[str, Any]:
    """A service in one way of writing."""
    return {
        **{key: value for key, value in service.items() if key != "moved"},
        "depends_on": depends_on(service),
        "links": sorted(links_of(service)),
        "volumes_from": volumes_from(service),
    }


@settings(max_examples=40)
@given(models(), WANTED)
def test_rewriting_changes_nobody_who_does_not_speak_of_the_dependency(
    model: dict[str, Any], wanted: list[Wanted]
) -> None:
    """To the byte; and the model that was handed in is left alone."""
    before = copy.deepcopy(model)
    found = done(model, wanted)
    assert model == before
    names = {each.service for each in wanted}
    for name, service in model["services"].items():
        spoken_of = {
            *depends_on(service),
            *(t for t, _ in links_of(service)),
            *(o for o, _ in volumes_from(service)),
        }
        spoken_of |= {str(service.get("pid", "")).removeprefix("service:")}
        if name not in names and not spoken_of & names:
            assert found.model["services"][name] == service
    assert found.model["volumes"] == model["volumes"]
    assert {k: v for k, v in found.model["networks"].items() if k != ADMIN_NETWORK} == model["networks"]


@settings(max_examples=40)
@given(models(), WANTED)
def test_rewriting_can_be_read_backwards(model: dict[str, Any], wanted: list[Wanted]) -> None:
    """Nothing is lost: with the names put back, every service says what it said, but for what went to the proxy."""
    back = put_back(done(model, wanted))["services"]
    assert set(back) == set(model["services"])
    names = {each.service for each in wanted}
    for name, service in model["services"].items():
        expected, got = spoken(service), spoken(back[name])
        if name in names:
            moved = back[name]["moved"]
            assert sorted(map(str, moved["ports"])) == sorted(map(str, service.get("ports") or ()))
            for network, said in networks_of(service).items():
                for key in ADDRESSES:
                    assert moved["networks"][network].get(key) == said.get(key)
            for key in ("ports", "networks", "container_name", "hostname", "labels", "extra_hosts"):
                expected.pop(key, None)
                got.pop(key, None)
        assert got == expected


@settings(max_examples=40)
@given(models(), WANTED)
def test_rewriting_gives_every_name_to_the_proxy_alone(model: dict[str, Any], wanted: list[Wanted]) -> None:
    """On each network of the dependency all of its names are the proxy's, and no other service has one of them."""
    found = done(model, wanted)
    known = found.model["services"]
    for front in found.fronts:
        original = model["services"][front.service]
        assert set(names_of(front.service, original, "shop")) == set(front.names)
        for network in networks_of(original):
            assert set(front.names) == set(known[front.proxy]["networks"][network]["aliases"])
        for name, service in known.items():
            if name != front.proxy:
                assert not set(names_of(name, service, "shop")) & set(front.names), name
        assert not any(said for said in known[front.real]["networks"].values())
        assert front.service not in known


@settings(max_examples=40)
@given(models(), WANTED)
def test_rewriting_leaves_no_reference_behind(model: dict[str, Any], wanted: list[Wanted]) -> None:
    """Whatever a service waits for, links to, or shares, is there; whoever waited for the dependency waits for its proxy, too."""
    found = done(model, wanted)
    known = found.model["services"]
    for service in known.values():
        spoken_of = {
            *depends_on(service),
            *(t for t, _ in links_of(service)),
            *(o for o, _ in volumes_from(service)),
        }
        assert spoken_of <= set(known)
        assert str(service.get("pid", "service:web")).removeprefix("service:") in known
    for front in found.fronts:
        for name, service in known.items():
            if front.real in depends_on(service):
                assert depends_on(service)[front.proxy]["condition"] == "service_healthy", name
        assert known[front.proxy]["labels"] == {LABEL: front.service}
        assert depends_on(known[front.proxy]) == {}


@settings(max_examples=40)
@given(models(), WANTED)
def test_rewriting_twice_is_refused(model: dict[str, Any], wanted: list[Wanted]) -> None:
    """What is interposed has no service of that name any more."""
    found = done(model, wanted)
    with pytest.raises(InterposeRefused) as refused:
        done(dict(found.model), wanted)
    assert len(refused.value.refusals) == len(wanted)
