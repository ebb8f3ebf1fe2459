"""The gateway's parts that need no network: the quotes' fallback, passwords, tokens."""

import json

import pytest
from aiohttp.test_utils import make_mocked_request

from resilience.lab.breakers.base import CallRejected
from resilience.lab.catalogue import list_price_cents
from resilience.lab.gateway.auth import Tokens
from resilience.lab.gateway.context import REQUEST_ID
from resilience.lab.gateway.passwords import hash_password, verify_password
from resilience.lab.gateway.quotes import PricingFailed, PricingLate, Quotes


class Pricing:
    """A client that answers, or raises, what it is given."""

    def __init__(self):
        self.outcome = None
        self.asked = []

    async def price(self, sku, request_id):
        """The outcome that was set."""
        self.asked.append((sku, request_id))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return {"sku": sku, "price_cents": self.outcome, "currency": "EUR", "priced_at_ns": 1}


class Gate:
    """A breaker that lets calls through until it is shut."""

    shut = False

    def state(self):
        """As a breaker says it."""
        return "open" if self.shut else "closed"

    async def guard(self, call):
        """As a breaker does it."""
        if self.shut:
            raise CallRejected
        return await call()


async def ask(quotes, sku="A-1"):
    """(status, body, headers) of a quote."""
    request = make_mocked_request("GET", f"/api/quote/{sku}", match_info={"sku": sku})
    request[REQUEST_ID] = "r-1"
    response = await quotes.quote(request)
    return response.status, json.loads(response.text), response.headers


async def test_quote_is_live_and_passes_the_request_id_on():
    """A live quote is not marked, and pricing hears the caller's request id."""
    pricing, counted = Pricing(), []
    pricing.outcome = 700
    status, body, headers = await ask(Quotes(pricing, Gate(), counted.append))
    assert (status, body["price_cents"], body["source"]) == (200, 700, "live")
    assert "X-Degraded" not in headers
    assert pricing.asked == [("A-1", "r-1")]
    assert counted == ["live"]


@pytest.mark.parametrize("failure", [PricingFailed("gone"), PricingLate("late")])
async def test_quote_falls_back_to_the_last_good_one_at_the_first_failure(failure):
    """The caller gets the price that it had, marked as degraded and failed."""
    pricing = Pricing()
    quotes = Quotes(pricing, Gate(), lambda _: None)
    pricing.outcome = 700
    await ask(quotes)
    pricing.outcome = failure
    status, body, headers = await ask(quotes)
    assert (status, body["price_cents"], body["source"]) == (200, 700, "last-good")
    assert (headers["X-Degraded"], headers["X-Breaker"]) == ("true", "failed")


async def test_quote_of_an_unknown_sku_falls_back_to_the_list_price():
    """The fallback is total: a rejected call for a SKU never seen before has an answer, too."""
    gate = Gate()
    gate.shut = True
    status, body, headers = await ask(Quotes(Pricing(), gate, lambda _: None))
    assert (status, body["price_cents"], body["source"]) == (200, list_price_cents("A-1"), "list-price")
    assert (headers["X-Degraded"], headers["X-Breaker"]) == ("true", "rejected")


@pytest.mark.parametrize(("failure", "expected"), [(PricingFailed("gone"), 503), (PricingLate("late"), 504)])
async def test_quote_without_a_breaker_fails_openly(failure, expected):
    """The negative control has no fallback, even for a SKU it has quoted before."""
    pricing = Pricing()
    quotes = Quotes(pricing, None, lambda _: None)
    pricing.outcome = 700
    await ask(quotes)
    pricing.outcome = failure
    status, body, headers = await ask(quotes)
    assert status == expected
    assert body["error"] == str(failure)
    assert "X-Degraded" not in headers


async def test_quote_of_no_sku_reaches_nobody():
    """Nonsense is a 404 that no breaker hears of."""
    pricing = Pricing()
    status, _, _ = await ask(Quotes(pricing, Gate(), lambda _: None), sku="a b")
    assert status == 404
    assert pricing.asked == []


def test_password_is_verified_by_its_own_parameters():
    """A hash made at another cost still verifies, and only its own password does."""
    stored = hash_password("secret", 4)
    assert verify_password("secret", stored)
    assert not verify_password("Secret", stored)
    assert hash_password("secret", 4) != stored


@pytest.mark.parametrize(
    "stored", ["", "x", "scrypt$a$b$c", "scrypt$99$00$00", "md5$4$00$00", "scrypt$4$zz$00"]
)
def test_password_never_matches_what_is_no_hash(stored):
    """A broken row locks its user out; it lets nobody in, and burns no time."""
    assert not verify_password("secret", stored)


def test_token_names_its_user_only_under_its_own_secret():
    """A token is good at every gateway with the same secret, and nowhere else."""
    token = Tokens("s" * 32).issue("user-1")
    assert Tokens("s" * 32).user_of(token) == "user-1"
    assert Tokens("t" * 32).user_of(token) is None
    assert Tokens("s" * 32).user_of("rubbish") is None


@pytest.mark.parametrize(
    ("headers", "query"),
    [({"Authorization": "Bearer {}"}, ""), ({"authorization": "bearer {}"}, ""), ({}, "?token={}")],
)
def test_token_is_found_in_header_or_query(headers, query):
    """Browsers cannot set headers on WebSockets, so the query will do."""
    tokens = Tokens("s" * 32)
    token = tokens.issue("user-1")
    request = make_mocked_request(
        "GET",
        "/ws" + query.format(token),
        headers={name: value.format(token) for name, value in headers.items()},
    )
    assert tokens.user_of_request(request) == "user-1"
