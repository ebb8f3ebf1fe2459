"""`POST /api/orders`: one transaction that writes an order and its stock move, or neither.

The price is the list price, so orders depend on the database alone. There is no retry and no idempotency key: a caller
that repeats an order has two, which is what a retry storm does to a real shop. The invariant for whoever checks
afterwards: as many stock moves as orders, and their sums agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from resilience.lab.catalogue import is_sku, list_price_cents
from resilience.lab.gateway.context import REQUEST_ID, json_object, refusal
from resilience.lab.gateway.database import Database

_MAX_QUANTITY = 1000
_MAX_CUSTOMER = 100


@dataclass(frozen=True, slots=True)
class Order:
    """What is written of an order."""

    request_id: str
    customer: str
    sku: str
    quantity: int
    total_cents: int


class Orders:
    """The order route."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, request: web.Request) -> web.Response:
        """`{"sku", "quantity": 1, "customer": "anonymous"}` -> 201 `{"id", "sku", "quantity", "total_cents"}` | 400."""
        body = await json_object(request)
        sku, quantity, customer = body.get("sku"), body.get("quantity", 1), body.get("customer", "anonymous")
        if not isinstance(sku, str) or not is_sku(sku):
            return refusal(400, "sku must name a product")
        if type(quantity) is not int or not 1 <= quantity <= _MAX_QUANTITY:
            return refusal(400, f"quantity must be a whole number from 1 to {_MAX_QUANTITY}")
        if not isinstance(customer, str) or len(customer) > _MAX_CUSTOMER or "\0" in customer:
            return refusal(400, f"customer must be a text of at most {_MAX_CUSTOMER} characters")
        total_cents = list_price_cents(sku) * quantity
        order_id = await self._place(Order(request[REQUEST_ID], customer, sku, quantity, total_cents))
        return web.json_response(
            {"id": order_id, "sku": sku, "quantity": quantity, "total_cents": total_cents}, status=201
        )

    async def count(self, request: web.Request) -> web.Response:
        """200 `{"request_id", "count"}`: how many orders of one request id are there. For whoever checks afterwards."""
        request_id = request.match_info["request_id"]
        async with self._database.connection() as connection:
            found = await connection.fetchval("SELECT count(*) FROM orders WHERE request_id = $1", request_id)
        return web.json_response({"request_id": request_id, "count": found})

    async def _place(self, order: Order) -> int:
        """Write the order and its stock move, or neither; the order's id."""
        async with self._database.connection() as connection, connection.transaction():
            order_id: int = await connection.fetchval(
                "INSERT INTO orders (request_id, customer, sku, quantity, total_cents)"
                " VALUES ($1, $2, $3, $4, $5) RETURNING id",
                order.request_id,
                order.customer,
                order.sku,
                order.quantity,
                order.total_cents,
            )
            await connection.execute(
                "INSERT INTO stock_moves (order_id, sku, delta) VALUES ($1, $2, $3)",
                order_id,
                order.sku,
                -order.quantity,
            )
        return order_id
