"""Prices from the price service, through a circuit breaker; while it is open, the last price that was known."""

import http.client

import pybreaker

FAILURES = 3
WAIT_S = 0.5
TIMEOUT_S = 0.2


class PriceUnknown(Exception):
    """The service cannot be asked, and no price was known before."""


class Prices:
    """A client of the price service."""

    def __init__(self, host: str, port: int) -> None:
        self.breaker = pybreaker.CircuitBreaker(fail_max=FAILURES, reset_timeout=WAIT_S, name="prices")
        self._address = host, port
        self._known: dict[str, str] = {}

    def price(self, sku: str) -> str:
        """The price of an article: today's, or while the service is ill the last one known."""
        try:
            self._known[sku] = self.breaker.call(self._ask, sku)
        except (OSError, pybreaker.CircuitBreakerError):
            if sku not in self._known:
                raise PriceUnknown(sku) from None
        return self._known[sku]

    def _ask(self, sku: str) -> str:
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        try:
            connection.request("GET", f"/price/{sku}")
            return connection.getresponse().read().decode()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
