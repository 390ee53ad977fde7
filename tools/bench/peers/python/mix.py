"""The mix of reads and writes through SQLAlchemy, in one of three forms.

    DATABASE_URL=URL mix.py --form sync|tasks|chunks --operations FILE
                            --connections N --patience SECONDS

URL is SQLAlchemy's, and comes by the environment, since everybody can read a
command line. FILE holds one letter for each operation, w or r. The tables are
there. To warm up, this program does the beginning of the list, writes a line
`ready` and waits for a line on standard input; the tables are empty again by
then. Then it does the list and writes what became of it as one line of JSON.
After SECONDS nothing new is begun. In the form `tasks` they count from when all
tasks are there and those that have no connection wait for one.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from contextvars import ContextVar
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
from sqlalchemy.util import await_only

WARM_UP = 100
SAMPLE_S = 0.005
# Whoever waits for its turn to write to SQLite waits as long as it takes.
BUSY_TIMEOUT_S = 3600

# What became of an operation that did not fail.
DONE = "done"
NOT_BEGUN = "not begun"


class TimeIsUp(Exception):
    """Of a task that had its connection too late."""


class Base(DeclarativeBase):
    pass


class A(Base):
    __tablename__ = "a"

    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[str]
    create_date: Mapped[datetime] = mapped_column(server_default=func.now())
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


class Sampler(threading.Thread):
    """Notes how many connections are checked out of the pool, every 5 ms."""

    def __init__(self, pool):
        super().__init__(daemon=True)
        self.pool = pool
        self.samples = []
        self.over = threading.Event()

    def run(self):
        start = time.perf_counter()
        while True:
            now = time.perf_counter() - start
            self.samples.append((round(now, 4), self.pool.checkedout()))
            if self.over.wait(SAMPLE_S):
                break

    def stop(self):
        self.over.set()
        self.join()
        return self.samples


def wait_for_empty_tables():
    print("ready", flush=True)
    if not sys.stdin.readline():
        sys.exit("mix.py: nobody said go")


class Run:
    """What becomes of the operations, and when the last of them was done."""

    def __init__(self, operations, patience, pool):
        self.operations = operations
        self.results = []
        self.sampler = Sampler(pool)
        self.sampler.start()
        self.start = time.perf_counter()
        self.until = self.start + patience
        self.last = self.start

    def is_over(self):
        return time.perf_counter() >= self.until

    def done(self):
        self.last = time.perf_counter()
        return DONE

    def report(self):
        samples = self.sampler.stop()
        rest = len(self.operations) - len(self.results)
        results = self.results + [NOT_BEGUN] * rest
        done = {"w": 0, "r": 0}
        not_begun = 0
        failures = []
        for operation, result in zip(self.operations, results):
            if result == DONE:
                done[operation] += 1
            elif result == NOT_BEGUN:
                not_begun += 1
            else:
                failures.append(result)
        answer = {
            "seconds": self.last - self.start,
            "checksum": checksum(self.operations),
            "writes": done["w"],
            "reads": done["r"],
            "not_begun": not_begun,
            "failed": len(failures),
            "first_failure": repr(failures[0]) if failures else None,
            "samples": samples,
        }
        print(json.dumps(answer), flush=True)


def checksum(operations):
    """FNV-1a, 64 bits, of the list as it was read."""
    state = 0xCBF29CE484222325
    for letter in operations.encode():
        state = (state ^ letter) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{state:016x}"


def run_sync(args, operations):
    engine = create_engine(args.url, **engine_options(args))
    on_connect(engine, args)
    session = sessionmaker(engine, expire_on_commit=False)
    jobs = {"w": write, "r": read}

    for operation in operations[:WARM_UP]:
        jobs[operation](session)
    wait_for_empty_tables()
    run = Run(operations, args.patience, engine.pool)
    for operation in operations:
        if run.is_over():
            break
        try:
            jobs[operation](session)
            run.results.append(run.done())
        except Exception as error:
            run.results.append(error)
    run.report()
    engine.dispose()


async def run_async(args, operations):
    engine = create_async_engine(args.url, **engine_options(args))
    on_connect(engine.sync_engine, args)
    session = async_sessionmaker(engine, expire_on_commit=False)
    jobs = {"w": write_async, "r": read_async}

    def perform(operation):
        return jobs[operation](session)

    await asyncio.gather(*(perform(operation) for operation in operations[:WARM_UP]))
    wait_for_empty_tables()
    if args.form == "chunks":
        await run_chunks(args, operations, engine, perform)
        await engine.dispose()
    else:
        await run_tasks(args, operations, engine, perform)
        # asyncio would cancel thousands of tasks first, one by one.
        os._exit(0)


async def run_chunks(args, operations, engine, perform):
    run = Run(operations, args.patience, engine.pool)

    async def attempt(operation):
        try:
            await perform(operation)
            return run.done()
        except Exception as error:
            return error

    for begin in range(0, len(operations), args.chunk):
        if run.is_over():
            break
        chunk = operations[begin : begin + args.chunk]
        run.results += await asyncio.gather(*map(attempt, chunk))
    run.report()


async def run_tasks(args, operations, engine, perform):
    run = None
    start = asyncio.Event()
    results = [NOT_BEGUN] * len(operations)
    # The places of those that have a connection. SQLAlchemy commits in a task of
    # its own, which inherits the place.
    begun = set()
    own_place = ContextVar("place")

    @event.listens_for(engine.sync_engine, "begin")
    def begins(_connection):
        await_only(start.wait())
        # A task that has its connection too late gives it back, and so does the
        # next one: those that have begun can end.
        if run.is_over():
            raise TimeIsUp
        begun.add(own_place.get())

    async def attempt(place, operation):
        own_place.set(place)
        try:
            await perform(operation)
            results[place] = run.done()
        except TimeIsUp:
            pass
        except Exception as error:
            results[place] = error
        finally:
            begun.discard(place)

    tasks = [asyncio.create_task(attempt(*one)) for one in enumerate(operations)]
    # Once for these tasks and once for those that commit: now each of them waits
    # for a connection, or has one and waits for the start.
    for _ in range(2):
        await asyncio.sleep(0)
    run = Run(operations, args.patience, engine.pool)
    start.set()
    await asyncio.wait(tasks, timeout=args.patience)
    # Nobody else begins now, by whatever clock.
    run.until = time.perf_counter()
    while begun:
        await asyncio.wait([tasks[place] for place in begun])
    run.results = results
    run.report()


def engine_options(args):
    if args.url.startswith("sqlite"):
        connect = {"timeout": BUSY_TIMEOUT_S}
    elif "asyncpg" in args.url:
        connect = {"server_settings": {"search_path": args.schema}}
    else:
        connect = {"options": f"-csearch_path={args.schema}"}
    return {
        "connect_args": connect,
        "pool_size": args.connections,
        "max_overflow": 0,
        # With all tasks at once the last of them waits for nearly all the others.
        "pool_timeout": None,
    }


def on_connect(engine, args):
    """SQLite's settings are a connection's: the same as the other side's."""
    if not args.url.startswith("sqlite"):
        return

    @event.listens_for(engine, "connect")
    def pragmas(connection, _record):
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--form", choices=["sync", "tasks", "chunks"], required=True)
    parser.add_argument("--schema", default="public")
    parser.add_argument("--operations", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--patience", type=float, required=True)
    parser.add_argument("--chunk", type=int, default=40)
    args = parser.parse_args()
    args.url = os.environ["DATABASE_URL"]
    with open(args.operations, encoding="ascii") as file:
        operations = file.read().strip()
    if args.form == "sync":
        run_sync(args, operations)
    else:
        asyncio.run(run_async(args, operations))


if __name__ == "__main__":
    main()
