"""Other people's clients of Toxiproxy drive the embedded server: create, toxics, reset, populate.

The Python ones run where their packages are; the one for Node where `node` is and either the package is already there (on
NODE_PATH) or CHAOS_SPIKE_REQUIRE names node, so that the test may install it into a directory of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

NODE_CLIENT = "toxiproxy-node-client@4.1.0"


@pytest.fixture(params=[(), ("--compat",)], ids=["default", "compat"])
def admin(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server in a process of its own, in either mode; its host:port."""
    command = [sys.executable, "-m", "faults.proxy", "-port", "0", "--die-with-parent", *request.param]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["admin"].removeprefix("http://")
        process.stdin.close()


@pytest.fixture
def target() -> Iterator[str]:
    """Something to connect to; it never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_toxiproxy_python_drives_it(admin: str, target: str, monkeypatch: pytest.MonkeyPatch):
    """The client object that tests are handed; its address is global, and put back."""
    toxiproxy = pytest.importorskip("toxiproxy")
    api = pytest.importorskip("toxiproxy.api").APIConsumer
    host, _, port = admin.rpartition(":")
    monkeypatch.setattr(api, "host", host)
    monkeypatch.setattr(api, "port", int(port))
    server = toxiproxy.Toxiproxy()
    assert server.running()
    assert b"2.12.0" in server.version()
    proxy = server.create(upstream=target, name="db")
    with pytest.raises(toxiproxy.exceptions.ProxyExists):
        server.create(upstream=target, name="db")
    proxy.add_toxic(type="latency", attributes={"latency": 50, "jitter": 5})
    proxy.add_toxic(name="cut", type="limit_data", stream="upstream", toxicity=0.5, attributes={"bytes": 9})
    assert set(proxy.toxics()) == {"latency_downstream", "cut"}
    assert proxy.get_toxic("cut").toxicity == 0.5
    assert proxy.get_toxic("latency_downstream").attributes == {"latency": 50, "jitter": 5}
    with pytest.raises(toxiproxy.exceptions.InvalidToxic):
        proxy.add_toxic(type="nonsense")
    assert proxy.destroy_toxic("cut")
    with proxy.down():
        assert not server.get_proxy("db").enabled
    assert server.get_proxy("db").enabled
    assert server.reset()
    assert proxy.toxics() == {}
    entries = [
        {"name": "db", "listen": proxy.listen, "upstream": target},
        {"name": "cache", "listen": "127.0.0.1:0", "upstream": target},
    ]
    assert [made.name for made in server.populate(entries)] == ["cache"]
    assert set(server.proxies()) == {"db", "cache"}
    server.destroy_all()
    assert server.proxies() == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_chaostoolkit_toxiproxy_drives_it(admin: str, target: str, monkeypatch: pytest.MonkeyPatch):
    """Actions and probes of the Chaos Toolkit extension. It has no populate."""
    proxies = pytest.importorskip("chaostoxi.proxy.actions")
    toxics = pytest.importorskip("chaostoxi.toxic.actions")
    probes = pytest.importorskip("chaostoxi.proxy.probes")
    monkeypatch.setenv("ctk_PORT", "")  # the extension writes there
    host, _, port = admin.rpartition(":")
    configuration = {"toxiproxy_host": host, "toxiproxy_port": int(port)}
    target_host, _, target_port = target.rpartition(":")
    assert proxies.create_proxy(
        "ctk", target_host, int(target_port), listen_host="127.0.0.1", configuration=configuration
    )
    assert configuration["ctk_PORT"].isdigit()
    assert probes.proxy_exist("ctk", configuration=configuration)
    for_proxy = {"for_proxy": "ctk", "configuration": configuration}
    assert toxics.create_latency_toxic(toxic_name="a", latency=10, **for_proxy)
    assert toxics.create_bandwith_degradation_toxic(toxic_name="b", rate=100, **for_proxy)
    assert toxics.create_slow_connection_close_toxic(toxic_name="c", delay=10, **for_proxy)
    assert toxics.create_timeout_toxic(toxic_name="d", timeout=10, **for_proxy)
    assert toxics.create_slicer_toxic(
        toxic_name="e", average_size=100, size_variation=10, delay=1, **for_proxy
    )
    assert toxics.create_limiter_toxic(toxic_name="f", bytes_limit=100, **for_proxy)
    assert toxics.delete_toxic(toxic_name="a", **for_proxy)
    proxies.disable_proxy("ctk", configuration=configuration)
    proxies.enable_proxy("ctk", configuration=configuration)
    proxies.modify_proxy("ctk", upstream_address="127.0.0.1:9", configuration=configuration)
    proxies.reset(configuration=configuration)
    proxies.delete_proxy("ctk", configuration=configuration)
    assert not probes.proxy_exist("ctk", configuration=configuration)


SCRIPT = """
const assert = require("assert");
const { Toxiproxy } = require("toxiproxy-node-client");
(async () => {
  const [admin, target] = process.argv.slice(2);
  const server = new Toxiproxy("http://" + admin);
  assert((await server.getVersion()).includes("2.12.0"));
  const proxy = await server.createProxy({ name: "db", listen: "127.0.0.1:0", upstream: target });
  await assert.rejects(server.createProxy({ name: "db", listen: "127.0.0.1:0", upstream: target }));
  const toxic = await proxy.addToxic({
    name: "slow", type: "latency", stream: "downstream", toxicity: 1, attributes: { latency: 50, jitter: 5 } });
  assert.deepStrictEqual({ ...toxic.attributes }, { latency: 50, jitter: 5 });
  toxic.attributes = { latency: 70, jitter: 0 };
  await toxic.update({ attributes: { latency: 70, jitter: 0 }, toxicity: 0.5 });
  assert.strictEqual((await proxy.getToxic("slow")).toxicity, 0.5);
  await proxy.addToxic({ name: "cut", type: "limit_data", stream: "upstream", toxicity: 1, attributes: { bytes: 9 } });
  await (await proxy.getToxic("cut")).remove();
  await proxy.update({ enabled: false, listen: proxy.listen, upstream: proxy.upstream });
  assert.strictEqual((await server.get("db")).enabled, false);
  await server.reset();
  const after = await server.get("db");
  assert.strictEqual(after.enabled, true);
  await assert.rejects(after.getToxic("slow"));
  const made = await server.populate([
    { name: "db", listen: after.listen, upstream: target }, { name: "cache", listen: "127.0.0.1:0", upstream: target }]);
  assert.deepStrictEqual(Object.keys(made).sort(), ["cache", "db"]);
  for (const one of Object.values(await server.getAll())) await one.remove();
  assert.deepStrictEqual(Object.keys(await server.getAll()), []);
})().then(() => console.log("done"), (error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the package for Node is; skips where it is not and must not be fetched."""
    node, npm = shutil.which("node"), shutil.which("npm")
    required = "node" in os.environ.get("CHAOS_SPIKE_REQUIRE", "").split(",")
    if node is not None:
        look = [node, "-e", "require.resolve('toxiproxy-node-client')"]
        if subprocess.run(look, capture_output=True, check=False).returncode == 0:
            return os.environ.get("NODE_PATH", "")
    if not required:
        pytest.skip("toxiproxy-node-client is not on NODE_PATH (CHAOS_SPIKE_REQUIRE=node installs it)")
    assert npm is not None, "CHAOS_SPIKE_REQUIRE names node, but npm is not on this machine"
    home = tmp_path_factory.mktemp("node")
    install = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(home), NODE_CLIENT]
    subprocess.run(install, check=True, timeout=100)
    return str(home / "node_modules")


@pytest.mark.external
def test_toxiproxy_node_client_drives_it(require, node_modules: str, admin: str, target: str, tmp_path: Path):
    """The client from npm."""
    script = tmp_path / "drive.js"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [require("node"), str(script), admin, target],
        env={**os.environ, "NODE_PATH": node_modules},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
