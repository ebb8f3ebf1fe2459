"""What the shop does when its price service is ill, and whether its breaker keeps its promise."""

import threading
from collections.abc import Iterator

import pytest
from shop.prices import Prices, PriceUnknown

from chaos_spike_pytest import down, latency

# What was agreed, whatever the code says: three failures in a row open it, half a second later one call may try.
AGREED = {"dialect": "pybreaker", "failures": 3, "wait_ms": 500}


@pytest.fixture
def proxy(chaos, price_service) -> Iterator:
    """Stands between the shop and its price service."""
    with chaos.proxy(upstream=price_service) as found:
        yield found


@pytest.fixture
def prices(proxy) -> Prices:
    """The shop's client; it dials the proxy."""
    return Prices(proxy.host, proxy.port)


@pytest.fixture
def breaker(chaos, prices):
    """Its breaker, watched."""
    return chaos.watch(prices.breaker, spec=AGREED)


def test_opens_at_the_third_failure(chaos, proxy, prices, breaker) -> None:
    """Not at two with a success in between, not at four; and from then on the dead service is left alone."""
    with chaos.fault(proxy, down()):
        breaker.drive(prices.price, "1001", times=2)
    assert prices.price("1001") == "9.95"
    assert breaker.state == "closed"
    with chaos.fault(proxy, down()), chaos.expect_opens(breaker, within=1):
        breaker.drive(prices.price, "1001", times=10)
    breaker.assert_conforms(require=["R2", "R3", "R15"])


def test_slow_is_as_bad_as_dead(chaos, proxy, prices, breaker) -> None:
    """Two seconds are longer than the client waits, so slow answers open it, too."""
    with chaos.fault(proxy, latency(2000)):
        breaker.drive(prices.price, "1001", until="open", within=5)
        breaker.drive(prices.price, "1001", times=5)
    breaker.assert_conforms(require=["R3", "R15"])


def test_last_known_price_while_open(chaos, proxy, prices, breaker) -> None:
    """Who asked before gets the old price, at once; who did not is told so."""
    prices.price("1001")
    with chaos.fault(proxy, down()):
        answers = breaker.drive(prices.price, "1001", times=8)
        assert set(answers.results) == {"9.95"}
        with pytest.raises(PriceUnknown):
            prices.price("2002")
    breaker.assert_conforms(require=["R15"])


def test_recovers_when_the_service_does(chaos, proxy, prices, breaker) -> None:
    """After the wait one call tries, and its success closes the breaker."""
    with chaos.fault(proxy, down()):
        breaker.drive(prices.price, "1001", until="open")
        breaker.drive(prices.price, "1001", times=10, pause=0.02)
    breaker.drive(prices.price, "1001", until="closed", within=3)
    assert breaker.states == ("open", "half_open", "closed")
    breaker.assert_conforms(require=["R1", "R4", "R5", "R10"])


def test_one_call_at_a_time_tries(chaos, proxy, prices, breaker) -> None:
    """However many threads there are, the service that comes back is met by one call; held to the letter."""
    with chaos.fault(proxy, down()):
        breaker.drive(prices.price, "1001", until="open")
    with chaos.fault(proxy, latency(50)):  # so that the others come while the first one tries
        threads = [
            threading.Thread(target=breaker.drive, args=(prices.price, "1001"), kwargs={"until": "closed"})
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    breaker.assert_conforms(require=["R4", "R8"], strict=True)
