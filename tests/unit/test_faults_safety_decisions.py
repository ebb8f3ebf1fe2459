"""Blast radius, redaction, and undoing until clean: decisions without IO."""

# ruff: noqa: D102, D103 - the tests have docstrings; what serves them is named for what it does

import pytest

from faults.blast_radius import BlastRadius, ContainerReach, Reach, address_of_url
from faults.redact import REDACTED, redact
from faults.undo import UNDO_KINDS, Undo, UndoFailed, UndoKind, undo_until_clean

S = 1_000_000_000


def refusal(hurts=(), control="http://127.0.0.1:8474", duration_ns=S, active=0, **bounds):
    return BlastRadius(**bounds).refusal(Reach(control, tuple(hurts)), duration_ns=duration_ns, active=active)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_blast_radius_permits_loopback(host):
    """Loopback in all its spellings needs no permission."""
    assert refusal([f"{host}:80"], control=f"http://{host}:8474") is None


def radius_refusal(reach, **bounds):
    return BlastRadius(**bounds).refusal(reach, duration_ns=S, active=0)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "example.com", "localhost.example.com", "[2001:db8::1]", "2130706433", "127.1"]
)
def test_blast_radius_refuses_what_is_not_named(host):
    """Foreign names and addresses, and odd spellings of numbers, are refused as control and as target."""
    assert "allow" in refusal([f"{host}:80"])
    assert "allow" in refusal(control=f"http://{host}:8474")


@pytest.mark.parametrize(
    ("entry", "address", "permitted"),
    [
        ("pricing", "pricing:80", True),
        ("Pricing", "pricing.:80", True),
        ("pricing:80", "pricing:80", True),
        ("pricing:80", "pricing:81", False),
        ("pricing", "pricing2:80", False),
        ("10.0.0.0/8", "10.1.2.3:80", True),
        ("10.0.0.0/8", "11.1.2.3:80", False),
        ("2001:db8::/32", "[2001:db8::1]:80", True),
        ("not/a/network", "10.1.2.3:80", False),
        ("*", "pricing:80", False),
    ],
)
def test_blast_radius_permits_what_is_named(entry, address, permitted):
    """Hosts, hosts with a port, and networks; no wildcards."""
    assert (refusal([address], allow=frozenset({entry})) is None) == permitted


def test_blast_radius_never_hurts_the_control_plane():
    """Not the fault's own admin endpoint, not a protected one, whatever the spelling and whatever is allowed."""
    assert "control plane" in refusal(["localhost:8474"])
    protected = frozenset({"127.0.0.1:9000", "admin:1"})
    assert "control plane" in refusal(["localhost:9000"], control_plane=protected)
    assert "control plane" in refusal(["admin:1"], control_plane=protected, allow=frozenset({"admin"}))
    assert refusal(["localhost:9001"], control_plane=protected) is None


def test_blast_radius_bounds_number_and_duration():
    """So many at once, so long at most."""
    assert refusal(active=1, max_simultaneous=2) is None
    assert "max_simultaneous" in refusal(active=2, max_simultaneous=2)
    assert refusal(duration_ns=5 * S, max_duration_ns=5 * S) is None
    assert "duration" in refusal(duration_ns=5 * S + 1, max_duration_ns=5 * S)
    assert "duration" in refusal(duration_ns=0)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8474", "http://", "unix:run", ""])
def test_blast_radius_wants_an_http_url_with_a_host(url):
    """Anything else but an engine's socket file cannot be judged, so it is refused."""
    assert "URL" in refusal(control=url)


def test_blast_radius_lets_engines_be_asked_on_this_host_only():
    """A socket file is of this host; over TCP an engine is as foreign as any other address."""
    assert refusal(control="unix:///run/docker.sock") is None
    assert refusal(control="tcp://127.0.0.1:2375") is None
    assert "10.0.0.1:2375" in refusal(control="tcp://10.0.0.1")


def test_blast_radius_permits_processes_of_the_system_only():
    """Pids that are named, and no others; the kernel needs no address."""
    assert radius_refusal(Reach("", processes=(7,)), processes=frozenset({7, 8})) is None
    assert "7, 9" in radius_refusal(Reach("", processes=(7, 8, 9)), processes=frozenset({8}))
    assert "URL" in radius_refusal(Reach(""), processes=frozenset({8}))


def test_blast_radius_permits_containers_by_label_or_by_name():
    """A label with its value, a label with any, or the name; never the control plane."""
    reach = Reach(
        "unix:///run/docker.sock", containers=(ContainerReach("id1", "db", frozenset({"project=a", "x=y"})),)
    )
    assert "no label" in radius_refusal(reach)
    assert "no label" in radius_refusal(reach, labels=frozenset({"project=b"}))
    assert radius_refusal(reach, labels=frozenset({"project=a"})) is None
    assert radius_refusal(reach, labels=frozenset({"project"})) is None
    assert radius_refusal(reach, allow=frozenset({"container:db"})) is None
    for protected in ("container:db", "container:id1"):
        why = radius_refusal(reach, labels=frozenset({"project"}), control_plane=frozenset({protected}))
        assert "control plane" in why


def test_blast_radius_refuses_credentials_in_the_url_without_repeating_them():
    """They would end in the journal; the message must not leak them either."""
    why = refusal(control="http://me:hunter2@127.0.0.1:8474")
    assert "token" in why
    assert "hunter2" not in why


def test_address_of_url_gives_the_scheme_its_port():
    """Ports are explicit in addresses."""
    assert address_of_url("http://h") == "h:80"
    assert address_of_url("https://[::1]/x") == "[::1]:443"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Authorization": "Bearer x"}, {"Authorization": REDACTED}),
        ({"a": [{"db_password": 1, "n": 2}]}, {"a": [{"db_password": REDACTED, "n": 2}]}),
        ({"token": None, "api_key": "k"}, {"token": None, "api_key": REDACTED}),
        ("postgres://me:pw@db/x", f"postgres://{REDACTED}@db/x"),
        ("http://h/p?a=1&api_key=2&b=3", f"http://h/p?a=1&api_key={REDACTED}&b=3"),
        ("sent Bearer abc.def-ghi", f"sent Bearer {REDACTED}"),
        (
            {"toxicity": 1.0, "latency": 5, "key": "k", "tokens_per_s": 9},
            {"toxicity": 1.0, "latency": 5, "key": "k", "tokens_per_s": 9},
        ),
        ("http://127.0.0.1:8474/proxies/a@b", "http://127.0.0.1:8474/proxies/a@b"),
    ],
)
def test_redact_removes_secrets_and_nothing_else(value, expected):
    """Secret keys, URL credentials, query secrets and bearer tokens go; measurements and addresses stay."""
    assert redact(value) == expected


class FakeTarget:
    """A target on a fake clock whose fault appears at given times, and that fails for a while."""

    def __init__(self, appears_ns=(0,), fails_until_ns=0):
        self.now_ns = 0
        self.appears_ns = list(appears_ns)
        self.fails_until_ns = fails_until_ns
        self.present = False
        self.restarts = 0

    def clock(self):
        return self.now_ns

    def sleep(self, seconds):
        self.now_ns += int(seconds * S)

    def _look(self):
        self.now_ns += 1_000_000
        if self.now_ns < self.fails_until_ns:
            raise UndoFailed("no answer")
        while self.appears_ns and self.appears_ns[0] <= self.now_ns:
            self.appears_ns.pop(0)
            self.present = True

    def undo(self, _undo):
        self._look()
        was, self.present = self.present, False
        return was

    def clean(self, _undo):
        self._look()
        return not self.present

    def restart(self, _undo):
        self.restarts += 1
        self.fails_until_ns = 0
        return True

    def run(self, give_up_ns=60 * S, *, fallback=False):
        undo = Undo("fake", {}, fallback=Undo("fake.restart", {}) if fallback else None)
        kinds = (
            UndoKind("fake", self.undo, self.clean),
            UndoKind("fake.restart", self.restart, lambda _: True),
        )
        registry = {kind.kind: kind for kind in kinds}
        return undo_until_clean(
            undo, registry=registry, clock_ns=self.clock, sleep_s=self.sleep, give_up_ns=give_up_ns
        )


def test_undo_ends_after_two_clean_looks_half_a_second_apart():
    """The plain case: removed at once, looked at again, done."""
    target = FakeTarget()
    outcome = target.run()
    assert outcome.clean
    assert outcome.rounds == 2
    assert outcome.healed == (0, 1_000_000)
    assert outcome.verified[1] - outcome.healed[1] >= 0.5 * S


def test_undo_overtaken_by_a_late_creation_removes_that_too():
    """A create that comes after the first delete is found by the second round, and the count starts again."""
    target = FakeTarget(appears_ns=[0.3 * S])
    outcome = target.run()
    assert outcome.clean
    assert outcome.rounds == 3
    assert outcome.healed[0] >= 0.3 * S
    assert not target.present


def test_undo_retries_a_failing_target_until_it_answers():
    """Failures only cost time."""
    target = FakeTarget(fails_until_ns=7 * S)
    outcome = target.run()
    assert outcome.clean
    assert outcome.error is None
    assert target.restarts == 0


def test_undo_gives_up_in_the_end_and_says_why():
    """Never verified is said, not hidden."""
    outcome = FakeTarget(fails_until_ns=99 * S).run(give_up_ns=5 * S)
    assert not outcome.clean
    assert outcome.error == "no answer"


def test_undo_falls_back_once_when_the_target_stays_silent():
    """The second way out is taken after two failures, once, and then the first is verified."""
    target = FakeTarget(fails_until_ns=99 * S)
    outcome = target.run(fallback=True)
    assert outcome.clean
    assert outcome.fallback_used
    assert target.restarts == 1


def test_undo_of_an_unknown_kind_is_not_clean():
    """A journal of a later version is left for that version."""
    outcome = undo_until_clean(
        Undo("later.kind", {}), registry=UNDO_KINDS, clock_ns=lambda: 0, sleep_s=lambda _: None, give_up_ns=0
    )
    assert not outcome.clean
    assert "unknown" in outcome.error


def test_undo_travels_as_json_and_keeps_its_secret_off_disk():
    """Written down without its secret, sent over the pipe with it."""
    undo = Undo("k", {"a": 1}, fallback=Undo("f", {}, secret="s2"), secret="s1")
    assert "s1" not in str(undo.to_json())
    assert "s2" not in str(undo.to_json())
    assert "s1" not in repr(undo)
    back = Undo.from_json(undo.to_json(with_secrets=True))
    assert back == undo
    assert (back.secret, back.fallback.secret) == ("s1", "s2")
    assert Undo.from_json(undo.to_json(), secret="env").secret == "env"
    for broken in ({}, {"kind": "k"}, {"kind": 1, "args": {}}):
        with pytest.raises(ValueError, match="needs"):
            Undo.from_json(broken)
