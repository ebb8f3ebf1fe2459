"""What is written down of a system, and that it can be judged by all the same."""

from __future__ import annotations

import json
from pathlib import Path

from run_sample import PLAN, record

from resilience.lab.system import Instance, ProxyPoint, System
from resilience.run.environment import describe_environment
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


def test_environment_holds_no_password_of_any_address() -> None:
    """Hosts stay, users do not, whatever a proxy is called; the shape is the system's own, so it can be read back."""
    found = describe_environment(SYSTEM)
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
    verdict = judge_record(record(tmp_path / "run", plan=plan, environment=describe_environment(SYSTEM)))
    assert verdict["verdict"] == "pass", verdict["reason"]
