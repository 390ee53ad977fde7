"""The mix of reads and writes through SQLAlchemy, in one of three forms.

    mix.py sync|tasks|chunks URL CONNECTIONS OPERATIONS

OPERATIONS has a letter for each, w or r. After a warm-up of reads, which opens the
connections, it does the list and prints how many seconds that took. A failure ends it.
"""

import asyncio
import sys
import time
from datetime import datetime

from sqlalchemy import ForeignKey, create_engine, event, func, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
    relationship,
    selectinload,
    sessionmaker,
)

WARM_UP = "r" * 100
CHUNK = 40
# A connection that wants to write to SQLite waits as long as it takes.
BUSY_TIMEOUT_S = 3600


class Base(DeclarativeBase):
    pass


class A(Base):
    __tablename__ = "a"

    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[str]
    created: Mapped[datetime] = mapped_column(server_default=func.now())
    bs: Mapped[list["B"]] = relationship()


class B(Base):
    __tablename__ = "b"

    id: Mapped[int] = mapped_column(primary_key=True)
    a_id: Mapped[int] = mapped_column(ForeignKey("a.id"))
    data: Mapped[str]


def new_rows():
    return [
        A(data="a1", bs=[B(data="b1"), B(data="b2")]),
        A(data="a2", bs=[B(data="b3")]),
        A(data="a3", bs=[B(data="b4"), B(data="b5")]),
    ]


PAGE = select(A).options(selectinload(A.bs)).limit(10)


def examine_written(rows):
    if any(row.id is None for row in rows):
        raise ValueError("a row has no id after its commit")


def examine_read(rows):
    """Raises unless the page is one that only whole writes can have left."""
    if len(rows) > 10:
        raise ValueError(f"{len(rows)} rows of a, at most 10 were asked for")
    for row in rows:
        expected = {"a1": 2, "a2": 1, "a3": 2}[row.data]
        if len(row.bs) != expected:
            raise ValueError(f"{row.data} has {len(row.bs)} rows of b, not {expected}")


def write(session):
    rows = new_rows()
    with session.begin() as open_session:
        open_session.add_all(rows)
    examine_written(rows)


def read(session):
    with session() as open_session:
        examine_read(open_session.scalars(PAGE).all())


async def write_async(session):
    rows = new_rows()
    async with session.begin() as open_session:
        open_session.add_all(rows)
    examine_written(rows)


async def read_async(session):
    async with session() as open_session:
        examine_read((await open_session.scalars(PAGE)).all())


def run_sync(operations, url, options):
    engine = create_engine(url, **options)
    on_connect(engine, url)
    session = sessionmaker(engine, expire_on_commit=False)
    jobs = {"w": write, "r": read}

    def perform(operations):
        for operation in operations:
            jobs[operation](session)

    perform(WARM_UP)
    start = time.perf_counter()
    perform(operations)
    print(time.perf_counter() - start)


async def run_async(operations, url, options, size):
    engine = create_async_engine(url, **options)
    on_connect(engine.sync_engine, url)
    session = async_sessionmaker(engine, expire_on_commit=False)
    jobs = {"w": write_async, "r": read_async}

    async def perform(operations, size):
        for begin in range(0, len(operations), size):
            chunk = operations[begin : begin + size]
            await asyncio.gather(*(jobs[operation](session) for operation in chunk))

    await perform(WARM_UP, size)
    start = time.perf_counter()
    await perform(operations, size)
    print(time.perf_counter() - start)
    await engine.dispose()


def on_connect(engine, url):
    """SQLite's settings are a connection's: the same as the other side's."""
    if not url.startswith("sqlite"):
        return

    @event.listens_for(engine, "connect")
    def pragmas(connection, _record):
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


def main():
    form, url, connections, operations = sys.argv[1:]
    options = {
        "pool_size": int(connections),
        "max_overflow": 0,
        # With all tasks at once the last of them waits for nearly all the others.
        "pool_timeout": None,
    }
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": BUSY_TIMEOUT_S}
    if form == "sync":
        run_sync(operations, url, options)
    else:
        size = CHUNK if form == "chunks" else len(operations)
        asyncio.run(run_async(operations, url, options, size))


if __name__ == "__main__":
    main()
