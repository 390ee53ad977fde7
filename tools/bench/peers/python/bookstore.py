"""The endpoints that the load of step 12 calls, in the two forms that the documentation
of FastAPI and SQLAlchemy recommends.

    async_app    `async def` handlers, one AsyncSession for each request
    sync_app     `def` handlers on FastAPI's thread pool, one Session each
"""

import asyncio
import os
import time
from decimal import Decimal
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import create_engine, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Book(Base):
    __tablename__ = "book"

    id: Mapped[int] = mapped_column(primary_key=True)
    book_name: Mapped[str]
    author_id: Mapped[int]
    price_cents: Mapped[int]
    description: Mapped[str | None]
    year_of_publication: Mapped[int | None]
    genre: Mapped[str | None]
    language: Mapped[str | None]
    pages: Mapped[int | None]

    @property
    def price(self) -> float:
        return self.price_cents / 100


class Fields(BaseModel):
    book_name: str
    author_id: int
    description: str | None = None
    year_of_publication: int | None = None
    genre: str | None = None
    language: str | None = None
    pages: int | None = None


class NewBook(Fields):
    # Of the fields only those that the load sends have limits.
    book_name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    price: Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=2)]

    def row(self) -> Book:
        values = self.model_dump(exclude={"price"})
        return Book(**values, price_cents=int(self.price * 100))


class Answer(Fields):
    model_config = ConfigDict(from_attributes=True)

    id: int
    price: float


Limit = Annotated[int, Query(ge=1, le=100)]
Seconds = Annotated[float, Query(ge=0, le=10)]


def page(after: int, limit: int):
    return select(Book).where(Book.id > after).order_by(Book.id).limit(limit)


def found(book: Book | None) -> Book:
    if book is None:
        raise HTTPException(404, "there is no such book")
    return book


async def refused(_request, error: IntegrityError) -> JSONResponse:
    detail = {"detail": "the name is taken, or the author does not exist"}
    return JSONResponse(detail, 409 if "UNIQUE" in str(error.orig) else 422)


def durable(connection, _record):
    """The settings of step 12 that SQLite keeps for a connection and not in the file."""
    for setting in ("synchronous = FULL", "foreign_keys = ON", "busy_timeout = 5000"):
        connection.execute(f"PRAGMA {setting}").close()


FILE = f"/{os.environ['DATABASE']}"
# As many connections as the pool of step 12 has.
POOL = {"pool_size": 10, "max_overflow": 0}

# Engines connect when a request needs it, so the one that is not served does nothing.
async_engine = create_async_engine(f"sqlite+aiosqlite://{FILE}", **POOL)
event.listen(async_engine.sync_engine, "connect", durable)
engine = create_engine(f"sqlite://{FILE}", **POOL)
event.listen(engine, "connect", durable)


async def async_session():
    async with AsyncSession(async_engine, expire_on_commit=False) as session:
        yield session


def session():
    with Session(engine, expire_on_commit=False) as session:
        yield session


Async = Annotated[AsyncSession, Depends(async_session)]
Sync = Annotated[Session, Depends(session)]

async_app = FastAPI(exception_handlers={IntegrityError: refused})
sync_app = FastAPI(exception_handlers={IntegrityError: refused})


@async_app.get("/book", response_model=list[Answer])
async def async_books(session: Async, after: int = 0, limit: Limit = 20):
    return (await session.scalars(page(after, limit))).all()


@async_app.get("/book/extensive_query")
async def async_extensive_query(session: Async, seconds: Seconds = 5) -> dict[str, float]:
    # Takes a connection of the pool, which the session holds until the request ends.
    await session.connection()
    await asyncio.sleep(seconds)
    return {"seconds": seconds}


@async_app.get("/book/{id}", response_model=Answer)
async def async_one(session: Async, id: int):
    return found(await session.get(Book, id))


@async_app.post("/book", response_model=Answer, status_code=201)
async def async_add(session: Async, new: NewBook):
    book = new.row()
    session.add(book)
    await session.commit()
    return book


@sync_app.get("/book", response_model=list[Answer])
def books(session: Sync, after: int = 0, limit: Limit = 20):
    return session.scalars(page(after, limit)).all()


@sync_app.get("/book/extensive_query")
def extensive_query(session: Sync, seconds: Seconds = 5) -> dict[str, float]:
    session.connection()
    time.sleep(seconds)
    return {"seconds": seconds}


@sync_app.get("/book/{id}", response_model=Answer)
def one(session: Sync, id: int):
    return found(session.get(Book, id))


@sync_app.post("/book", response_model=Answer, status_code=201)
def add(session: Sync, new: NewBook):
    book = new.row()
    session.add(book)
    session.commit()
    return book
