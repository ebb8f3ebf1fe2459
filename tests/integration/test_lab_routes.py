"""Every route of the gateway against the real stack: PostgreSQL, valkey, pricing, taps and proxies."""

import asyncio
import json

import aiohttp
import pytest

from faults.model import ToxicSpec
from faults.toxiproxy import ToxiproxyClient

pytestmark = pytest.mark.integration

LOGIN = {"username": "user-1", "password": "lab-password"}


@pytest.fixture
async def http(lab):
    """A client of the gateway."""
    async with aiohttp.ClientSession(lab.base_url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def token_of(http):
    """A fresh token of user-1."""
    async with http.post("/auth/login", json=LOGIN) as response:
        assert response.status == 200
        return (await response.json())["token"]


async def test_every_answer_names_its_instance_and_echoes_the_request_id(http):
    """Errors, too: an observer can always tell who answered what."""
    for path, status in (("/api/quote/A-1", 200), ("/api/items/none", 404), ("/nowhere", 404)):
        async with http.get(path, headers={"X-Request-Id": "r-7"}) as response:
            assert response.status == status
            assert response.headers["X-Instance"] in {"gateway-1", "gateway-2"}
            assert response.headers["X-Request-Id"] == "r-7"


async def test_both_gateways_answer_on_the_shared_socket(lab):
    """A burst of connections is spread over the processes that share the socket."""

    async def who():
        async with aiohttp.ClientSession(lab.base_url) as session, session.get("/health/live") as response:
            await response.read()
            await asyncio.sleep(0.05)
            return response.headers["X-Instance"]

    answers = await asyncio.gather(*(who() for _ in range(40)))
    assert {answers.count("gateway-1"), answers.count("gateway-2")}.isdisjoint({0, 40})


async def test_quote_is_live_and_its_request_reaches_pricing_through_the_tap(lab, http):
    """The tap in front of pricing has seen the caller's own request id."""
    async with http.get("/api/quote/A-1", headers={"X-Request-Id": "tapped-1"}) as response:
        body = await response.json()
        assert (response.status, body["source"]) == (200, "live")
        assert "X-Degraded" not in response.headers
    point = lab.proxies["pricing"]
    async with http.get(
        f"{point.tap_url}/taps/{point.tap}/records", params={"since": 0, "wait": 2}
    ) as response:
        records = (await response.json())["records"]
    assert "tapped-1" in {record.get("id") for record in records if record["kind"] == "arrival"}


async def test_login_gives_a_token_only_for_the_right_password(http):
    """Wrong password and unknown user look alike."""
    assert (await token_of(http)).count(".") == 2
    for wrong in ({**LOGIN, "password": "no"}, {"username": "nobody", "password": "no"}):
        async with http.post("/auth/login", json=wrong) as response:
            assert response.status == 401
    for nonsense in ({}, [], {"username": 1, "password": 2}):
        async with http.post("/auth/login", json=nonsense) as response:
            assert response.status == 400


async def test_order_is_written_once_and_nonsense_is_not(http):
    """201 with a new id each time; 400 for what is no order."""
    ids = []
    for _ in range(2):
        async with http.post("/api/orders", json={"sku": "A-1", "quantity": 3}) as response:
            assert response.status == 201
            ids.append((await response.json())["id"])
    assert ids[0] != ids[1]
    for nonsense in (
        {},
        {"sku": "A-1", "quantity": 0},
        {"sku": "A-1", "quantity": True},
        {"sku": "a b"},
        "text",
    ):
        async with http.post("/api/orders", json=nonsense) as response:
            assert response.status == 400


async def test_item_is_cached_and_a_write_is_seen_at_once(http):
    """Miss, hit, a write that raises the version, and the new version from the cache."""
    async with http.get("/api/items/7") as response:
        before = await response.json()
    async with http.get("/api/items/7") as response:
        assert response.headers["X-Cache"] == "hit"
    async with http.put("/api/items/7", json={"name": "seven", "price_cents": 700}) as response:
        assert (await response.json())["version"] == before["version"] + 1
    async with http.get("/api/items/7") as response:
        assert response.headers["X-Cache"] == "hit"
        assert response.headers["ETag"] == f'"{before["version"] + 1}"'
        assert (await response.json())["name"] == "seven"


async def test_item_write_at_an_old_version_is_refused(http):
    """Optimistic locking: the loser is told the current version."""
    change = {"name": "eight", "price_cents": 800}
    async with http.put("/api/items/8", json={**change, "version": 999}) as response:
        assert response.status == 409
    async with http.put("/api/items/8", json={"name": "", "price_cents": 1}) as response:
        assert response.status == 400
    async with http.put("/api/items/999999", json=change) as response:
        assert response.status == 404


@pytest.mark.parametrize("path", ["/ws", "/ws/test"])
async def test_socket_welcomes_and_echoes_with_timestamps(http, path):
    """JWT, welcome, echo: the times are in order."""
    token = await token_of(http)
    async with http.ws_connect(path, headers={"Authorization": f"Bearer {token}"}) as socket:
        welcome = await socket.receive_json(timeout=5)
        assert (welcome["type"], welcome["user"]) == ("welcome", "user-1")
        await socket.send_json({"n": 1})
        echo = await socket.receive_json(timeout=5)
        assert (echo["type"], echo["payload"]) == ("echo", {"n": 1})
        assert welcome["at_ns"] <= echo["received_ns"] <= echo["sent_ns"]


async def test_socket_without_token_is_refused(http):
    """401 before the upgrade."""
    for query in ("", "?token=rubbish"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(f"/ws{query}")
        assert caught.value.status == 401


async def test_broadcast_reaches_the_sockets_of_every_gateway(http):
    """A message of one socket comes to all, whichever process holds them."""
    token = await token_of(http)
    sockets = [await http.ws_connect(f"/ws?token={token}") for _ in range(8)]
    try:
        instances = {(await socket.receive_json(timeout=5))["instance"] for socket in sockets}
        await sockets[0].send_json({"type": "broadcast", "n": 1})
        for socket in sockets:
            message = await socket.receive_json(timeout=5)
            assert (message["type"], message["from"], message["payload"]["n"]) == ("broadcast", "user-1", 1)
        assert instances <= {"gateway-1", "gateway-2"}
    finally:
        await asyncio.gather(*(socket.close() for socket in sockets))


async def test_health_and_metrics_answer_on_both_ports(lab, http):
    """Live, ready with its dependencies, and metrics by route pattern."""
    admin = lab.instances[0].admin_url
    for base in ("", admin):
        async with http.get(f"{base}/health/live") as response:
            assert response.status == 200
        async with http.get(f"{base}/health/ready") as response:
            assert (await response.json())["dependencies"] == {"db": "up", "cache": "up"}
    await (await http.get("/api/quote/A-1")).read()
    texts = []
    for instance in lab.instances:
        if instance.admin_url:
            async with http.get(f"{instance.admin_url}/metrics") as response:
                texts.append(await response.text())
    assert any('lab_requests_total{route="/api/quote/{sku}",status="200"}' in text for text in texts)


async def test_breaker_is_told_on_the_admin_port_of_each_instance(lab, http):
    """State, spec, and who is speaking."""
    for instance in (instance for instance in lab.instances if instance.service == "gateway"):
        async with http.get(f"{instance.admin_url}/breakers") as response:
            told = await response.json()
        assert (told["instance"], told["boot"]) == (instance.name, instance.boot)
        assert told["breakers"]["pricing"]["state"] == "closed"
        assert told["breakers"]["pricing"]["spec"] == json.loads(lab.facts["breaker_spec"])


async def test_cache_outage_is_gone_around_and_a_database_outage_is_a_503(lab, http):
    """Behind disabled proxies items still come from the database; without the database they are refused quickly."""
    async with ToxiproxyClient(lab.proxies["db"].admin_url) as proxies:
        try:
            await proxies.set_enabled("cache", False)
            async with http.get("/api/items/20") as response:
                assert (response.status, response.headers["X-Cache"]) == (200, "bypass")
            await proxies.set_enabled("db", False)
            async with http.get("/api/items/21") as response:
                assert response.status == 503
            async with http.get("/health/live") as response:
                assert response.status == 200
        finally:
            await proxies.set_enabled("cache", True)
            await proxies.set_enabled("db", True)
    async with asyncio.timeout(10):
        while True:
            async with http.get("/api/items/22") as response:
                if response.status == 200 and response.headers["X-Cache"] == "miss":
                    break
            async with http.get("/api/items/22") as response:
                if response.status == 200 and response.headers["X-Cache"] == "hit":
                    break


async def test_slow_database_is_a_504_or_a_shed_503(lab, http):
    """A database that does not answer costs its callers a bounded time."""
    async with ToxiproxyClient(lab.proxies["db"].admin_url) as proxies:
        await proxies.add_toxic("db", ToxicSpec("timeout", attributes={"timeout": 0}))
        try:
            async with http.get("/api/items/30") as response:
                assert response.status in {503, 504}
        finally:
            await proxies.remove_toxic("db", "timeout_downstream")
    async with asyncio.timeout(10):
        while True:
            async with http.get("/api/items/31") as response:
                if response.status == 200:
                    break


async def test_cut_cache_costs_no_answer_and_a_write_after_it_is_stored(lab, http):
    """Connections that the cut has closed fail in more ways than one: each is gone around, and keeps no old version there once the cache is back."""
    item = {"name": "thing", "price_cents": 5}

    async def ask(number):
        path = f"/api/items/{40 + number % 7}"
        call = http.put(path, json=item) if number % 5 == 0 else http.get(path)
        async with call as response:
            return response.status, response.headers.get("X-Cache")

    async def burst():
        return {answer for _ in range(6) for answer in await asyncio.gather(*map(ask, range(20)))}

    async with ToxiproxyClient(lab.proxies["cache"].admin_url) as proxies:
        for _ in range(2):
            await burst()  # as many connections as it takes
            await proxies.set_enabled("cache", False)
            try:
                found = await burst()
            finally:
                await proxies.set_enabled("cache", True)
            # Without the cache the database may be busy, and says so; that is not the cut's doing.
            assert {status for status, _ in found} - {503} == {200}
            for number in range(7):
                async with http.put(f"/api/items/{40 + number}", json=item) as response:
                    assert (response.status, response.headers["X-Cache"]) == (200, "miss")
