"""Accounting of raw rows: phases, seconds, overlays, conservation."""

import json
from array import array

from resilience.load.model import Herd, HttpRequest, PhaseWindow, Stream
from resilience.load.recorder import CALLS_A_MESSAGE, Recorder
from resilience.load.tally import ROW, Tally
from resilience.metrics.fold import LoadTable
from resilience.metrics.histogram import Histogram
from resilience.metrics.outcomes import CATEGORIES, CODE, DROPPED

S = 10**9
MS = 10**6
EPOCH = 1_000 * S
PHASES = (PhaseWindow("warmup", 0, S, judge=False), PhaseWindow("spike", S, 3 * S))


def row(due, *, took=5 * MS, outcome="ok", lag=MS, connected=0):
    """A row of an operation due at `due` ns after the epoch."""
    at = EPOCH + due
    return ROW.pack(at, at + lag, at + lag, connected, at + lag, at + took, CODE[outcome])


def test_tally_bins_by_intended_time_and_phase():
    """An operation belongs to the second and phase in which it was due, however long it took."""
    tally = Tally("quotes", PHASES, 50 * MS, EPOCH)
    dues = [0, S - 1, S, 2 * S + 5, 3 * S]
    tally.offer(array("q", [EPOCH + due for due in dues]))
    tally.fold([row(due, took=20 * S) for due in dues])
    messages = list(tally.drain(3))
    assert [(m["phase"], m["s"], m["n"]["offered"], m["n"]["ok"]) for m in messages] == [
        ("", 3, 1, 1),
        ("warmup", 0, 2, 2),
        ("spike", 1, 1, 1),
        ("spike", 2, 1, 1),
    ]
    assert {(m["kind"], m["worker"], m["load"]) for m in messages} == {("bins", 3, "quotes")}
    assert list(tally.drain(3)) == []


def test_tally_counts_every_category_once_and_overlays_beside():
    """Categories sum to offered; late and good overlap them; only what was started is an attempt."""
    tally = Tally("quotes", PHASES, 50 * MS, EPOCH)
    tally.offer(array("q", [EPOCH] * (len(CATEGORIES) + 2)))
    tally.fold([row(0, outcome=name) for name in CATEGORIES])
    tally.fold([row(0, took=51 * MS), row(0, took=51 * MS, outcome="degraded")])
    (message,) = tally.drain(0)
    n = message["n"]
    assert sum(n[name] for name in CATEGORIES) == n["offered"] == len(CATEGORIES) + 2
    assert (n["late"], n["good"], n["attempts"]) == (2, 1, n["offered"] - 1)
    json.dumps(message)


def test_tally_histograms_hold_what_their_names_say():
    """Response from the intended start, service from sending, lag; answers, sheds and failures apart."""
    tally = Tally("quotes", PHASES, 50 * MS, EPOCH)
    rows = [
        row(0, took=8 * MS, lag=2 * MS),
        row(0, took=9 * MS, outcome="shed"),
        row(0, took=10 * MS, outcome="timeout", connected=EPOCH + 4 * MS),
        row(0, took=0, outcome=DROPPED),
    ]
    tally.fold(rows)
    (message,) = tally.drain(0)
    found = {
        name: Histogram.from_json(message[name])
        for name in ("r", "service", "lag", "shed_r", "failed_r", "connect")
    }
    assert {name: histogram.count for name, histogram in found.items()} == {
        "r": 1,
        "service": 1,
        "lag": 3,
        "shed_r": 1,
        "failed_r": 1,
        "connect": 1,
    }
    assert abs(found["r"].quantile(0.5) - 8 * MS) < 8_000
    assert abs(found["service"].quantile(0.5) - 6 * MS) < 6_000
    assert abs(found["lag"].max() - 2 * MS) < 2_000


def test_tally_increments_merge_to_the_whole():
    """Folding in any portions, on several workers, gives the same table as folding once."""
    rows = [row(k * 7 * MS, took=(k % 40) * MS) for k in range(400)]
    due = array("q", [EPOCH + k * 7 * MS for k in range(400)])
    whole = Tally("quotes", PHASES, 20 * MS, EPOCH)
    whole.offer(due)
    whole.fold(rows)
    parts = []
    for worker in range(3):
        tally = Tally("quotes", PHASES, 20 * MS, EPOCH)
        for k in range(worker, 400, 3 * 10):
            tally.offer(due[k : k + 30 : 3])
            tally.fold(rows[k : k + 30 : 3])
            parts += tally.drain(worker)
    one = LoadTable.from_messages(whole.drain(0), PHASES)
    many = LoadTable.from_messages(json.loads(json.dumps(parts)), PHASES)
    for phase in ("warmup", "spike"):
        assert one.phase("quotes", phase) == many.phase("quotes", phase)
    assert many.bin("quotes").counts["offered"] == 400 == many.bin("quotes").ended


def stream(**changes):
    """A stream that records calls."""
    given = {
        "name": "quotes",
        "shape": Herd(3, 0),
        "arrival": "uniform",
        "request": HttpRequest(url="http://h/"),
        "deadline_ns": S,
        "timeout_ns": S,
        "record_calls": True,
    }
    return Stream(**{**given, **changes})


def test_recorder_sends_calls_in_small_messages():
    """Call rows leave as soon as there is a message full of them, and the rest with the flush."""
    sent = []
    recorder = Recorder(stream(), PHASES, 0, sent.append)
    recorder.begin(EPOCH)
    for i in range(CALLS_A_MESSAGE + 3):
        recorder.finish(
            i,
            intended=EPOCH,
            start=EPOCH + 1,
            acquired=EPOCH + 1,
            connected=0,
            sent=EPOCH + 2,
            first=EPOCH + 3,
            done=EPOCH + 4,
            outcome="ok",
            status=200,
            instance="g-1",
        )
    assert [len(m["rows"]) for m in sent if m["kind"] == "call"] == [CALLS_A_MESSAGE]
    recorder.flush()
    calls = [call for m in sent if m["kind"] == "call" for call in m["rows"]]
    assert len(calls) == CALLS_A_MESSAGE + 3
    assert list(calls[0]) == [0, EPOCH, EPOCH + 1, EPOCH + 2, EPOCH + 3, EPOCH + 4, 200, "ok", "g-1"]


def test_recorder_call_that_was_never_sent_has_its_end_as_sent():
    """`sent` is an integer in every row: where nothing was sent, the moment it was given up."""
    sent = []
    recorder = Recorder(stream(), PHASES, 0, sent.append)
    stamps = {"acquired": 0, "connected": 0, "sent": 0, "first": 0}
    recorder.finish(0, intended=5, start=6, done=9, outcome="connect", **stamps)
    recorder.flush()
    (call,) = next(m["rows"] for m in sent if m["kind"] == "call")
    assert list(call) == [0, 5, 6, 9, None, 9, None, "connect", None]


def test_recorder_notes_first_and_last_write_of_each_wave():
    """The spread of a herd is measured at the writes, per wave, over several folds."""
    recorder = Recorder(stream(shape=Herd(3, 0, waves=2, gap_ns=S)), PHASES, 0, lambda _: None)
    recorder.begin(EPOCH)
    for due, lag in ((0, 5), (0, 9), (S, 7), (S, 20)):
        recorder.rows.append(row(due, lag=lag))
        recorder.flush()
    assert recorder.writes == {0: (EPOCH + 5, EPOCH + 9), S: (EPOCH + S + 7, EPOCH + S + 20)}
