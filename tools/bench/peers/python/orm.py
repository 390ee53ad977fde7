"""The workshop's service with SQLAlchemy's ORM: mapped classes, a session for each
request and for each task, relationships loaded eagerly, item totals as a hybrid
property.
"""

from asyncio import TaskGroup
from collections.abc import AsyncIterator

import market
from fastapi import FastAPI, HTTPException, Response, status
from fastapi.responses import StreamingResponse
from market import PAGE, STREAMED, Created, NewOrder, engine, money, order_ids
from pydantic import TypeAdapter
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

app = FastAPI()
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]
    description: Mapped[str | None]


class Address(Base):
    __tablename__ = "address"

    id: Mapped[int] = mapped_column(primary_key=True)
    flat_number: Mapped[int]
    post_code: Mapped[int]


class Customer(Base):
    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    address_id: Mapped[int] = mapped_column(ForeignKey("address.id"))
    address: Mapped[Address] = relationship()


class OrderItem(Base):
    __tablename__ = "order_items"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True)
    quantity: Mapped[int]
    # SQLite numbers the rows itself; the number is the order of the items.
    rowid: Mapped[int] = mapped_column(system=True)
    item: Mapped[Item] = relationship()

    @hybrid_property
    def total_cents(self) -> int:
        return self.item.price_cents * self.quantity

    @total_cents.inplace.expression
    @classmethod
    def _total_cents(cls):
        """For statements that join the item."""
        return Item.price_cents * cls.quantity

    # What Pydantic reads.

    @property
    def name(self) -> str:
        return self.item.name

    @property
    def price(self) -> float:
        return money(self.item.price_cents)

    @property
    def total(self) -> float:
        return money(self.total_cents)


class Order(Base):
    __tablename__ = "orders"

    order_id: Mapped[int] = mapped_column("id", primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    order_time: Mapped[str] = mapped_column(default=func.datetime("now"))
    customer: Mapped[Customer] = relationship()
    items: Mapped[list[OrderItem]] = relationship(order_by=OrderItem.rowid)


CUSTOMERS = (
    select(Customer)
    .options(joinedload(Customer.address, innerjoin=True))
    .order_by(Customer.id)
)


async def collected_customers():
    async with Session() as session:
        return (await session.scalars(CUSTOMERS)).all()


PAGE_OF_CUSTOMERS = TypeAdapter(list[market.Customer])


async def customer_pages() -> AsyncIterator[bytes]:
    """A JSON array, page by page."""
    separator = b"["
    async with Session() as session:
        customers = await session.stream_scalars(
            CUSTOMERS, execution_options={"yield_per": PAGE}
        )
        async for page in customers.partitions():
            rows = PAGE_OF_CUSTOMERS.validate_python(page)
            yield separator + PAGE_OF_CUSTOMERS.dump_json(rows)[1:-1]
            separator = b","
    yield b"[]" if separator == b"[" else b"]"


async def streamed_customers():
    return StreamingResponse(customer_pages(), media_type="application/json")


if STREAMED:
    app.get("/api/customers", response_model=None)(streamed_customers)
else:
    app.get("/api/customers", response_model=list[market.Customer])(collected_customers)


@app.get("/api/orders/{customer}", response_model=list[market.Order])
async def orders(customer: int):
    async with Session() as session:
        if await session.get(Customer, customer) is None:
            raise HTTPException(404, f"there is no customer {customer}")
        statement = (
            select(Order)
            .where(Order.customer_id == customer)
            .order_by(Order.order_id)
            .options(
                joinedload(Order.customer, innerjoin=True),
                selectinload(Order.items).joinedload(OrderItem.item, innerjoin=True),
            )
        )
        return (await session.scalars(statement)).all()


async def total(order: int) -> tuple[bool, float | None]:
    """Whether there is such an order, and what it costs."""
    statement = (
        select(func.sum(OrderItem.total_cents).label("total"))
        .select_from(Order)
        .outerjoin(Order.items)
        .outerjoin(OrderItem.item)
        .where(Order.order_id == order)
        .group_by(Order.order_id)
    )
    async with Session() as session:
        row = (await session.execute(statement)).one_or_none()
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
        tasks = [group.create_task(total(order)) for order in order_ids(orders)]
    return [task.result()[1] for task in tasks]


@app.post("/api/add_new_order", status_code=status.HTTP_201_CREATED)
async def add_new_order(order: NewOrder, response: Response) -> Created:
    new = Order(
        customer_id=order.customer_id,
        items=[OrderItem(item_id=item.id, quantity=item.quantity) for item in order.items],
    )
    try:
        async with Session.begin() as session:
            session.add(new)
    except IntegrityError as error:
        detail = "an unknown customer or item, or an item twice"
        raise HTTPException(422, detail) from error
    response.headers["Location"] = f"/api/order_total/{new.order_id}"
    return Created(order_id=new.order_id)
