"""The proof: what is taken for a way past a proxy, and what is not; reading the kernel's tables."""

from __future__ import annotations

from resilience.interpose.look_inside import address_of, sockets_in
from resilience.interpose.model import Front, Gate
from resilience.interpose.proving import Socket, View, bypasses, silent, unreached

FRONT = Front(
    "db", "db--real", "chaos-db", ("db", "store"), (Gate("db", 5432, "tcp", None),), ("web",), ("web",), 1, 2
)
PROXY = View("chaos-db", "p-chaos-db-1", frozenset({"10.0.0.3"}), {}, ())
OWNERS = {"10.0.0.4": "p-web-1", "10.0.0.1": "this host"}
ESTABLISHED, TIME_WAIT, LISTEN = "01", "06", "0A"


def real(*sockets: Socket) -> View:
    """The dependency, with its sockets."""
    return View("db--real", "p-db--real-1", frozenset({"10.0.0.2"}), {}, sockets)


def web(*sockets: Socket, **resolved: tuple[str, ...]) -> View:
    """A caller to whom the first name leads to the proxy, unless it is said otherwise."""
    names = {"db": ("10.0.0.3",), "store": (), **resolved}
    return View("web", "p-web-1", frozenset({"10.0.0.4"}), names, sockets)


def texts(dependency: View, caller: View) -> list[str]:
    """What is doubted."""
    return [doubt.text for doubt in bypasses(FRONT, [PROXY], [dependency], [caller], OWNERS)]


def test_proof_holds_where_everything_comes_through_the_proxy() -> None:
    """The proxy, the dependency itself, loopback, listening sockets and other ports are no way past it."""
    dependency = real(
        Socket("10.0.0.2", 5432, "10.0.0.3", 40000, ESTABLISHED),
        Socket("10.0.0.2", 5432, "10.0.0.2", 40001, ESTABLISHED),
        Socket("127.0.0.1", 5432, "127.0.0.1", 40002, TIME_WAIT),
        Socket("0.0.0.0", 5432, "0.0.0.0", 0, LISTEN),
        Socket("10.0.0.2", 9187, "10.0.0.4", 40003, ESTABLISHED),
    )
    assert texts(dependency, web(Socket("10.0.0.4", 40000, "10.0.0.3", 5432, ESTABLISHED))) == []


def test_proof_finds_a_connection_at_the_dependency() -> None:
    """Its other end is named."""
    dependency = real(Socket("10.0.0.2", 5432, "10.0.0.4", 40000, ESTABLISHED))
    (text,) = texts(dependency, web())
    assert text == "p-web-1 (10.0.0.4) has a connection to db past the proxy (port 5432)"
    (text,) = texts(real(Socket("10.0.0.2", 5432, "10.0.0.1", 40000, TIME_WAIT)), web())
    assert text.startswith("this host (10.0.0.1)")


def test_proof_finds_a_closed_connection_at_its_caller() -> None:
    """Whoever closes keeps the socket for a minute: here the caller."""
    (text,) = texts(real(), web(Socket("10.0.0.4", 40000, "10.0.0.2", 5432, TIME_WAIT)))
    assert text == "p-web-1 (10.0.0.4) has a connection to db past the proxy (port 5432)"


def test_proof_finds_names_that_lead_elsewhere() -> None:
    """To the dependency, to both, or nowhere; a further name may lead nowhere."""
    assert texts(real(), web(db=("10.0.0.2",))) == [
        "in p-web-1 the name db leads to 10.0.0.2, not to the proxy alone"
    ]
    assert texts(real(), web(store=("10.0.0.2", "10.0.0.3")))[0].startswith("in p-web-1 the name store leads")
    assert texts(real(), web(db=())) == ["p-web-1 does not resolve db"]


def test_unreached_and_silent_are_told() -> None:
    """A proxy that does not reach its dependency, and one that nobody used under load."""
    (doubt,) = unreached(FRONT, {"db--real:5432": "Connection refused", "db--real:1": ""})
    assert doubt.text == "the proxy of db does not reach db--real:5432: Connection refused"
    assert silent(FRONT, {"db": 4}, {"db": 5}) == ()
    assert silent(FRONT, {"db": 4}, {"db": 4})[0].kind == "silent"


def test_kernel_tables_are_read() -> None:
    """Addresses of both families, IPv4 within IPv6 as IPv4; a torn line is none."""
    table = (
        "  sl  local_address rem_address   st tx_queue\n"
        "   0: 0420A8C0:9ABE 0220A8C0:18EB 06 00000000:00000000\n"
        "   1: 0000000000000000FFFF00000420A8C0:18EB 00000000000000000000000000000000:0000 0A 0\n"
        "   2: 04"
    )
    assert sockets_in(table) == [
        ["192.168.32.4", 39614, "192.168.32.2", 6379, "06"],
        ["192.168.32.4", 6379, "::", 0, "0A"],
    ]
    assert address_of("0100007F") == "127.0.0.1"
