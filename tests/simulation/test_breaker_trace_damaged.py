"""Recorded traces that were damaged: refused with the line, or judged, never a traceback and never a pass that the whole did not get."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import pytest
from breaker_stimulus import CORRECT, spec_for, stimulus
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilience.breaker.history import HistoryError, dump_jsonl
from resilience.breaker.report import Verdict
from resilience.breaker.trace import render, verify_trace

SPEC = spec_for(CORRECT)


@cache
def lines() -> tuple[str, ...]:
    """The first openings of a recorded trace that passes."""
    world = stimulus(CORRECT)
    world.calls = world.calls[:160]
    return tuple(dump_jsonl(world.run()).splitlines())


def judged(text: str) -> int:
    """The exit code, 2 for a refusal; a refusal names its line, a rule that fails has a witness."""
    try:
        report, code = verify_trace(text, SPEC)
    except HistoryError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.startswith("line ")
        return 2
    assert render(report)
    for instance in report.instances:
        for rule in instance.rules.values():
            assert "checker error" not in rule.reason, rule
            assert (rule.verdict is Verdict.FAIL) <= (rule.witness is not None)
    return code


def test_breaker_trace_whole_passes() -> None:
    """The trace that is damaged below passes as it is."""
    assert judged("\n".join(lines())) == 0


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["", "open", "ok", "rejected", "b", "i1", "1e999", "[0,1]"]),
    st.just([]),
    st.just([2.0, 1.0]),
    st.just({"a": 1}),
)


@settings(max_examples=60, deadline=None)
@example(seed=336, value=0)  # a call that finishes before it starts
@given(seed=st.integers(0, 10**6), value=VALUES)
def test_breaker_trace_with_one_wrong_value_is_refused_or_judged(seed: int, value: Any) -> None:
    """Any value at any key of any line."""
    rng = random.Random(seed)
    damaged = list(lines())
    number = rng.randrange(len(damaged))
    entry = json.loads(damaged[number])
    entry[rng.choice(list(entry))] = value
    damaged[number] = json.dumps(entry)
    assert judged("\n".join(damaged)) in {0, 1, 2, 3}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_breaker_trace_cut_anywhere_is_refused_or_judged(seed: int) -> None:
    """Cut in the middle of a line it is refused with that line; cut between lines it is judged as far as it goes."""
    text = "\n".join(lines())
    cut = text[: random.Random(seed).randrange(len(text))]
    last = cut.rpartition("\n")[2]
    try:
        json.loads(last or "{}")
        whole = True
    except ValueError:
        whole = False
    assert (judged(cut) == 2) != whole


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_breaker_trace_order_of_lines_does_not_matter(seed: int) -> None:
    """The same lines in any order get the same verdicts."""
    shuffled = list(lines())
    random.Random(seed).shuffle(shuffled)
    assert judged("\n".join(shuffled)) == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_breaker_trace_told_to_have_lost_records_never_passes_a_rule_over_all(seed: int) -> None:
    """Records are missing and a gap says so: no rule that needs the whole history passes, and none fails."""
    rng = random.Random(seed)
    kept = list(lines())
    entries = [json.loads(line) for line in kept]
    ids = [e["id"] for e in entries if e["kind"] == "call"]
    lost = set(rng.sample(ids, 5))
    times = [_ends(e["start"])[0] for e in entries if e.get("id") in lost and e["kind"] == "call"]
    ends = [
        _ends(e["end"])[1]
        for e in entries
        if e.get("id") in lost and e["kind"] == "call" and e["end"] is not None
    ]
    gap = {"kind": "gap", "source": "calls", "at": [min(times), max([*times, *ends])], "lost": 5}
    text = "\n".join(
        [*(k for k, e in zip(kept, entries, strict=True) if e.get("id") not in lost), json.dumps(gap)]
    )
    report, code = verify_trace(text, SPEC)
    rules = report.instances[0].rules
    assert code != 1, render(report)
    assert rules["R17"].verdict is Verdict.UNKNOWN
    assert rules["R3"].verdict is Verdict.UNKNOWN
    assert "truncated" in rules["R17"].reason


def _ends(time: Any) -> list[float]:
    return time if isinstance(time, list) else [time, time]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ('{"kind":"cal","breaker":"b"}', "did you mean 'call'"),
        ('{"kind":"boot","instanze":"i","at":0}', "'instanze' is unknown"),
        ('{"kind":"boot","instance":"i","at":0,"bot":1}', "did you mean 'boot'"),
        (
            '{"kind":"state","breaker":"b","instance":"i","state":"half-opened","at":1}',
            "did you mean 'half_open'",
        ),
        ("[1, 2]", "a JSON object"),
        ("not json", "not a JSON object"),
    ],
)
def test_breaker_trace_refusal_says_the_line_and_what_would_do(line: str, hint: str) -> None:
    """Exit code 2: the number of the line, and the nearest known word."""
    with pytest.raises(HistoryError, match="line 2") as caught:
        verify_trace('{"kind":"boot","instance":"i","at":0}\n' + line, SPEC)
    assert hint in str(caught.value)


def test_breaker_trace_that_contradicts_itself_fails_or_stays_open() -> None:
    """The same call turned away and answered by the dependency at once: R15 fails, with both lines as the witness."""
    contradictory = [
        '{"kind":"boot","instance":"i","at":0}',
        '{"kind":"call","breaker":"b","instance":"i","id":1,"start":1.0,"end":1.01,"outcome":"rejected"}',
        '{"kind":"arrival","breaker":"b","instance":"i","id":1,"at":1.005}',
    ]
    report, code = verify_trace("\n".join(contradictory), {"failures": 3, "wait_ms": 1000})
    assert code == 1
    assert report.instances[0].rules["R15"].verdict is Verdict.FAIL
