"""The model: what it reads of a record, and that a bad record still gives one."""

import math

import pytest
from report_sample import MemorySource, bin_at, event, failed_run, ns, passed_run, transition

from resilience.report import series
from resilience.report.headline import one_line, sign
from resilience.report.model import build_model


def test_model_names_the_first_broken_expectation():
    """Of several failures the earliest leads; those without a time come last."""
    source, verdict = failed_run()
    verdict["expectations"].append(
        {"id": "earlier", "verdict": "fail", "expected": "a", "observed": "b", "at_s": 3.0}
    )
    verdict["expectations"].insert(0, {"id": "timeless", "verdict": "fail"})
    assert build_model(source, verdict).breakage.expectation == "earlier"


def test_model_shows_the_breakage_among_the_events_around_it():
    """The witness has the breakage in order of time, without the transitions of other instances."""
    broken = build_model(*failed_run()).breakage
    assert broken.rule == "R4 no leak"
    assert broken.instance == "pricing@gateway-2"
    assert [each.at_s for each in broken.witness] == sorted(each.at_s for each in broken.witness)
    assert sum(each.kind == "broken" for each in broken.witness) == 1
    assert not any("gateway-1" in each.text for each in broken.witness)


def test_model_tells_planned_actual_and_verified_apart():
    """A fault's lane has the plan's window, the real one, and when its removal was proven."""
    (fault,) = build_model(*failed_run()).faults
    assert fault.planned == (20.0, 35.0)
    assert fault.actual == pytest.approx((20.1, 35.2))
    assert fault.verified_s == pytest.approx(36.4)
    assert fault.verified


def test_model_does_not_call_a_fault_verified_without_proof():
    """A fault that was injected and never healed runs to the end of the run and says so."""
    source, verdict = failed_run()
    source.event_list = [each for each in source.event_list if each.get("step") not in {"healed", "verified"}]
    verdict["faults"] = []
    (fault,) = build_model(source, verdict).faults
    assert not fault.verified
    assert fault.note == "not healed"
    assert fault.actual[1] == 60.0


def test_model_marks_transitions_no_breaker_may_take():
    """Closed to half-open is marked; the legal ones around it are not."""
    lanes = build_model(*failed_run()).breakers
    marks = {lane.instance: [each.at_s for each in lane.marks if each.kind == "illegal"] for lane in lanes}
    assert marks["gateway-1"] == []
    assert marks["gateway-2"] == pytest.approx([49.999])


def test_model_draws_a_breaker_from_polls_where_no_transition_was_seen():
    """Without events the polled states make the lane."""
    source, verdict = passed_run()
    source.event_list = [
        event("breaker.state", at, breaker="db", instance="gateway-1", boot="b", state=state)
        for at, state in ((1, "closed"), (2, "closed"), (3, "open"))
    ]
    (lane,) = build_model(source, verdict).breakers
    assert [(each.state, each.start_s, each.end_s) for each in lane.states] == [
        ("closed", 1, 3),
        ("open", 3, 60),
    ]


def test_series_outcomes_sum_to_offered():
    """The stacked outcomes are exclusive and complete in every second."""
    quotes = next(load for load in build_model(*failed_run()).loads if load.name == "quotes")
    for column in zip(quotes.offered_per_s, *quotes.outcomes.values(), strict=True):
        assert column[0] == pytest.approx(sum(column[1:]))


def test_series_of_long_runs_are_merged_not_averaged(monkeypatch):
    """Bins of several seconds keep totals as rates, and have the quantiles of all their samples."""
    monkeypatch.setattr(series, "MOST_BINS", 6)
    quotes = next(load for load in build_model(*failed_run()).loads if load.name == "quotes")
    assert quotes.bin_s == 10
    assert len(quotes.start_s) == 6
    assert sum(quotes.offered_per_s) * 10 == 35 * 50 + 25 * 300


def test_series_have_gaps_where_nothing_was_answered():
    """A second without samples has no response time instead of zero."""
    source, verdict = passed_run()
    source.bin_list = [bin_at(0, 10), bin_at(59, 10)]
    (load,) = build_model(source, verdict).loads
    assert math.isnan(load.p50_ms[30])
    assert load.offered_per_s[30] == 0


def test_model_counts_calls_per_dependency_from_its_tap():
    """The rate at a dependency is what its tap saw, second by second."""
    (calls,) = build_model(*failed_run()).dependency
    assert calls.name == "pricing"
    assert (calls.values[10], calls.values[25]) == (50, 4)


def test_model_of_a_run_that_died_early_is_still_one():
    """An empty record and an empty verdict give a report that says unknown."""
    model = build_model(MemorySource(epoch_ns=0, event_list=[event("run", 0, state="started")]), {})
    assert model.verdict == "unknown"
    assert model.journal[0].at_s == 0.0


JUNK = (None, 7, "text", [], [1, "x"], {"a": {"b": [None]}}, float("nan"), 10**400)


@pytest.mark.parametrize("place", range(len(JUNK)))
def test_model_survives_fields_of_the_wrong_type(place):
    """Whatever stands in a field of a verdict, there is a report."""
    junk = JUNK[place]
    source, verdict = failed_run()
    source.bin_list, source.event_list, source.wire_list = [], source.event_list[:20], []
    for field in verdict:
        build_model(source, verdict | {field: junk})
    for field in verdict["expectations"][1]:
        build_model(source, verdict | {"expectations": [verdict["expectations"][1] | {field: junk}]})
    instance = verdict["breakers"]["pricing"]["instances"][1]
    for field in instance:
        build_model(source, verdict | {"breakers": {"pricing": {"instances": [instance | {field: junk}]}}})
    for field in instance["rules"]["R4"]:
        rules = {"R4": instance["rules"]["R4"] | {field: junk}}
        build_model(source, verdict | {"breakers": {"pricing": {"instances": [instance | {"rules": rules}]}}})


def test_model_reads_moments_as_middles_of_their_intervals():
    """A transition observed between two instants is drawn between them."""
    source, verdict = passed_run()
    source.event_list = [transition(5.0, "gateway-1", "closed", "open") | {"at": [ns(4.0), ns(5.0)]}]
    (lane,) = build_model(source, verdict).breakers
    assert lane.states[1].start_s == pytest.approx(4.5)


def test_model_gives_the_command_that_repeats_the_run():
    """The recorded command wins over one put together from plan, stack and seed; both are safe to paste."""
    source, verdict = failed_run()
    assert build_model(source, verdict).reproduce == "chaos-spike run breaker.yaml --stack embedded --seed 42"
    source.facts["command"] = ["chaos-spike", "run", "a plan.yaml"]
    assert build_model(source, verdict).reproduce == "chaos-spike run 'a plan.yaml'"


def test_one_line_is_one_line():
    """The shortest report has verdict, name and sentence."""
    line = one_line(build_model(*failed_run()))
    assert line.startswith(
        "FAIL checkout-pricing-slow: conforms (R4 no leak on pricing@gateway-2) broke at 22.9 s"
    )
    assert "\n" not in line


def test_model_tells_how_the_system_came_back():
    """A recovery counts from the reference of the verdict, to the far end of its uncertainty; the chip takes the expectation's side."""
    source, verdict = failed_run()
    verdict["recovery"]["pricing-slow"] |= {
        "reference_s": 40.0,
        "time_to_recover_s": {"value": 4.5, "plus_minus": 0.5},
    }
    verdict["expectations"][2] |= {"expected": "time to recover from pricing-slow < 4s", "verdict": "fail"}
    model = build_model(source, verdict)
    assert model.faults[0].recovery.span == (40.0, 45.0)
    assert model.faults[0].recovery.recovered
    chip = next(each for each in model.chips if each.label == "recovery")
    assert (chip.state, chip.text) == ("fail", "4.5 ± 0.5 s after pricing-slow")


def test_recovery_that_nobody_asks_for_is_told_and_breaks_no_promise():
    """A cross on the page of a run that passed would contradict its verdict; where it is asked for, the chip takes its side."""
    source, verdict = failed_run()
    verdict["recovery"]["pricing-slow"] = {
        "reference_s": 40.0,
        "time_to_recover_s": {"censored_above_s": 20.0},
    }
    asked = "time to recover from pricing-slow < 4s"
    for expected, judged, state in (
        ("memory < 1 MB", "pass", "told"),
        (asked, "fail", "fail"),
        (asked, "unknown", "unknown"),
    ):
        verdict["expectations"][2] |= {"expected": expected, "verdict": judged}
        chip = next(each for each in build_model(source, verdict).chips if each.label == "recovery")
        assert (chip.state, chip.text) == (state, "not within 20.0 s after pricing-slow")
    assert sign("told") not in {sign("pass"), sign("fail"), sign("unknown"), sign("anything else")}


def test_model_shows_a_recovery_that_did_not_come_to_the_end_of_the_run():
    """Censored is neither missing nor recovered."""
    source, verdict = failed_run()
    verdict["recovery"]["pricing-slow"] = {
        "reference_s": 40.0,
        "time_to_recover_s": {"censored_above_s": 20.0},
    }
    recovery = build_model(source, verdict).faults[0].recovery
    assert (recovery.span, recovery.recovered, recovery.text) == ((40.0, 60.0), False, "not within 20.0 s")


def test_model_has_a_lane_for_a_breaker_that_could_not_be_followed():
    """No lane at all would look as if nobody had asked for that breaker."""
    source, verdict = failed_run()
    verdict["breaker_problems"] = {"orders": "nothing of it was seen", "pricing": "half of it"}
    model = build_model(source, verdict)
    assert model.breakers[-1].words == "orders: nothing of it was seen"
    assert len(model.breakers) == 3
    assert "2 instances" in next(each.text for each in model.chips if each.label == "breakers")


def test_model_has_the_probes_that_the_verifier_names():
    """A tick a call that was let through half-open, at the middle of when that was decided."""
    source, verdict = failed_run()
    instance = verdict["breakers"]["pricing"]["instances"][1]
    instance["path"][2]["evidence"]["wire"] = {"admitted": 1, "probes_ns": [[ns(22.4), ns(22.5)]]}
    lane = next(each for each in build_model(source, verdict).breakers if each.instance == "gateway-2")
    assert lane.probes_s == pytest.approx((22.45,))


def test_model_leaves_how_a_fault_was_prepared_out_of_the_witness():
    """Planned, journaled and armed are for the journal."""
    source, verdict = failed_run()
    verdict["expectations"][1] |= {"evidence": {}, "observed": "late", "at_s": 20.05}
    told = [each.text for each in build_model(source, verdict).breakage.witness]
    assert "fault pricing-slow injected" in told
    assert not [each for each in told if each.endswith(("journaled", "armed"))]


def test_series_show_instances_and_sockets_as_they_came_and_went():
    """An instance counts from when it was seen ready until it leaves; a service's sockets are those of all its instances."""
    source, verdict = passed_run()
    source.event_list += [
        event("scale", 20, instance="gateway-2", step="decided"),
        event("scale", 24, instance="gateway-2", step="ready"),
        event("scale", 50, instance="gateway-2", step="leaving"),
        event("health", 10.2, stage="during", service="gateway", instance="gateway-1", sockets=3),
        event("health", 10.4, stage="during", service="gateway", instance="gateway-2", sockets=4),
    ]
    found = {each.unit: each for each in build_model(source, verdict).resources}
    assert found["instances"].values == (0.0, 1.0, 0.0)
    assert found["instances"].at_s == pytest.approx((0.0, 24.0, 50.0))
    assert found["sockets"].values == (7.0,)
    assert found["sockets"].at_s == (10.0,)
