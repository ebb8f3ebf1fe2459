"""Observers of other people's breakers, held against what real libraries answered.

Recorded from running processes: opossum 9.0.0 with opossum-prometheus 0.3.0 on node 20 (`opossum-9.0.0.json`: closed, open, half-open, open,
half-open, closed); Spring Boot 3.2.5 with resilience4j-spring-boot3 2.2.0 (`resilience4j-2.2.0.json`: the same life under an event
buffer of twelve; `resilience4j-2.2.0-totals.json`: another life, with what callers were answered until each reading). Envoy's statistics are written after its documentation; nothing here has met an Envoy.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from resilience.breaker.observers.base import TROUBLE
from resilience.breaker.observers.clocks import WallClock, wall_ns
from resilience.breaker.observers.envoy import OutlierReader
from resilience.breaker.observers.gobreaker import CountsReader
from resilience.breaker.observers.mapped import Fields, MappedEvents, MappedState
from resilience.breaker.observers.opossum import OpossumStates, opossum_events
from resilience.breaker.observers.polling import Line, Subject
from resilience.breaker.observers.prometheus import MetricsReader, samples
from resilience.breaker.observers.registry import REMOTE
from resilience.breaker.observers.resilience4j import ActuatorEvents, ActuatorStates, ActuatorTotal
from resilience.breaker.observers.rings import Ring
from resilience.plan.schema.breakers import REMOTE_KEYS

DATA = Path(__file__).parents[1] / "data" / "observers"
OPOSSUM = json.loads((DATA / "opossum-9.0.0.json").read_text())
RESILIENCE4J = json.loads((DATA / "resilience4j-2.2.0.json").read_text())
TOTALLED = json.loads((DATA / "resilience4j-2.2.0-totals.json").read_text())
PRICING = Subject("pricing", "pricing", "i1")
MS = 1_000_000
LIFE = ["closed", "open", "half_open", "open", "half_open", "closed"]


def changes(lines: list[Line]) -> list[tuple[str, str]]:
    """Transitions as (from, to)."""
    return [(line["from"], line["to"]) for line in lines if line["kind"] == "breaker.transition"]


def steps(states: list[str]) -> list[tuple[str, str]]:
    """A path as transitions."""
    return list(itertools.pairwise(states))


def read_all(reader: Any, texts: list[str]) -> list[Line]:
    """Everything a reader makes of answers that were read 100 ms apart."""
    return [
        line for i, text in enumerate(texts) for line in reader.read(text, (i * 100 * MS, i * 100 * MS + MS))
    ]


def test_every_way_of_watching_has_an_observer() -> None:
    """What a plan may ask for is what the registry can make."""
    assert set(REMOTE_KEYS) == set(REMOTE)


# ------------------------------------------------------------------------------------------------------- opossum


def test_opossum_states_follow_its_life() -> None:
    """`toJSON()` of the real library, reading by reading."""
    texts = [json.dumps([reading["state"], {"state": {"name": "x"}}]) for reading in OPOSSUM["readings"]]
    assert [line["state"] for line in read_all(OpossumStates(PRICING), texts)] == LIFE


def test_opossum_events_are_its_transitions() -> None:
    """Only open, halfOpen and close are transitions; each lies within what was heard, and 201 ms apart as its clock says."""
    reader = opossum_events(PRICING)
    start = OPOSSUM["events"][0]["at"]
    lines = [
        line
        for event in OPOSSUM["events"]
        for line in reader.heard(json.dumps(event), 10**9 + (event["at"] - start + 3) * MS)
    ]
    assert changes(lines) == steps(LIFE)
    for line in lines:
        assert line["at"][0] <= line["at"][1]
    opened, half_open = lines[0]["at"], lines[1]["at"]
    assert half_open[0] - opened[1] <= 201 * MS <= half_open[1] - opened[0]


def test_opossum_events_of_others_are_passed_over() -> None:
    """Another circuit's events, and events of other kinds, say nothing of this one."""
    reader = opossum_events(PRICING)
    assert not list(reader.heard('{"name": "stock", "event": "open", "at": 1}', 5))
    assert not list(reader.heard('{"name": "pricing", "event": "success", "at": 1}', 5))


def test_opossum_counters_tell_transitions_between_readings() -> None:
    """Its exporter does not count halfOpen: the way through it is told, within the interval between two readings."""
    lines = read_all(MetricsReader(PRICING), [reading["metrics"] for reading in OPOSSUM["readings"]])
    assert changes(lines) == steps(LIFE)
    assert not [line for line in lines if line["kind"] == "gap"]
    assert next(line for line in lines if "to" in line)["at"] == [0, 101 * MS]


def counted(lines: list[Line]) -> list[dict[str, int]]:
    """Totals reading by reading, by name."""
    found: dict[int, dict[str, int]] = {}
    for line in lines:
        if line["kind"] == "breaker.total":
            found.setdefault(line["at"][0], {})[line["name"]] = line["value"]
    return list(found.values())


def test_opossum_counters_tell_totals_of_calls() -> None:
    """Its exporter shows what became of calls, and how often it opened: rejected, failed and successful ones make up all that were made."""
    pages = [reading["metrics"] for reading in OPOSSUM["readings"]]
    told = counted(read_all(MetricsReader(PRICING), pages))
    assert told[0] == {"succeeded": 2}
    assert [each.get("opened", 0) for each in told] == [0, 1, 1, 2, 2, 2]
    fired = [next(s.value for s in samples(page) if s.labels.get("event") == "fire") for page in pages]
    assert fired == [sum(each.get(name, 0) for name in ("succeeded", "failed", "rejected")) for each in told]
    assert told[-1] == {"succeeded": 3, "failed": 4, "rejected": 2, "opened": 2}


def test_opossum_counters_of_unknown_order_are_a_gap() -> None:
    """Two ways of counting up are possible: nobody is told one of them."""
    page = 'circuit{{name="pricing",event="open"}} {o}\ncircuit{{name="pricing",event="halfOpen"}} {h}\ncircuit{{name="pricing",event="close"}} {c}\n'
    reader = MetricsReader(PRICING)
    lines = read_all(
        reader, [page.format(o=0, h=0, c=0), page.format(o=3, h=3, c=2), page.format(o=1, h=1, c=1)]
    )
    assert [line["kind"] for line in lines if line["kind"] != "breaker.total"] == ["gap", "gap"]
    assert [total["opened"] for total in counted(lines)] == [0, 3, 1]


# -------------------------------------------------------------------------------------------------- resilience4j


def test_actuator_states_follow_its_life() -> None:
    """`/actuator/circuitbreakers` of a real Spring Boot application."""
    texts = [json.dumps(reading["states"]) for reading in RESILIENCE4J["readings"]]
    assert [line["state"] for line in read_all(ActuatorStates(PRICING), texts)] == LIFE


def test_actuator_metrics_follow_its_life() -> None:
    """`/actuator/prometheus`: the one state of five whose gauge is 1."""
    texts = [reading["metrics"] for reading in RESILIENCE4J["readings"]]
    assert [line["state"] for line in read_all(MetricsReader(PRICING), texts)] == LIFE


def test_actuator_events_are_its_transitions() -> None:
    """Read often enough, its ring tells each transition once and loses none."""
    texts = [json.dumps(reading["events"]) for reading in RESILIENCE4J["readings"]]
    lines = read_all(ActuatorEvents(PRICING), texts)
    assert changes(lines) == steps(LIFE)
    assert not [line for line in lines if line["kind"] == "gap"]


def test_actuator_ring_that_overflowed_is_a_gap() -> None:
    """Twelve events at most are kept: what was pushed out between two readings is owned up to."""
    reader = ActuatorEvents(PRICING)
    texts = [json.dumps(RESILIENCE4J[name]) for name in ("before_overflow", "after_overflow")]
    lines = read_all(reader, texts)
    assert [line["kind"] for line in lines if line["kind"] == "gap"] == ["gap"]
    assert lines[0]["source"] == "events"
    assert lines[0]["lost"] is None


def test_actuator_event_that_cannot_be_read_is_a_gap() -> None:
    """The ring goes on behind it, so it is never read again; what stands beside it is told all the same."""
    reader = ActuatorEvents(PRICING)

    def ring(*events: tuple[str, str]) -> str:
        told = [
            {"circuitBreakerName": "pricing", "creationTime": f"2026-11-22T12:28:0{n}Z", key: change}
            for n, (key, change) in enumerate(events)
        ]
        return json.dumps({"circuitBreakerEvents": told})

    opened, odd = ("stateTransition", "CLOSED_TO_OPEN"), ("stateTransition", "OPEN_TO_SOMEWHERE")
    read_all(reader, [ring(("errorMessage", "x"))])
    lines = read_all(reader, [ring(("errorMessage", "x"), opened, odd)])
    assert [line["kind"] for line in lines] == ["breaker.transition", "gap"]
    assert read_all(reader, [ring(("errorMessage", "x"), opened, odd)]) == []


def test_actuator_without_the_breaker_is_no_answer() -> None:
    """A breaker that is not there is said to be missing, not closed."""
    with pytest.raises(KeyError):
        list(
            ActuatorStates(Subject("x", "x", "i")).read(
                json.dumps(RESILIENCE4J["readings"][0]["states"]), (0, 1)
            )
        )


def test_actuator_metrics_page_tells_what_callers_were_answered() -> None:
    """Calls by kind, and those not permitted, are the totals of what a real application's callers saw, reading by reading."""
    lines = read_all(MetricsReader(PRICING), [reading["prometheus"] for reading in TOTALLED["readings"]])
    assert counted(lines) == [reading["made"] for reading in TOTALLED["readings"]]
    assert all(
        line["others"] and line["source"] == "metrics" for line in lines if line["kind"] == "breaker.total"
    )


@pytest.mark.parametrize("name", ["succeeded", "failed", "rejected"])
def test_actuator_totals_tell_what_callers_were_answered(name: str) -> None:
    """The same of `/actuator/metrics`, which needs no Prometheus."""
    texts = [json.dumps(reading["totals"][name]) for reading in TOTALLED["readings"]]
    lines = read_all(ActuatorTotal(PRICING, name), texts)
    assert [(line["name"], line["value"]) for line in lines] == [
        (name, reading["made"][name]) for reading in TOTALLED["readings"]
    ]


@pytest.mark.parametrize(
    "text", ['{"measurements": []}', '{"measurements": [{"statistic": "COUNT", "value": 0.5}]}', "{}"]
)
def test_actuator_total_that_is_none_is_no_answer(text: str) -> None:
    """Nothing is counted that was not told."""
    with pytest.raises((KeyError, ValueError)):
        list(ActuatorTotal(PRICING, "failed").read(text, (0, 1)))


# -------------------------------------------------------------------------------------------------------- others


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "pricing", "state": "half-open", "counts": {"Requests": 3, "ConsecutiveFailures": 2}}',
        '[{"Name": "stock", "State": "open"}, {"Name": "pricing", "State": "half-open", "Counts": {"ConsecutiveFailures": 2}}]',
        '{"breakers": {"pricing": {"state": "half-open", "counts": {"consecutive_failures": 2}}}}',
    ],
)
def test_gobreaker_state_and_counts(answer: str) -> None:
    """One breaker, a list, or an object of them by name."""
    (line,) = CountsReader(PRICING).read(answer, (1, 2))
    assert (line["state"], line["failures"], line["at"]) == ("half_open", 2, [1, 2])


@pytest.mark.parametrize("answer", ['{"name": "stock", "state": "open"}', "[]", '{"breakers": {}}'])
def test_gobreaker_that_is_not_there(answer: str) -> None:
    """Never somebody else's state."""
    with pytest.raises(KeyError):
        list(CountsReader(PRICING).read(answer, (1, 2)))


@pytest.mark.parametrize("form", ["text", "json"])
def test_envoy_figures_are_marked_as_another_automaton(form: str) -> None:
    """Ejections are no breaker state, and are not told as one."""
    stats = {
        "cluster.pricing.outlier_detection.ejections_active": 1,
        "cluster.pricing.outlier_detection.ejections_enforced_total": 4,
        "cluster.stock.outlier_detection.ejections_active": 0,
    }
    text = "".join(f"{name}: {value}\n" for name, value in stats.items())
    if form == "json":
        text = json.dumps({"stats": [{"name": name, "value": value} for name, value in stats.items()]})
    line, total = OutlierReader(PRICING).read(text, (1, 2))
    assert (total["kind"], total["name"], total["value"]) == ("breaker.total", "opened", 4)
    assert line["kind"] == "outlier"
    assert line["automaton"] == "envoy outlier detection"
    assert (line["ejections_active"], line["ejections_enforced_total"]) == (1, 4)


def test_mapped_state_in_unusual_words() -> None:
    """A path into any JSON, states under names of their own."""
    fields = Fields(state="components.0.status", states={"UP": "closed", "DOWN": "open"})
    (line,) = MappedState(PRICING, fields).read('{"components": [{"status": "DOWN"}]}', (1, 2))
    assert line["state"] == "open"


def test_mapped_state_that_is_not_there_is_trouble_and_no_end() -> None:
    """A list that is too short is an answer that makes no sense: the next one is asked for."""
    with pytest.raises(TROUBLE):
        list(MappedState(PRICING, Fields(state="components.0.status")).read('{"components": []}', (1, 2)))


def test_mapped_events_without_a_time_happened_shortly_before() -> None:
    """No longer ago than the delay that was granted."""
    fields = Fields(before="old", after="new", delay_ns=50 * MS)
    (line,) = MappedEvents(PRICING, fields).heard('{"old": "HALF_OPEN", "new": "halfOpen"}', 100 * MS)
    assert (line["from"], line["to"], line["at"]) == ("half_open", "half_open", [50 * MS, 100 * MS])


@pytest.mark.parametrize("at", ["never", None, {}, 10**400], ids=["word", "none", "object", "vast"])
def test_mapped_event_whose_time_cannot_be_read_is_told_all_the_same(at: object) -> None:
    """Left out it would be a hole that nobody owns up to: the next one begins in a state that was never entered."""
    reader = MappedEvents(PRICING, Fields(after="to", at="at", delay_ns=50 * MS), first="closed")
    lines = [*reader.heard(json.dumps({"to": "open", "at": at}), 100 * MS)]
    assert [(line["from"], line["to"], line["at"]) for line in lines] == [
        ("closed", "open", [50 * MS, 100 * MS])
    ]


# -------------------------------------------------------------------------------------------------- what they share


def test_ring_tells_new_entries_and_what_it_cannot_know() -> None:
    """Overlap is looked for from the longest on; without any, entries may be missing."""
    ring: Ring[str] = Ring()
    assert ring.read("ab") == ((), False)
    assert ring.read("abc") == (("c",), False)
    assert ring.read("bcd") == (("d",), False)
    assert ring.read("dd") == (("d",), False)
    assert ring.read("xyz") == (("x", "y", "z"), True)
    ring.read("")
    assert ring.read("q") == (("q",), False)


def test_wall_clock_is_learnt_from_readings() -> None:
    """Looks 100 ms apart place events within a few ms, once enough of them bounded the offset; a clock that was set starts anew."""
    clock, offset = WallClock(), 5_000_000_000
    for k in range(50):
        at = k * 100 * MS + (k * 37 % 97) * MS
        lo, hi = clock.place((at - offset, at - offset), k * 100 * MS, (k + 1) * 100 * MS)
        assert lo <= at <= hi
    assert hi - lo < 10 * MS
    lo, hi = clock.place((7, 7), 6_000 * MS, 6_100 * MS)
    assert (lo, hi) == (6_000 * MS, 6_100 * MS)


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("2026-01-10T15:39:17.117+01:00[Europe/Berlin]", MS),
        ("2026-01-10T14:39:17.117000000Z", 1),
        ("2026-01-10T14:39:17Z", 1_000_000_000),
    ],
)
def test_wall_time_is_as_wide_as_it_is_written(text: str, width: int) -> None:
    """Java writes as many digits as it needs; each missing one makes the instant less certain."""
    lo, hi = wall_ns(text)
    assert hi - lo + 1 == width
    assert lo // 1_000_000_000 == 1768055957
    with pytest.raises(ValueError, match="no offset"):
        wall_ns("2026-01-10T15:39:17")


def test_samples_survive_odd_labels_and_lines() -> None:
    """Escaped quotes, time stamps, comments, garbage."""
    page = '# HELP x y\nx{a="q\\"u,o}te",b="2"} 1.5e0 1700000000\nnonsense here is\nplain 7\n'
    found = list(samples(page))
    assert [(s.metric, s.value) for s in found] == [("x", 1.5), ("plain", 7.0)]
    assert found[0].labels == {"a": 'q"u,o}te', "b": "2"}
