"""No fault outlives its runner: real runners, real guardians, real signals, against a stub and the embedded server."""

# ruff: noqa: D102, D103 - the tests have docstrings; what serves them is named for what it does

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from faults_safety_stub import StubToxiproxy

from faults.journal import live_intents, read_journal
from faults.sweep import sweep

pytestmark = pytest.mark.integration

RUNNER = Path(__file__).with_name("faults_safety_runner.py")
PROMISE_S = 5.0


def wait_until(condition, limit_s, what):
    """Poll until the condition holds; return how long that took in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s, f"not within {limit_s} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - began


def alive(pid):
    """Whether a process still runs; the guardian becomes nobody's child when its runner dies, so it may stay a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Runner:
    """A runner process and what it has said."""

    def __init__(self, admin_url, state_dir, die_at="never", max_duration_ms=60_000):
        self.process = subprocess.Popen(
            [sys.executable, str(RUNNER), admin_url, str(state_dir), die_at, str(max_duration_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said = []
        self.guardian = None

    def until(self, key, value=None):
        """Read lines until one has `key` (of `value`); return it."""
        for line in self.process.stdout:
            message = json.loads(line)
            self.said.append(message)
            self.guardian = message.get("guardian", self.guardian)
            if key in message and (value is None or message[key] == value):
                return message
            assert "refused" not in message, message
        raise AssertionError(f"the runner ended before it said {key}={value}; it said {self.said}")

    def tell(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        with contextlib.suppress(OSError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Embedded:
    """The embedded server, seen through its API alone."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "faults.proxy", "--host", "127.0.0.1", "--port", "0", "--die-with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.admin_url = json.loads(self.process.stdout.readline())["admin"]
        self._ask("/proxies", {"name": "pricing", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"})

    def _ask(self, path, body=None):
        request = urllib.request.Request(
            self.admin_url + path, None if body is None else json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    @property
    def toxics(self):
        return {toxic["name"]: toxic for toxic in self._ask("/proxies/pricing/toxics")}

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def stub():
    server = StubToxiproxy()
    yield server
    server.close()


@pytest.fixture(params=["stub", "embedded"])
def target(request):
    if request.param == "stub":
        server = StubToxiproxy()
    else:
        pytest.importorskip("faults.proxy.__main__", reason="the embedded server is not there")
        server = Embedded()
    yield server
    server.close()


@pytest.fixture
def start(tmp_path):
    runners = []

    def begin(server, **options):
        runners.append(Runner(server.admin_url, tmp_path, **options))
        return runners[-1]

    yield begin
    for runner in runners:
        runner.close()
    for runner in runners:
        if runner.guardian is not None:
            wait_until(lambda pid=runner.guardian: not alive(pid), 10, "the guardian has ended")


def report(capsys, what, seconds):
    """Show a measured time when asked for (`CHAOS_SPIKE_MEASURE=1`); the assertions are bounds, not measurements."""
    if os.environ.get("CHAOS_SPIKE_MEASURE"):
        with capsys.disabled():
            sys.stdout.write(f"\nmeasured: {what}: {1e3 * seconds:.1f} ms")


def journals(state_dir):
    return [*state_dir.glob("sessions/*.jsonl"), *state_dir.glob("done/*.jsonl")]


def tombstones(state_dir):
    return [r for path in journals(state_dir) for r in read_journal(path) if r["kind"] == "tombstone"]


def test_guardian_heals_when_the_runner_is_killed_after_injecting(target, start, tmp_path, capsys):
    """SIGKILL right after the injection: healed, verified and tombstoned within the promise."""
    runner = start(target)
    runner.until("injected")
    assert set(target.toxics) == {"first"}
    killed_ns = time.monotonic_ns()
    runner.kill()
    healed_s = wait_until(lambda: not target.toxics, PROMISE_S, "the toxic is gone")
    wait_until(lambda: tombstones(tmp_path), PROMISE_S, "the tombstone is written")
    (tombstone,) = tombstones(tmp_path)
    assert tombstone["by"] == "guardian"
    assert tombstone["reason"] == "end_of_file"
    assert tombstone["healed_at"][0] >= killed_ns
    assert tombstone["verified_at"][1] - killed_ns < PROMISE_S * 1e9
    report(capsys, "kill to healed", healed_s)
    report(capsys, "kill to verified twice", (tombstone["verified_at"][1] - killed_ns) / 1e9)


@pytest.mark.parametrize("step", ["journaled", "armed", "injected"])
def test_guardian_heals_whatever_step_the_runner_died_at(step, target, start, tmp_path):
    """Killed at a step boundary: nothing stays, and after guardian or sweep nothing is live in the journal."""
    runner = start(target, die_at=step)
    with pytest.raises(AssertionError, match="ended before"):
        runner.until("injected")
    runner.process.wait()
    wait_until(lambda: not target.toxics, PROMISE_S, "the toxic is gone")
    wait_until(lambda: not alive(runner.guardian), PROMISE_S, "the guardian has ended")
    swept = sweep(tmp_path)
    # Killed before arming, the guardian knows of nothing: the journal does.
    assert [fault.fault_id for fault in swept] == (["first"] if step == "journaled" else [])
    assert all(fault.clean for fault in swept)
    assert not any(live_intents(read_journal(path)) for path in journals(tmp_path))
    assert not target.toxics


def test_guardian_heals_a_request_that_outlives_its_sender(stub, start, tmp_path):
    """Killed in the middle of the injecting request, which the server carries out only after the first delete."""
    stub.create_delay_s = 0.6
    runner = start(stub, die_at="injecting")
    with pytest.raises(AssertionError, match="ended before"):
        runner.until("injected")
    wait_until(lambda: tombstones(tmp_path), PROMISE_S, "the tombstone is written")
    time.sleep(0.5)
    posts = [at for method, path, at in stub.requests if method == "POST"]
    deletes = [at for method, path, at in stub.requests if method == "DELETE"]
    assert deletes[0] < posts[0] < deletes[-1]
    assert not stub.toxics


def test_guardian_heals_a_frozen_runner_which_then_injects_nothing(target, start, tmp_path, capsys):
    """SIGSTOP for longer than the silence: healed; after SIGCONT the runner is fenced and refuses to inject."""
    runner = start(target)
    runner.until("injected")
    runner.process.send_signal(signal.SIGSTOP)
    healed_s = wait_until(lambda: not target.toxics, PROMISE_S, "the toxic is gone")
    wait_until(lambda: tombstones(tmp_path), PROMISE_S, "the tombstone is written")
    report(capsys, "stop to healed", healed_s)
    runner.tell("inject second")
    time.sleep(0.3)
    runner.process.send_signal(signal.SIGCONT)
    refused = runner.until("refused")
    assert refused["error"] in {"LeaseExpired", "GuardianLost"}
    runner.tell("inject third")
    assert runner.until("refused")["error"] in {"LeaseExpired", "GuardianLost"}
    assert not target.toxics
    runner.tell("exit")
    runner.until("closed")
    assert {"expired", "healed", "verified"} <= {message.get("step") for message in runner.said}
    if isinstance(target, StubToxiproxy):
        assert sum(method == "POST" and path.endswith("/toxics") for method, path, _ in target.requests) == 1


def test_guardian_forgives_a_short_freeze(stub, start):
    """Stopped for less than the silence, a runner keeps its fault, renews its lease and may inject again."""
    runner = start(stub)
    runner.until("injected")
    runner.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    runner.process.send_signal(signal.SIGCONT)
    assert set(stub.toxics) == {"first"}
    time.sleep(0.7)
    runner.tell("inject second")
    runner.until("injected")
    assert set(stub.toxics) == {"first", "second"}
    runner.tell("exit")
    runner.until("closed")
    assert not stub.toxics


def test_guardian_survives_the_process_group_of_its_runner(stub, start, tmp_path):
    """SIGKILL to the runner's whole process group does not reach the guardian."""
    runner = start(stub)
    runner.until("injected")
    os.killpg(runner.process.pid, signal.SIGKILL)
    wait_until(lambda: not stub.toxics, PROMISE_S, "the toxic is gone")
    wait_until(lambda: tombstones(tmp_path), PROMISE_S, "the tombstone is written")


def test_guardian_killed_makes_the_session_heal_and_refuse(stub, start):
    """Without its guardian a session heals at once by itself and injects nothing more."""
    runner = start(stub)
    runner.until("injected")
    os.kill(runner.guardian, signal.SIGKILL)
    runner.tell("inject second")
    assert runner.until("refused")["error"] == "GuardianLost"
    wait_until(lambda: not stub.toxics, PROMISE_S, "the session has healed")
    runner.tell("exit")
    runner.until("closed")
    assert [m["detail"]["by"] for m in runner.said if m.get("step") == "verified"] == ["session"]


def test_guardian_frozen_makes_the_session_heal_and_refuse(stub, start):
    """A guardian that does not answer guards nothing: the session heals by itself."""
    runner = start(stub)
    runner.until("injected")
    os.kill(runner.guardian, signal.SIGSTOP)
    wait_until(lambda: not stub.toxics, 12, "the session has healed")
    runner.tell("inject second")
    assert runner.until("refused")["error"] == "GuardianLost"
    os.kill(runner.guardian, signal.SIGCONT)


def test_guardian_heals_runners_killed_at_random_moments(stub, start, tmp_path):
    """Killed anywhere between start and injection: nothing is left, and nothing is live after a sweep."""
    seed = int(time.time())
    sys.stdout.write(f"seed {seed}\n")
    moments = random.Random(seed)
    stub.create_delay_s = 0.05
    for _ in range(6):
        runner = start(stub)
        runner.until("ready")
        time.sleep(moments.uniform(0, 0.12))
        runner.kill()
        wait_until(lambda pid=runner.guardian: not alive(pid), PROMISE_S, "the guardian has ended")
        assert all(fault.clean for fault in sweep(tmp_path))
        assert not stub.toxics
    assert list(tmp_path.glob("sessions/*.jsonl")) == []


def test_guardian_told_to_end_heals_first(stub, start):
    """SIGTERM to the guardian heals what it guards; its runner learns of it and injects nothing more."""
    runner = start(stub)
    runner.until("injected")
    os.kill(runner.guardian, signal.SIGTERM)
    wait_until(lambda: not stub.toxics, PROMISE_S, "the toxic is gone")
    runner.until("step", "verified")
    runner.tell("inject second")
    assert runner.until("refused")["error"] == "GuardianLost"


def test_guardian_enforces_the_maximum_duration(target, start):
    """A fault ends by itself while its runner lives and beats; the runner is told, and may inject it again."""
    runner = start(target, max_duration_ms=700)
    runner.until("injected")
    expired = runner.until("step", "expired")
    assert expired["detail"]["reason"] == "max_duration"
    runner.until("step", "verified")
    assert not target.toxics
    runner.tell("inject first")
    runner.until("injected")
    runner.tell("exit")
    runner.until("closed")
    assert not target.toxics


def test_sweep_heals_after_runner_and_guardian_died(target, start, tmp_path):
    """Both killed: the fault stays, honestly, until the next sweep, which heals it and archives the journal."""
    runner = start(target)
    runner.until("injected")
    os.kill(runner.guardian, signal.SIGSTOP)  # else it would be faster than two signals
    runner.kill()
    os.kill(runner.guardian, signal.SIGKILL)
    wait_until(lambda: not alive(runner.guardian), PROMISE_S, "the guardian is dead")
    assert set(target.toxics) == {"first"}
    (swept,) = sweep(tmp_path)
    assert (swept.fault_id, swept.clean) == ("first", True)
    assert not target.toxics
    assert sweep(tmp_path) == []
    assert list(tmp_path.glob("sessions/*.jsonl")) == []


def test_sweep_leaves_a_live_session_alone(stub, start, tmp_path):
    """A sweep beside a living runner touches nothing of it."""
    runner = start(stub)
    runner.until("injected")
    assert sweep(tmp_path) == []
    assert set(stub.toxics) == {"first"}
    assert len(list(tmp_path.glob("sessions/*.jsonl"))) == 1


def test_session_refuses_a_target_that_is_in_use(stub, start):
    """The second of two sessions on one target ends with a clear error, and the first goes on."""
    first = start(stub)
    first.until("injected")
    second = start(stub)
    with pytest.raises(AssertionError, match="ended before"):
        second.until("ready")
    assert second.process.wait() != 0
    first.tell("inject second")
    first.until("injected")


def test_session_may_start_right_after_a_crash(stub, start):
    """A new session waits for the dead one's guardian, instead of refusing or racing it."""
    first = start(stub)
    first.until("injected")
    first.kill()
    second = start(stub)
    second.until("injected")
    assert set(stub.toxics) == {"first"}
    time.sleep(1.0)
    assert set(stub.toxics) == {"first"}


def test_guardian_outlasts_a_frozen_admin(stub, start, tmp_path):
    """An admin API that hangs when the runner dies is retried until it answers."""
    runner = start(stub)
    runner.until("injected")
    stub.frozen.set()
    runner.kill()
    time.sleep(2.5)
    assert set(stub.toxics) == {"first"}
    stub.frozen.clear()
    wait_until(lambda: tombstones(tmp_path), 10, "the tombstone is written")
    assert not stub.toxics


def test_guardian_imports_no_event_loop_and_no_client_library():
    """The guardian's imports hold no event loop and no HTTP client library."""
    code = "import sys, faults.guardian; print(sorted({'asyncio', 'aiohttp', 'uvloop', 'pydantic'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
