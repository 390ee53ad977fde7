"""What both forms share: the engine over the market's database, and the types on
the wire.

FastAPI turns a handler's return type into JSON with Pydantic, which its
documentation recommends over other JSON libraries.
"""

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

# Rows that a streamed answer reads at a time.
PAGE = 1_000

# The list of customers: collected, as in the workshop, or streamed.
STREAMED = os.environ.get("CUSTOMERS") == "stream"

# Each connection of aiosqlite is a thread. A fixed number of them: an overflow
# would start and end threads under load. 5 or 20 serve as many requests.
engine = create_async_engine(
    f"sqlite+aiosqlite:///{os.environ['DATABASE']}",
    pool_size=10,
    max_overflow=0,
)


@event.listens_for(engine.sync_engine, "connect")
def durable(connection, _record):
    """What SQLite keeps for a connection and not in the file."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    # A new order that was acknowledged survives a power cut.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.close()


class Wire(BaseModel):
    """May be made of an object with attributes of these names."""

    model_config = ConfigDict(from_attributes=True)


class Address(Wire):
    flat_number: int
    post_code: int


class Customer(Wire):
    id: int
    name: str
    address: Address


class CustomerName(Wire):
    name: str


class LineItem(Wire):
    name: str
    price: float
    quantity: int
    total: float


class Order(Wire):
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


def order_ids(orders: str) -> list[int]:
    """Of `?orders=1,2,3`."""
    return [int(order) for order in orders.split(",")]
