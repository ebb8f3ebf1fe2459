"""What a plan says of one call, as the load workers get it, and what is refused beforehand with its place."""

from __future__ import annotations

import json

import pytest

from resilience.load.fields import fill_body, fill_url
from resilience.load.model import Assignment, Stream
from resilience.load.requests import (
    HttpRequest,
    PostgresRequest,
    RedisRequest,
    ScriptRequest,
    SessionRequest,
    Statement,
    WebSocketRequest,
)
from resilience.load.template import compile_request
from resilience.plan import LoadedPlan, Plan, PlanInvalid, load_text
from resilience.run.streams import load_phases, load_streams, missing_addresses

BASE = "http://10.0.0.1:8080"
HEAD = """\
version: 1
name: demo
lab: {}
phases: [{name: baseline, duration: 10s}, {name: spike, duration: 10s}]
expect: {steady: {load: x, errors: "< 1%"}}
load:
  x:
    rate: 10/s
"""
TOLD = {"db": "postgresql://lab:pw@127.0.0.1:5001/lab", "cache": "redis://:pw@127.0.0.1:5002/0"}


def load(call: str, head: str = HEAD) -> LoadedPlan:
    """A plan with one load; `call` is its driver, in YAML."""
    return load_text(head + "    " + call, source="plan.yaml", environment={})


def stream(call: str, head: str = HEAD) -> Stream:
    """What the workers get, after the journey that it makes as JSON."""
    loaded = load(call, head)
    streams = load_streams(loaded.plan, loaded.timeline, BASE, 1, TOLD)
    sent = Assignment(streams, load_phases(loaded.timeline), 0, 1, "run").to_json()
    (got,) = Assignment.from_json(json.loads(json.dumps(sent))).streams
    assert got == streams[0]
    return got


def refused(call: str, head: str = HEAD) -> str:
    """What is said of a plan with such a load."""
    with pytest.raises(PlanInvalid) as caught:
        load(call, head)
    return "\n".join(caught.value.lines())


def test_http_load_with_everything() -> None:
    """Statuses as ranges, expectations on headers and JSON, trust, variables, a record: all of it arrives."""
    request = stream(
        "http: {url: '/q/{who}?n={i}', method: PUT, json: {name: '{who}'}, variables: {who: 'a b/{i}\"'}, verify: false,"
        " expect_status: [2xx, 304, 400-404], expect_headers: {X-A: b}, expect_json: {a.b: [1]}, record: {what: w, v: json.v, k: '{who}'}}"
    ).request
    assert isinstance(request, HttpRequest)
    assert request.expect_status == ((200, 299), (304, 304), (400, 404))
    assert request.expect_headers == (("X-A", "b"),)
    assert request.expect_json == (("a.b", "[1]"),)
    assert request.insecure
    assert request.record == (("what", "w"), ("v", "json.v"), ("k", 'a b/{i}"'))
    sent = compile_request(request, correlate="X-Request-Id", run_id="r", stream="x")(7)
    assert sent.startswith(b"PUT /q/a%20b%2F7%22?n=7 HTTP/1.1\r\n")
    assert json.loads(sent.partition(b"\r\n\r\n")[2]) == {"name": 'a b/7"'}


def test_form_values_are_encoded_before_and_after_they_are_filled_in() -> None:
    """Neither a literal nor a value can add a field to a form."""
    request = stream("http: {url: /, method: POST, form: {a&b: 'x&y={v}'}, data: [{v: '1&c=2 ü'}]}").request
    assert isinstance(request, HttpRequest)
    sent = compile_request(request, correlate="X-Request-Id", run_id="r", stream="x")(0)
    assert b"Content-Type: application/x-www-form-urlencoded\r\n" in sent
    assert sent.endswith(b"\r\n\r\na%26b=x%26y%3D1%26c%3D2+%C3%BC")


def test_session_carries_values_on_and_escapes_them() -> None:
    """What a step extracts is known to the steps after it, in URLs and bodies; a whole URL may be one."""
    request = stream(
        "session: {users: 4, steps: [{url: /login, method: POST, json: {u: 'u{user}'}, extract: {token: json.token, next: header.Location}, once: true},"
        " {url: '/o/{token}', method: POST, json: {t: '{token}'}, record: {order: json.id}}, {url: '{next}'}]}"
    ).request
    assert isinstance(request, SessionRequest)
    assert request.keep_users == 4
    login, order, follow = request.steps
    assert login.extract == (("token", "json.token"), ("next", "header.Location"))
    assert login.once
    row = {"token": 'a/b"', "next": "http://other/x?y=1"}
    assert fill_url(order.url, 0, row) == f"{BASE}/o/a%2Fb%22"
    assert order.body is not None
    assert json.loads(fill_body(order.body, "application/json", 0, row)) == {"t": 'a/b"'}
    assert fill_url(follow.url, 0, row) == "http://other/x?y=1"


def test_websocket_load_is_found_beside_the_system() -> None:
    """A path is taken from the system's address, under ws; login, talk and pushes arrive."""
    request = stream(
        "websocket: {url: /ws, login: {url: /l, extract: {t: json.t}}, headers: {A: '{t}'}, welcome: {type: welcome}, stay: 5s,"
        " messages: {send: '{\"n\": {n}}', every: 100ms, count: 3, answer: {n: '{n}'}}, pushes: {json: {type: b}, id: a.id, count: 2},"
        " close: 1001, reconnect: 50ms, subprotocols: [chat], record: true}"
    ).request
    assert isinstance(request, WebSocketRequest)
    assert request.url == "ws://10.0.0.1:8080/ws"
    assert request.login is not None
    assert request.login.url == f"{BASE}/l"
    assert (request.hold_ns, request.every_ns, request.count) == (5 * 10**9, 10**8, 3)
    assert request.answer_json == (("n", '"{n}"'),)
    assert request.welcome_json == (("type", '"welcome"'),)
    assert (request.push_json, request.push_id, request.pushes) == ((("type", '"b"'),), "a.id", 2)
    assert (request.close_code, request.reconnect_ns, request.subprotocols) == (1001, 50_000_000, ("chat",))


def test_databases_of_the_lab_are_reached_by_name() -> None:
    """Without an address it is the lab's own, through its proxy; statements and commands arrive in order."""
    request = stream(
        "postgres: {statements: [{sql: 'SELECT $1::int', params: ['{i}']}, {sql: SELECT 2}], transaction: true, pool: 0, record: {n: row.n}}"
    ).request
    assert request == PostgresRequest(
        TOLD["db"],
        "SELECT $1::int",
        ("{i}",),
        pool=0,
        then=(Statement("SELECT 2"),),
        transaction=True,
        record=(("n", "row.n"),),
    )
    request = stream("redis: {commands: ['SET \"a b\" {i}', [GET, x]], expect: '{i}'}").request
    assert request == RedisRequest(TOLD["cache"], ("SET", "a b", "{i}"), "{i}", then=(("GET", "x"),))
    request = stream("script: users.py:order").request
    assert isinstance(request, ScriptRequest)
    assert (request.path, request.function) == ("users.py", "order")
    assert request.addresses == {"base": BASE, "ws": "ws://10.0.0.1:8080", **TOLD}


def test_external_systems_name_their_own_addresses() -> None:
    """What an external plan names can be used; what a stack that is up does not have is said."""
    head = HEAD.replace(
        "lab: {}", "external: {base_url: 'http://h:1', addresses: {shop: 'postgresql://u@db.example/shop'}}"
    )
    request = stream("postgres: {dsn: '{shop}', sql: SELECT 1}", head).request
    assert isinstance(request, PostgresRequest)
    assert request.dsn == "postgresql://u@db.example/shop"
    assert "plan.yaml:9:12: load.x.redis.url: no address {cache}" in refused("redis: {command: PING}", head)
    plan = load("redis: {command: PING}").plan
    assert missing_addresses(plan, BASE, {}) == ("cache",)
    assert missing_addresses(plan, BASE, TOLD) == ()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("http: {url: /, methd: GET}", "load.x.http.methd: unknown key 'methd'; did you mean 'method'?"),
        ("session: {steps: [{url: /, extrct: {}}]}", "load.x.session.steps.0.extrct: unknown key 'extrct'; did you mean 'extract'?"),
        ("websocket: {messages: {sned: x}}", "messages.sned: unknown key 'sned'; did you mean 'send'?"),
        ("htttp: {url: /}", "load.x.htttp: unknown key 'htttp'; did you mean 'http'?"),
        ("http: {url: /}\n    redis: {command: PING}", "load.x: says twice what one call is: http and redis"),
        ("herd: {users: 5}\n    http: {url: /}", "load.x: says twice when calls are due: rate and herd"),
        ("think: 1s\n    http: {url: /}", "load.x: `think`, `start` and `end` are about users"),
        ("http: {url: /, json: {}, body: x}", "load.x.http: a request has one body"),
        ("http: {url: /, expect_status: [20x]}", "expect_status.0: '20x' is no status; write 201, 2xx or 200-299"),
        ("http: {url: /, expect_json: {a: '{i}'}}", "expect_json.a: what is expected is the same for every call"),
        ("http: {url: /, variables: {v: '{w}'}}", "variables.v: {w} is neither {i} nor a field of the data"),
        ("http: {url: /, variables: {v: '{w}', w: x}}", "variables.v: a variable holds no other one: w"),
        ("http: {url: /, data: [{v: x}], variables: {v: y}}", "variables.v: 'v' stands for something else already"),
        ("http: {url: /, record: {v: jsn.x}}", "record.v: 'jsn.x' is no place in an answer; write for example json.order.id"),
        ("http: {url: /, record: {outcome: status}}", "record.outcome: each note has its own 'outcome' anyway"),
        ("http: {url: /, form: {a: '{b}'}, method: POST}", "load.x.http.form: body: {b} is neither {i} nor a field"),
        ("session: {steps: [{url: '/{t}'}, {url: /, extract: {t: json.t}}]}", "steps.0.url: URL: {t} is neither"),
        ("session: {steps: [{url: /, extract: {t: jso.t}}]}", "steps.0.extract.t: 'jso.t' is no place in an answer"),
        ("session: {steps: [{url: /, once: true, record: {a: status}}]}", "steps.0: a step that is taken once has nothing"),
        ("session: {variables: {who: '{typo}'}, steps: [{url: /, method: POST, json: {w: '{who}'}}]}", "steps.0.json: body: {typo} is neither"),
        ("websocket: {stay: 1s, messages: {send: x, answer: {a: '{who}'}}}", "messages.answer.a: {who} is neither"),
        ("websocket: {welcome: {a: '{who}'}}", "websocket.welcome.a: {who} is neither"),
        ("websocket: {login: {url: /, once: true}}", "websocket: `record` and `once` are about sessions"),
        ("session: {steps: []}", "load.x.session.steps: is empty"),
        ("websocket: {url: '{wss}/x'}", "load.x.websocket.url: no address {wss}; did you mean 'ws'?"),
        ("websocket: {url: '{db}'}", "websocket.url: {db} is no address for WebSockets"),
        ("websocket: {url: 'http://x/'}", "websocket.url: 'http://x/' is no ws:// or wss:// URL"),
        ("websocket: {messages: {send: x}}", "load.x.websocket: `messages` is about users who stay: add for example stay: 10s"),
        ("websocket: {stay: 1s, messages: {send: '{who}'}}", "messages.send: {who} is neither {i} nor a field"),
        ("websocket: {headers: {A: '{t}'}}", "websocket.headers.A: {t} is neither"),
        ("postgres: {dsn: 'mysql://h/x', sql: SELECT 1}", "postgres.dsn: this is no postgres:// address with a host"),
        ("postgres: {pool: 3}", "load.x.postgres: write `sql: ...`, or `statements: [{sql: ...}, ...]`, one of them"),
        ("postgres: {sql: SELECT 1, params: ['{x}']}", "postgres.params: {x} is neither {i} nor a field"),
        ("postgres: {sql: SELECT 1, record: {a: json.x}}", "record.a: 'json.x' is no place in an answer; write for example row.id, rows"),
        ("redis: {command: 'GET \"x'}", "load.x.redis.command: 'GET \"x' cannot be split into words"),
        ("redis: {url: 'http://x', command: PING}", "redis.url: this is no redis:// address with a host"),
        ("redis: {command: [GET, '{x}']}", "redis.command: {x} is neither"),
        ("script: users.py", "load.x.script: 'users.py': write the file and the function, for example users.py:place_order"),
    ],
)  # fmt: skip
def test_call_that_could_not_be_made_is_refused(call: str, said: str) -> None:
    """One message, with the line, the key and what to write instead."""
    found = refused(call)
    assert said in found
    assert all(line.startswith("plan.yaml:") for line in found.splitlines())


def test_json_schema_knows_every_driver_and_every_shorthand() -> None:
    """What editors are told: the drivers, and that a text is enough for a rate, a script and a replay."""
    schema = Plan.model_json_schema()
    load_schema = schema["$defs"]["LoadStream"]["properties"]
    assert {
        "http",
        "session",
        "websocket",
        "postgres",
        "redis",
        "script",
        "rate",
        "herd",
        "users",
        "replay",
    } <= set(load_schema)
    texts = {"type": "string", "examples": ["50/s"]}
    assert texts in load_schema["rate"]["anyOf"]
    assert {"type": "string", "examples": ["users.py:place_order"]} in schema["$defs"]["ScriptLoad"]["anyOf"]


def test_record_of_a_call_keeps_variables_and_masks_what_is_written_out() -> None:
    """Whatever the driver: variables stand as they were written, passwords do not."""
    text = (
        HEAD
        + "    postgres: {dsn: 'postgresql://u:hush-hush@h/x', sql: SELECT 1}\n"
        + "  y:\n    rate: 1/s\n    session: {steps: [{url: /, headers: {Authorization: 'Bearer ${TOKEN}'}, json: {password: hush-hush}, extract: {token: json.token}}]}\n"
        + "  z:\n    rate: 1/s\n    redis: {url: 'redis://:${PW}@h/0', command: PING}\n"
    )
    loaded = load_text(text, source="plan.yaml", environment={"TOKEN": "s3cret", "PW": "s3cret"})
    assert "hush-hush" not in loaded.recorded
    assert "s3cret" not in loaded.recorded
    assert "${TOKEN}" in loaded.recorded
    assert "json.token" in loaded.recorded
    again = load_text(loaded.recorded, source="record", environment=None)
    assert again.timeline == loaded.timeline
