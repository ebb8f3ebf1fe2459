"""Sends the same odd requests to Toxiproxy 2.12 and to the embedded server in compatible mode, and compares bytes.

Runs where Shopify's binary is on this machine; the recorded exchanges run everywhere.
"""

from __future__ import annotations

import re

import pytest
from faults_proxy_http import exchange
from test_faults_proxy_client import shopify

from faults.proxy.api import Guard
from faults.proxy.control import ControlOptions
from faults.proxy.server import ServerOptions, serve
from faults.toxiproxy import ToxiproxyClient

pytestmark = pytest.mark.integration

PROXY = '"name":"a","listen":"127.0.0.1:0","upstream":"x:1"'
BODIES = [
    *(
        "null",
        "[",
        "]",
        "tru",
        "trux",
        "nulll",
        '"x"',
        "1",
        "-",
        "01",
        "1.",
        "1e",
        "\x01",
        "'",
        "{'a':1}",
        "é",
    ),
    *(
        '{"a"',
        '{"a" 1}',
        '{"a":}',
        '{"a":1,}',
        '{"a":1 "b"}',
        "{,}",
        "[1 2]",
        "[1,]",
        '{"a":"\\x"}',
        '{"a":"\\u12g4"}',
    ),
    *('{"a":"\n"}', '{"a":-x}', '{"a":1.x}', '{"a":1ex}', '{"a":nulx}', '{"a":falsE}', "  ", "\n", '{"a":"'),
    *("[" * 10_000, "[" * 10_001, '{"a":' * 10_001, '{"a":[' * 5_000 + "1" + "]}" * 5_000, "[" * 200 + "1,"),
    *('{"name":["a"]}', '{"name":{}}', '{"name":true}', '{"enabled":"x"}', '{"enabled":1}', '{"listen":1.5}'),
    *(
        '{"Logger":1}',
        '{"Logger":{}}',
        '{"logger":[]}',
        '{"name":1,"listen":2}',
        '{"name":"","upstream":"y:1"}',
    ),
]
TOXICS = [
    *(
        '{"type":1}',
        '{"attributes":1}',
        '{"attributes":[]}',
        '{"attributes":"x"}',
        '{"stream":1}',
        '{"toxicity":1e99}',
    ),
    *(
        '{"type":"latency","toxicity":null}',
        '{"type":"Latency"}',
        '{"type":"noop","stream":""}',
        '{"toxicity":{}}',
    ),
    '{"type":"latency","name":"l1","attributes":{"latency":9223372036854775807}}',
    '{"type":"latency","name":"l2","attributes":{"latency":9223372036854775808}}',
    '{"type":"latency","name":"l3","attributes":{"latency":-0}}',
    '{"type":"latency","name":"l4","attributes":{"latency":true}}',
    '{"type":"latency","name":"l5","attributes":{"latency":[1]}}',
    '{"type":"latency","name":"l6","attributes":{"latency":{},"jitter":"x"}}',
    '{"type":"latency","name":"l7","attributes":{"jitter":4,"latency":null}}',
    '{"type":"slicer","name":"s1","attributes":{"average_size":"x"}}',
    '{"type":"slicer","name":"s2","attributes":{"size_variation":1.5}}',
    '{"type":"reset_peer","name":"r1","attributes":{"timeout":"x"}}',
    '{"type":"limit_data","name":"d1","attributes":{"bytes":"x"}}',
    '{"type":"slow_close","name":"c1","attributes":{"delay":"x"}}',
    '{"type":"noop","name":"<&>\\u2028\\u00e9\\ud800\\ud83d\\ude00\\u0001\\u007f\\b\\f"}',
    '{"type":"noop","name":"f1","toxicity":0.30000001}',
    '{"type":"noop","name":"f2","toxicity":1e-7}',
    '{"type":"noop","name":"f3","toxicity":1e21}',
    '{"type":"noop","name":"f4","toxicity":16777217}',
    '{"type":"noop","name":"f5","toxicity":-0.0}',
    '{"type":"noop","name":"f6","toxicity":123456.789}',
    '{"type":"noop","type":"latency","name":"g1","attributes":{"latency":1},"attributes":{"jitter":2}}',
]
UPDATES = [
    *(
        "null",
        "[]",
        "1",
        '"x"',
        "{}",
        '{"toxicity":"x"}',
        '{"attributes":1}',
        '{"attributes":[]}',
        '{"attributes":null}',
    ),
    *(
        '{"attributes":{"latency":"x"},"toxicity":0.9}',
        '{"toxicity":"x","attributes":{"latency":3}}',
        '{"toxicity":0.25}',
    ),
]
POPULATE = [
    *(
        "1",
        '"x"',
        "[1]",
        "[[]]",
        "[null]",
        '[{"name":1,"upstream":"x:1"}]',
        '[{"name":"a","upstream":"x:1","enabled":1}]',
    ),
    *(
        '[{"name":"z","listen":"127.0.0.1:x","upstream":"x:1"}]',
        '[{"name":"z","listen":"[::1","upstream":"x:1"}]',
    ),
    *(
        '[{"name":"z","listen":"a:b:c","upstream":"x:1"}]',
        '[{"name":"z","listen":"127.0.0.1","upstream":"x:1"}]',
    ),
    '[{"name":"z","listen":"127.0.0.1:-1","upstream":"x:1"}]',
    '[{"name":"z","listen":"127.0.0.1:65536","upstream":"x:1"}]',
    '[{"name":"z","listen":"192.0.2.1:0","upstream":"x:1"}]',
    '[{"name":"z","listen":"[127.0.0.1]:0","upstream":"x:1","enabled":false}]',
]
PATHS = [
    *(
        ("GET", "/proxies/a/"),
        ("GET", "/./version"),
        ("GET", "/a/../version"),
        ("GET", "/version?x=1"),
        ("GET", "//version?x=1"),
    ),
    *(
        ("GET", "/proxies/%61"),
        ("GET", "/proxies/a%2Ftoxics"),
        ("GET", "/"),
        ("GET", "/metrics"),
        ("PUT", "/proxies/a"),
    ),
    *(
        ("DELETE", "/populate"),
        ("POST", "/version"),
        ("HEAD", "/version"),
        ("OPTIONS", "/proxies"),
        ("GET", "/capabilities"),
    ),
    *(
        ("PUT", "/proxies/a/toxics/x"),
        ("PATCH", "/proxies/a/toxics"),
        ("GET", "/proxies//toxics"),
        ("POST", "/proxies/a//toxics"),
    ),
]
REQUESTS = [
    *(("POST", "/proxies", body) for body in BODIES),
    ("POST", "/proxies", f"{{{PROXY}}}"),
    *(("PATCH", "/proxies/a", body) for body in BODIES),
    *(("POST", "/proxies/a/toxics", body) for body in TOXICS + BODIES),
    ("POST", "/proxies/a/toxics", '{"type":"latency","name":"u"}'),
    *(("PATCH", "/proxies/a/toxics/u", body) for body in UPDATES),
    ("GET", "/proxies/a/toxics", None),
    *(("POST", "/populate", body) for body in POPULATE),
    ("GET", "/proxies", None),
    *((method, path, None) for method, path in PATHS),
]
PORT = re.compile(r'("listen":"[^"]*:)\d+"')


async def test_compat_equals_toxiproxy_on_odd_requests(require):
    """Status, content type, location and body are the same for each, ephemeral ports aside."""
    async with shopify(require("toxiproxy")) as url:
        async with ToxiproxyClient(url) as client:
            control = ControlOptions(compat=True, version=await client.version())
        different = await compare(url, control)
    assert not different, "\n".join(different)


async def compare(url: str, control: ControlOptions) -> list[str]:
    """Send everything to both; return what differed."""
    different = []
    async with (
        await serve(ServerOptions(port=0, control=control, guard=Guard(strict=False))) as server,
    ):
        theirs_port = int(url.rpartition(":")[2])
        for method, path, body in REQUESTS:
            sent = None if body is None else body.encode()
            answers = [await exchange(port, method, path, sent) for port in (theirs_port, server.port)]
            theirs, ours = [
                (
                    answer.status,
                    answer.headers.get("content-type"),
                    answer.headers.get("location"),
                    PORT.sub(r'\1PORT"', answer.body.decode()),
                )
                for answer in answers
            ]
            if theirs != ours:
                different.append(f"{method} {path} {body}\n  theirs {theirs}\n  ours   {ours}")
    return different
