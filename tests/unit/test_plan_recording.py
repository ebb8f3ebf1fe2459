"""What is written down of a plan: all that the judge needs, nothing that is secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resilience.plan import LoadedPlan, PlanInvalid, load_plan, load_text, loader
from resilience.plan.recording import masked

EXTERNAL = """\
version: 1
name: demo
external:
  base_url: "http://${HOST:-shop.invalid}"
  instances: [{name: "${NODE:-node-1}", service: shop, admin_url: "http://${HOST:-shop.invalid}:81"}]
  proxies: {db: {admin_url: "http://${HOST:-shop.invalid}:8474", proxy: "${POOL:-main}"}}
phases: [{name: baseline, duration: "${LONG:-10s}"}]
load:
  quotes:
    http:
      url: "/q?token=${TOKEN:-none}"
      headers: {HEADERS}
      json: {JSON}
      deadline: ${DEADLINE:-500ms}
      timeout: ${TIMEOUT:-2s}
      expect_status: STATUS
    rate: "${RATE:-10/s}"
expect:
  steady: {load: quotes, p95: "< ${BOUND:-150ms}"}
"""


def plan(headers: str = "{}", json: str = "{}", status: str = "[200]") -> str:
    """The plan above with its blanks filled in."""
    text = EXTERNAL.replace("{HEADERS}", headers).replace("{JSON}", json)
    return text.replace("STATUS", status)


def load(text: str, **environment: str) -> LoadedPlan:
    """A plan in an environment."""
    return load_text(text, source="p", environment=environment)


def test_record_is_filled_in_wherever_no_secret_can_be() -> None:
    """Durations, names, rates and bounds stand in the record as they were: it is read back without an environment."""
    loaded = load(plan(), NODE="node-7", DEADLINE="300ms", HOST="hidden-host", TOKEN="hush-hush", POOL="blue")
    again = load_text(loaded.recorded, source="r", environment=None)
    assert again.timeline == loaded.timeline
    assert again.plan.external is not None
    assert again.plan.external.instances[0].name == "node-7"
    assert again.plan.external.proxies["db"].proxy == "blue"
    assert again.plan.load["quotes"].http.deadline == 300_000_000
    assert again.plan.load["quotes"].http.timeout == 2_000_000_000
    assert "hidden-host" not in loaded.recorded
    assert "hush-hush" not in loaded.recorded
    assert again.plan.external.base_url == "http://${HOST:-shop.invalid}"


def test_record_that_would_not_read_back_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, a run whose record cannot be judged is not made."""

    def spoilt(written: Any, filled: Any) -> Any:
        return {**filled, "phases": written["phases"]}

    monkeypatch.setattr(loader, "recordable", spoilt)
    with pytest.raises(PlanInvalid, match=r"could not be judged from its record.*phases\.0\.duration"):
        load(plan())
    monkeypatch.setattr(
        loader, "recordable", lambda _, filled: {**filled, "phases": [{"name": "x", "duration": "9s"}]}
    )
    with pytest.raises(PlanInvalid, match="another timeline"):
        load(plan())


def test_address_that_no_url_can_be_read_from_unfilled_is_refused() -> None:
    """An unfilled URL that the judge could not take apart is found while nothing has been started."""
    with pytest.raises(PlanInvalid, match="could not be judged from its record"):
        load(plan().replace('"/q?token=${TOKEN:-none}"', '"//${A:-[}"'), A="h/x")


@pytest.mark.parametrize(
    ("headers", "json", "kept"),
    [
        ('{Api-Key: "S3CRET"}', "{}", ()),
        ('{X-Access-Token: "S3CRET"}', "{}", ()),
        ('{Cookie: "id=S3CRET"}', "{}", ()),
        ("{}", '{password: "S3CRET", user: u1}', ("u1",)),
        ("{}", "{credentials: {a: [S3CRET, 17171717]}}", ()),
        ('{Authorization: "Basic S3CRET${X:-}"}', "{}", ("Basic ", "${X:-}")),
        ('{Authorization: "Bearer ${X:-S3CRET}"}', "{}", ("Bearer ${X:-",)),
        ('{Authorization: "Bearer ${X:?S3 please}"}', "{}", ("Bearer ${X:?S3 please}",)),
        ('{Referer: "http://u:S3CRET@h/"}', "{}", ("@h/",)),
        ('{Referer: "http://u:S3CRET${X:-}@h/"}', "{}", ("@h/",)),
        ('{Referer: "${X:-http://u:S3CRET@h/}"}', "{}", ("@h/}",)),
        ('{Referer: "http://h/?api_key=S3CRET&a=${X:-b}"}', "{}", ("a=${X:-b}",)),
        ('{X-Trace: "Bearer S3CRETS3CRET"}', "{}", ("Bearer",)),
    ],
)
def test_literal_credentials_are_masked_and_variables_kept(
    headers: str, json: str, kept: tuple[str, ...]
) -> None:
    """By the name of a header or a key, and by what it looks like; the parts around a variable, too."""
    loaded = load(plan(headers, json), X="x")
    assert "S3CRET" not in loaded.recorded
    assert "17171717" not in loaded.recorded
    for part in kept:
        assert part in loaded.recorded


def test_mask_leaves_what_is_no_secret() -> None:
    """Innocent values, and numbers, stand as they are."""
    value = {"X-Tenant": "blue ${A}", "n": 3, "monkey": ["a@b", None, True]}
    assert masked(value) == value


def test_rows_of_a_data_file_are_recorded_without_their_secrets(tmp_path: Path) -> None:
    """The record needs no file; a column that is called a password is masked; `${` in a row is text."""
    (tmp_path / "rows.csv").write_text("\ufeffuser,password\nu1${,S3CRET\n", encoding="utf-8")
    (tmp_path / "p.yaml").write_text(
        plan().replace("      json:", '      data: "${F:-rows}.csv"\n      json:')
    )
    loaded = load_plan(tmp_path / "p.yaml", environment={})
    assert loaded.plan.load["quotes"].http.data == ({"user": "u1${", "password": "S3CRET"},)
    assert "S3CRET" not in loaded.recorded
    assert "u1${" in loaded.recorded
