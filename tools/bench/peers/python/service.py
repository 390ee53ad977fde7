"""The workshop's service with SQLAlchemy Core: text() queries, a connection of the
pool for each query, a task for each total.

FastAPI turns a handler's return type into JSON with Pydantic, which its
documentation recommends over other JSON libraries.

The database is the file DATABASE of SQLite or, by DATABASE_URL, one of PostgreSQL with
asyncpg.
"""

import os
from asyncio import TaskGroup
from typing import Annotated

from fastapi import FastAPI, HTTPException, Response, status
from pydantic import BaseModel, Field
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

# Each connection of aiosqlite is a thread. A fixed number of them: an overflow
# would start and end threads under load. 5 or 20 serve as many requests.
POSTGRES = os.environ.get("DATABASE_URL")
engine = create_async_engine(
    POSTGRES or f"sqlite+aiosqlite:///{os.environ['DATABASE']}",
    pool_size=10,
    max_overflow=0,
)


def durable(connection, _record):
    """What SQLite keeps for a connection and not in the file."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # A new order that was acknowledged survives a power cut.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.close()


if not POSTGRES:
    event.listens_for(engine.sync_engine, "connect")(durable)

# The order in which a customer named the items, and when an order is placed.
LINE, NOW = ("line", "DEFAULT") if POSTGRES else ("rowid", "datetime('now')")


class Address(BaseModel):
    flat_number: int
    post_code: int


class Customer(BaseModel):
    id: int
    name: str
    address: Address


class CustomerName(BaseModel):
    name: str


class LineItem(BaseModel):
    name: str
    price: float
    quantity: int
    total: float


class Order(BaseModel):
    order_id: int
    customer: CustomerName
    order_time: str
    items: list[LineItem]


class NewItem(BaseModel):
    id: int
    quantity: Annotated[int, Field(ge=1)]


class NewOrder(BaseModel):
    customer_id: int
    items: Annotated[list[NewItem], Field(min_length=1)]


class Created(BaseModel):
    order_id: int


def money(cents: int | None) -> float | None:
    """Whole units of so many cents."""
    return None if cents is None else cents / 100


app = FastAPI()

CUSTOMERS = text(
    """
    SELECT customer.id, customer.name, address.flat_number, address.post_code
    FROM customer JOIN address ON address.id = customer.address_id
    ORDER BY customer.id
    """
)
CUSTOMER_NAME = text("SELECT name FROM customer WHERE id = :customer")
ORDERS = text(
    f"""
    SELECT orders.id AS order_id, orders.order_time, item.name, item.price_cents,
           order_items.quantity
    FROM orders
    LEFT JOIN order_items ON order_items.order_id = orders.id
    LEFT JOIN item ON item.id = order_items.item_id
    WHERE orders.customer_id = :customer
    ORDER BY orders.id, order_items.{LINE}
    """
)
TOTAL = text(
    """
    SELECT (SELECT CAST(sum(item.price_cents * order_items.quantity) AS bigint)
            FROM order_items JOIN item ON item.id = order_items.item_id
            WHERE order_items.order_id = orders.id) AS total
    FROM orders
    WHERE orders.id = :order
    """
)
ADD_ORDER = text(
    f"""
    INSERT INTO orders (customer_id, order_time) VALUES (:customer, {NOW})
    RETURNING id
    """
)
ADD_ITEMS = text(
    """
    INSERT INTO order_items (order_id, item_id, quantity)
    VALUES (:order, :item, :quantity)
    """
)


def customer(row) -> dict:
    return {
        "id": row.id,
        "name": row.name,
        "address": {"flat_number": row.flat_number, "post_code": row.post_code},
    }


@app.get("/api/customers")
async def customers() -> list[Customer]:
    async with engine.connect() as connection:
        result = await connection.execute(CUSTOMERS)
        return [customer(row) for row in result]


@app.get("/api/orders/{customer}")
async def orders(customer: int) -> list[Order]:
    async with engine.connect() as connection:
        parameters = {"customer": customer}
        name = (await connection.execute(CUSTOMER_NAME, parameters)).scalar()
        if name is None:
            raise HTTPException(404, f"there is no customer {customer}")
        found: list[dict] = []
        for row in await connection.execute(ORDERS, parameters):
            if not found or found[-1]["order_id"] != row.order_id:
                order = {
                    "order_id": row.order_id,
                    "customer": {"name": name},
                    "order_time": row.order_time,
                    "items": [],
                }
                found.append(order)
            # An order without items is one row without an item.
            if row.name is not None:
                item = {
                    "name": row.name,
                    "price": money(row.price_cents),
                    "quantity": row.quantity,
                    "total": money(row.price_cents * row.quantity),
                }
                found[-1]["items"].append(item)
        return found


async def total(order: int) -> tuple[bool, float | None]:
    """Whether there is such an order, and what it costs."""
    async with engine.connect() as connection:
        row = (await connection.execute(TOTAL, {"order": order})).one_or_none()
    return (False, None) if row is None else (True, money(row.total))


@app.get("/api/order_total/{order}")
async def order_total(order: int) -> dict[str, float | None]:
    known, cost = await total(order)
    if not known:
        raise HTTPException(404, f"there is no order {order}")
    return {"Order Total": cost}


@app.get("/api/orders_total")
async def orders_total(orders: str) -> list[float | None]:
    async with TaskGroup() as group:
        tasks = [group.create_task(total(int(order))) for order in orders.split(",")]
    return [task.result()[1] for task in tasks]


@app.post("/api/add_new_order", status_code=status.HTTP_201_CREATED)
async def add_new_order(order: NewOrder, response: Response) -> Created:
    try:
        async with engine.begin() as connection:
            parameters = {"customer": order.customer_id}
            number = (await connection.execute(ADD_ORDER, parameters)).scalar_one()
            lines = [
                {"order": number, "item": item.id, "quantity": item.quantity}
                for item in order.items
            ]
            await connection.execute(ADD_ITEMS, lines)
    except IntegrityError as error:
        detail = "an unknown customer or item, or an item twice"
        raise HTTPException(422, detail) from error
    response.headers["Location"] = f"/api/order_total/{number}"
    return Created(order_id=number)
