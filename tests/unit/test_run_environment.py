"""What is written down of a system, and that it can be judged by all the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_sample import PLAN, record

from resilience.cli.stacks import make_stack
from resilience.lab.broken import VARIABLE, WAYS
from resilience.lab.embedded import EmbeddedStack
from resilience.lab.external import ExternalStack
from resilience.lab.system import LAB_FACT, NOTICE, Instance, ProxyPoint, StackError, System
from resilience.plan import load_text
from resilience.run.environment import describe_environment, describe_system
from resilience.run.judge import judge_record

SYSTEM = System(
    "external",
    "http://user:s3cret@127.0.0.1:1",
    {
        "token": ProxyPoint(
            "token",
            "http://u:s3cret@h:8474",
            "token",
            "h:1",
            "h:2",
            tap_url="http://h/?token=s3cret",
            tap="token",
        )
    },
    (Instance("service", "one", "http://u:s3cret@h:9"),),
    facts={"breaker_spec": "{}"},
    addresses={"db": "postgresql://u:s3cret@h/db"},
)


def described(system: System) -> dict[str, Any]:
    """What stands in the record once a system is up."""
    return {**describe_environment(), **describe_system(system)}


def test_environment_holds_no_password_of_any_address() -> None:
    """Hosts stay, users do not, whatever a proxy is called; the shape is the system's own, so it can be read back."""
    found = described(SYSTEM)
    assert "s3cret" not in json.dumps(found)
    assert found["shared_host"] is True
    read = System.from_json(found["system"])
    assert read.base_url == "http://redacted@127.0.0.1:1"
    assert read.proxies["token"].admin_url == "http://redacted@h:8474"
    assert (read.proxies["token"].proxy, read.facts) == ("token", SYSTEM.facts)


def test_run_of_an_address_with_a_password_is_judged(tmp_path: Path) -> None:
    """The judge puts the plan's requests together from the address as it was written down."""
    plan = PLAN.replace(
        "lab: {}", 'external: {base_url: "http://h:1", proxies: {db: {admin_url: "http://h:2", proxy: db}}}'
    )
    verdict = judge_record(record(tmp_path / "run", plan=plan, environment=described(SYSTEM)))
    assert verdict["verdict"] == "pass", verdict["reason"]


def test_environment_records_how_a_lab_of_ours_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that are set, no secret among them; a system of others does not read them."""
    monkeypatch.setenv("CHAOS_SPIKE_LAB_BROKEN", "pool-waits")
    monkeypatch.setenv("CHAOS_SPIKE_LAB_BREAKER", "")
    monkeypatch.setenv("CHAOS_SPIKE_LAB_JWT_SECRET", "s3cret")
    lab = describe_system(System("compose", "http://127.0.0.1:1"))["lab"]
    assert lab["CHAOS_SPIKE_LAB_BROKEN"] == "pool-waits"
    assert "CHAOS_SPIKE_LAB_BREAKER" not in lab
    assert "s3cret" not in lab["CHAOS_SPIKE_LAB_JWT_SECRET"]
    assert described(SYSTEM)["lab"] == {}


def test_environment_records_how_a_lab_that_was_up_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `lab up` was started with counts, not what this run's own variables say; what is no such word is left out."""
    monkeypatch.setenv("CHAOS_SPIKE_LAB_BROKEN", "pool-waits")
    told = {"CHAOS_SPIKE_LAB_BROKEN": "leaks-sockets", "CHAOS_SPIKE_LAB_DB_POOL": "4", "PATH": "/bin"}
    system = replace(SYSTEM, facts={LAB_FACT: json.dumps(told)})
    assert describe_system(system)["lab"] == {
        "CHAOS_SPIKE_LAB_BROKEN": "leaks-sockets",
        "CHAOS_SPIKE_LAB_DB_POOL": "4",
    }
    assert describe_system(replace(SYSTEM, facts={LAB_FACT: "[]"}))["lab"] == {}


async def test_verdict_says_first_that_the_lab_is_broken_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what is to be said of the place; of a lab as it is, and of a system of others, nothing is said."""

    async def up(_: object) -> System:
        return System("embedded", "http://127.0.0.1:1", facts={"breaker_spec": "{}"})

    monkeypatch.setattr(EmbeddedStack, "up", up)
    monkeypatch.setattr(ExternalStack, "up", up)
    plan = load_text(PLAN, source="plan.yaml", environment={}).plan
    monkeypatch.delenv(VARIABLE, raising=False)
    assert NOTICE not in (await make_stack("embedded", plan).up()).facts
    monkeypatch.setenv(VARIABLE, "pool-waits,no-fallback")
    said = (await make_stack("embedded", plan, notice="not yours.").up()).facts[NOTICE]
    assert said.startswith(
        "not yours. the lab is broken on purpose (CHAOS_SPIKE_LAB_BROKEN=no-fallback,pool-waits)"
    )
    assert all(WAYS[name] in said for name in ("pool-waits", "no-fallback"))
    assert NOTICE not in (await make_stack("external", plan, SYSTEM).up()).facts
    monkeypatch.setenv(VARIABLE, "typo")
    with pytest.raises(StackError, match="typo is not one of"):
        make_stack("embedded", plan)


def test_environment_before_there_is_a_system_says_when_and_how() -> None:
    """What repeats the run, and nothing about a system that nobody has seen."""
    found = describe_environment(seed=7, command="chaos-spike run x")
    assert (found["seed"], found["command"]) == (7, "chaos-spike run x")
    assert found["started"]
    assert not {"system", "stack", "shared_host"} & found.keys()
