"""Hostile inputs, and everything of ours that reads what others wrote: a plan, a trace, an answer, a frame, a journal, a record.

A *reader* takes bytes and either understands them or raises one of the errors that it promises; anything else is a crash. It must not
take longer than `deeds.HANG_S`, write a file, start a process or open a connection, and what it says must not hold `SECRET`, which
stands in the environment of every plan.

Inputs are real documents with wounds (`wounds`). Some are noise. The same readers serve hypothesis (here and in tests/property) and atheris (`guided`).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from hypothesis import strategies as st

from faults.http_messages import MessageScanner
from faults.journal import live_intents, parse_lines
from faults.proxy.golang_json import GoJSONError, decode_first
from faults.redact import redact
from resilience.breaker.history import HistoryError
from resilience.breaker.observers.base import TROUBLE
from resilience.breaker.observers.envoy import OutlierReader
from resilience.breaker.observers.gobreaker import CountsReader
from resilience.breaker.observers.mapped import Fields, MappedEvents, MappedState
from resilience.breaker.observers.polling import Subject
from resilience.breaker.observers.prometheus import MetricsReader
from resilience.breaker.observers.resilience4j import ActuatorEvents, ActuatorStates, ActuatorTotal
from resilience.breaker.spec import BreakerSpec, SpecError
from resilience.breaker.trace import render, verify_trace
from resilience.load.http_response import ProtocolViolationError, ResponseReader
from resilience.load.socket_frames import FrameError, FrameReader
from resilience.plan import load_text
from resilience.plan.problems import PlanInvalid
from resilience.plan.texts import parse_value
from resilience.run.judge import judge_record
from resilience.run.record import RecordError, RunReader

sys.path.insert(0, str(Path(__file__).parent))
from wounds import WOUNDS, wounded

SECRET = "hunter2-never-to-be-told"
ENVIRONMENT = {"TEST_TOKEN": SECRET}
ROOT = Path(__file__).parents[2]
SPEC: Mapping[str, Any] = {"dialect": "purgatory", "failures": 5, "wait_ms": 1000, "timeout_ms": 300}
OBSERVER_ERRORS = (*TROUBLE, AttributeError)
"""What an observer takes for "this service answers nonsense"; it is noted as a gap."""


class ToldError(AssertionError):
    """A secret stands in something that people read."""


def _said(text: str) -> None:
    if SECRET in text:
        raise ToldError(text[:500])


def read_plan(data: bytes) -> None:
    """A plan file."""
    try:
        loaded = load_text(data.decode("utf-8", "replace"), source="plan.yaml", environment=ENVIRONMENT)
    except PlanInvalid as error:
        _said(str(error))
        return
    # Where a value is shown by design (a name, a purpose) a wound may have put the variable; in a call it is never written down.
    if _GUARDED in data and data.count(b"${TEST_TOKEN") == 1:
        _said(loaded.recorded)


def read_trace(data: bytes) -> None:
    """A recorded history."""
    with contextlib.suppress(HistoryError, SpecError):
        report, _ = verify_trace(data.decode("utf-8", "replace"), SPEC)
        render(report)


def read_spec(data: bytes) -> None:
    """A breaker's specification, as `verify-trace --spec` reads it."""
    try:
        document = parse_value(data.decode("utf-8", "replace"), "spec.yaml")
    except PlanInvalid as error:
        _said(str(error))
        return
    if isinstance(document, dict):
        with contextlib.suppress(SpecError):
            BreakerSpec.from_mapping(document)


def read_answer(data: bytes) -> None:
    """An HTTP answer, in two pieces."""
    reader = ResponseReader(keep_body=True)
    with contextlib.suppress(ProtocolViolationError):
        if not reader.feed(data[: len(data) // 2] or b"H"):
            reader.feed(data[len(data) // 2 :] or b"H")
        reader.close()


def read_frames(data: bytes) -> None:
    """A WebSocket server's frames."""
    with contextlib.suppress(FrameError):
        for _ in FrameReader().feed(data):
            pass


def read_messages(data: bytes) -> None:
    """Requests, then answers, on a tapped connection: it passes everything on, so it objects to nothing."""
    for responses in (False, True):
        scanner = MessageScanner(responses=responses)
        for start in range(0, len(data), 7):
            for _ in scanner.feed(data[start : start + 7]):
                pass


def read_api_body(data: bytes) -> None:
    """A body for the proxy's control API."""
    with contextlib.suppress(GoJSONError):
        decode_first(data)


def read_observed(data: bytes) -> None:
    """What a service says of its breakers, to each kind of observer."""
    text, at, subject = data.decode("utf-8", "replace"), (1, 2), Subject("pricing", "pricing", "gateway-1")
    fields = Fields(state="state", before="from", after="to", at="at", name="name")
    for reader in (
        ActuatorStates(subject),
        ActuatorEvents(subject),
        ActuatorTotal(subject, "failed"),
        CountsReader(subject),
        MappedState(subject, fields),
        MetricsReader(subject),
        OutlierReader(subject),
    ):
        with contextlib.suppress(*OBSERVER_ERRORS, aiohttp.ClientError):
            for _ in range(2):  # differences need two readings
                list(reader.read(text, at))
    with contextlib.suppress(*OBSERVER_ERRORS):
        list(MappedEvents(subject, fields).heard(text, 2))


def read_journal_text(data: bytes) -> None:
    """An undo journal: whatever stands in it, what can be undone is found."""
    live_intents(parse_lines(data.decode("utf-8", "replace")))


def read_words(data: bytes) -> None:
    """Texts and documents on their way into records and logs: redaction ends, and keeps its promise for what it knows."""
    text = data.decode("utf-8", "replace")
    redact(text)
    for secret in (
        f"Authorization: Bearer {SECRET}",
        f"https://user:{SECRET}@host/{len(text)}",
        f"/x?token={SECRET}&y={len(text)}",
    ):
        _said(str(redact(f"{secret} {text}")))
    _said(json.dumps(redact({"password": SECRET, "headers": {"Cookie": SECRET, "x": text}})))


def read_record(data: bytes) -> None:
    """A run record whose events or samples are somebody else's."""
    name, _, rest = data.partition(b"\n")
    wound = {b"bins": "samples/bins.jsonl", b"faults": "faults.jsonl"}.get(name, "events.jsonl")
    folder = _record_folder()
    for file, content in _record().items():
        (folder / file).write_bytes(content)
    (folder / "faults.jsonl").write_bytes(b"")
    (folder / wound).write_bytes(rest)
    with contextlib.suppress(RecordError):
        judge_record(RunReader(folder))


@functools.cache
def _record_folder() -> Path:
    """One folder for the life of the process: to remove one is a deed, too."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-spike-hostile-"))
    (folder / "samples").mkdir()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _record() -> dict[str, bytes]:
    """The files of a record in which all went well."""
    from run_sample import record

    with tempfile.TemporaryDirectory() as folder:
        path = record(Path(folder) / "run").path
        return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


sys.path.insert(0, str(ROOT / "tests" / "unit"))

READERS: dict[str, Callable[[bytes], None]] = {
    "plan": read_plan,
    "trace": read_trace,
    "spec": read_spec,
    "answer": read_answer,
    "frames": read_frames,
    "messages": read_messages,
    "api-body": read_api_body,
    "observed": read_observed,
    "journal": read_journal_text,
    "words": read_words,
    "record": read_record,
}

_GUARDED = b'headers: {Authorization: "Bearer ${TEST_TOKEN}"}'


def _plans() -> list[bytes]:
    found = []
    for path in (*sorted((ROOT / "resilience/scenarios").glob("*.yaml")), ROOT / "tests/data/short.yaml"):
        text = path.read_bytes()
        found.append(text.replace(b"      url:", b"      " + _GUARDED + b"\n      url:", 1))
    return found


def _traces() -> list[bytes]:
    """Histories that are understood: nothing behind the first line is ever wounded otherwise."""

    def line(kind: str, **fields: Any) -> str:
        return json.dumps({"kind": kind, "breaker": "pricing", "instance": "a", **fields})

    told = [json.dumps({"kind": "boot", "instance": "a", "at": 0})]
    for number in range(16):
        at, outcome = number / 10, "failure" if number < 5 else "rejected" if number < 15 else "ok"
        told.append(line("call", id=f"c{number}", start=at, end=at + 0.005, outcome=outcome, fallback=True))
        if outcome != "rejected":
            told.append(line("arrival", id=f"c{number}", at=[at + 0.001, at + 0.002], done=at + 0.004))
    steps = [
        line("transition", **{"from": a, "to": b}, at=[at, at + 0.003], seq=number)
        for number, (a, b, at) in enumerate(
            (("closed", "open", 0.404), ("open", "half_open", 1.5), ("half_open", "closed", 1.504)), start=1
        )
    ]
    more = [
        line("state", state="open", at=[0.5, 0.52], failures=None),
        line("counter", name="rejected", value=0, at=0.45, others=True),
        line("counter", name="rejected", value=9, at=1.45),
        json.dumps({"kind": "fault", "name": "down", "on": 0, "off": [1, 1.1]}),
        json.dumps({"kind": "gap", "source": "events", "at": [1.6, 1.61], "lost": 1}),
    ]
    return ["\n".join(each).encode() for each in (told, steps, [*told, *steps], [*told, *steps, *more])]


def _observed() -> list[bytes]:
    event = {
        "circuitBreakerName": "pricing",
        "type": "STATE_TRANSITION",
        "creationTime": "2026-01-01T00:00:00.123+00:00",
        "stateTransition": "CLOSED_TO_OPEN",
    }
    metrics = (
        b'resilience4j_circuitbreaker_state{name="pricing",state="open"} 1.0\n'
        b'resilience4j_circuitbreaker_state{name="pricing",state="closed"} 0.0\n'
        b'resilience4j_circuitbreaker_calls_seconds_count{name="pricing",kind="failed"} 7.0\n# HELP x\nx_total{a="b"} 3e2 17\n'
    )
    return [
        json.dumps({"circuitBreakers": {"pricing": {"state": "OPEN"}}}).encode(),
        json.dumps({"circuitBreakerEvents": [event]}).encode(),
        json.dumps(
            {"breakers": [{"name": "pricing", "state": "open", "counts": {"ConsecutiveFailures": 3}}]}
        ).encode(),
        json.dumps({"name": "pricing", "state": "open", "from": "closed", "to": "open", "at": 1.5}).encode(),
        b"cluster.pricing.outlier_detection.ejections_active: 1\n",
        metrics,
        b'circuit{name="pricing",event="open"} 3\ncircuit{name="pricing",event="reject"} 12\n',
        json.dumps({"measurements": [{"statistic": "COUNT", "value": 3.0}]}).encode(),
    ]


def _record_files() -> list[bytes]:
    files = _record()
    return [
        b"events\n" + files["events.jsonl"],
        b"bins\n" + files["samples/bins.jsonl"][:3000],
        b'faults\n{"v":1,"kind":"intent","ticket":1,"fault_id":"down","undo":{"kind":"x","args":{}},"deadline_ns":1}\n',
    ]


CORPUS: dict[str, Callable[[], list[bytes]]] = {
    "plan": _plans,
    "trace": _traces,
    "spec": lambda: [json.dumps(SPEC).encode()],
    "answer": lambda: [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Degraded: true\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    ],
    "frames": lambda: [
        b"\x81\x05hello\x89\x00\x88\x02\x03\xe8",
        b"\x01\x02ab\x80\x02cd",
        b"\x82\x7e\x00\x80" + b"x" * 128,
    ],
    "messages": lambda: [
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nX-Request-Id: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\nHTTP/1.1 304 N\r\n\r\n",
    ],
    "api-body": lambda: [
        b'{"name":"p","listen":"127.0.0.1:0","upstream":"127.0.0.1:9","enabled":true}',
        b'[{"type":"latency","stream":"upstream","toxicity":0.5,"attributes":{"latency":1e3}}]',
    ],
    "observed": _observed,
    "journal": lambda: [
        (
            b'{"v":1,"kind":"session","session":"s","target":"t"}\n'
            b'{"v":1,"kind":"intent","ticket":1,"fault_id":"f","undo":{"kind":"k","args":{}},"deadline_ns":5}\n'
            b'{"v":1,"kind":"tombstone","ticket":1}\n'
        )
    ],
    "words": lambda: [b"https://a:b@c/?token=d&e=f Bearer abcdefg basic QWxhZGRpbg== key=1;secret=2"],
    "record": _record_files,
}


def inputs(reader: str) -> st.SearchStrategy[bytes]:
    """What is thrown at one reader: wounded documents, and noise."""
    documents = st.builds(
        wounded, st.sampled_from(CORPUS[reader]()), st.lists(WOUNDS, min_size=1, max_size=6)
    )
    return st.one_of(documents, documents, documents, st.binary(max_size=200))
