"""A user's own script, as docs/load.md shows one."""


async def place_order(ctx):
    """Place one order and write down which."""
    order = {"sku": "1002", "quantity": 1, "customer": f"script-{ctx.i}"}
    async with ctx.http.post(ctx.url("/api/orders"), json=order, headers=ctx.headers) as answer:
        ctx.heard()
        assert answer.status == 201
        ctx.record("order", order=(await answer.json())["id"])
