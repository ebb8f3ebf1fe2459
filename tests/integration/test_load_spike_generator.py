"""The Python face: a spike against a real server, in a few lines; and TLS."""

import asyncio
import shutil
import ssl
import subprocess

import pytest
from aiohttp import web
from websockets.asyncio.server import serve

from resilience.load import SpikeLoadGenerator
from resilience.load.requests import HttpRequest, WebSocketRequest
from resilience.load.shapes import batches, closed, constant, spike, spike_phases
from resilience.metrics import SpikeLoadMetrics

pytestmark = pytest.mark.integration

DURATIONS = {"before_s": 1, "rise_s": 0.5, "hold_s": 1, "fall_s": 0, "after_s": 0.5}


async def listening(handle, *, tls=None):
    """A running site with one route, and its port."""
    app = web.Application()
    app.router.add_get("/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner, runner.addresses[0][1]


async def hello(_request):
    """An answer."""
    return web.Response(text="hello")


async def test_spike_generator_drives_a_spike_and_tells_its_phases():
    """Baseline, spike and recovery are offered as asked for, everything is answered, nothing is lost."""
    runner, port = await listening(hello)
    try:
        generator = SpikeLoadGenerator(f"http://127.0.0.1:{port}/quote/{{i}}", deadline_s=30, workers=2)
        metrics = await generator.run(spike(40, 200, **DURATIONS), spike_phases(**DURATIONS))
        again = await generator.run(batches(25, 3, gap_s=0.2))
    finally:
        await runner.cleanup()
    assert isinstance(metrics, SpikeLoadMetrics)
    assert metrics.validity.conservation
    assert [metrics.phase(name).counts["offered"] for name in ("baseline", "spike", "recovery")] == [
        40,
        260,
        20,
    ]
    assert metrics.overall.counts["ok"] == metrics.overall.counts["good"] == 320
    assert metrics.overall.error_rate == 0
    assert metrics.phase("baseline").goodput_per_s == 40
    assert metrics.to_json()["overall"]["counts"]["ok"] == 320
    with pytest.raises(KeyError, match="no phase 'warmup'"):
        metrics.phase("warmup")
    assert again.overall.counts["ok"] == 75
    assert len(again.validity.herd_spread_ms) == 1


async def test_spike_generator_figures_obey_littles_law():
    """Twenty users on a server that takes 50 ms: in flight, rate and stay fit together."""

    async def slow(_request):
        await asyncio.sleep(0.05)
        return web.Response()

    runner, port = await listening(slow)
    try:
        generator = SpikeLoadGenerator(f"http://127.0.0.1:{port}/", deadline_s=30)
        metrics = await generator.run(closed(20, think_s=0, duration_s=4))
    finally:
        await runner.cleanup()
    law = metrics.littles_law(1, 3)
    assert law.applicable
    # The law's own tolerance is 5 %; on a busy machine two whole seconds are too few to insist on that.
    assert law.difference < 0.25
    assert law.in_flight > 10


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 and its key, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on PATH")
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return tmp_path / "cert.pem", tmp_path / "key.pem"


async def test_spike_generator_speaks_tls(certificate):
    """TLS with an authority of one's own, with none at all, and with one that is not trusted."""
    cert, key = certificate
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    runner, port = await listening(hello, tls=tls)
    url = f"https://127.0.0.1:{port}/"
    try:
        found = {}
        for name, changes in {
            "trusted": {"ca_file": str(cert)},
            "insecure": {"insecure": True},
            "strict": {},
        }.items():
            generator = SpikeLoadGenerator(HttpRequest(url=url, **changes), deadline_s=30, connections=4)
            counts = (await generator.run(constant(40, 0.5))).overall.counts
            found[name] = {
                category: n for category, n in counts.items() if n and category in {"ok", "connect"}
            }
    finally:
        await runner.cleanup()
    assert found == {"trusted": {"ok": 20}, "insecure": {"ok": 20}, "strict": {"connect": 20}}


async def test_spike_generator_speaks_tls_on_websockets(certificate):
    """TLS below WebSockets, with an authority of one's own, and with one that is not trusted."""
    cert, key = certificate
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    found = {}
    async with serve(echo, "127.0.0.1", 0, ssl=tls) as server:
        url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for name, ca_file in (("trusted", str(cert)), ("strict", None)):
            request = WebSocketRequest(url=url, messages=("hello {i}",), echo=True, ca_file=ca_file)
            counts = (await SpikeLoadGenerator(request, deadline_s=30).run(constant(40, 0.5))).overall.counts
            found[name] = {
                category: n for category, n in counts.items() if n and category in {"ok", "connect"}
            }
    assert found == {"trusted": {"ok": 20}, "strict": {"connect": 20}}
