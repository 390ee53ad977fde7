//! A report in which every number is made up.

use crate::model::{Axis, Bench, Bound, Machine, Plot, Report, Series, Style, Unit};

/// All kinds of content that a real run can have.
pub fn report() -> Report {
    Report {
        started: "2001-02-03 04:05:06".to_owned(),
        seconds: 754.2,
        command: "--rounds 5".to_owned(),
        machine: Machine {
            cpu: "Imaginary 9000 <8 MHz>".to_owned(),
            cores: 2,
            memory: 8 << 30,
            system: "Example Linux 1.2.3".to_owned(),
        },
        versions: [
            ("rustc", "0.0.1"),
            ("sqlite", "0.0.2"),
            ("uvicorn", "0.0.3 & more"),
        ]
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .into(),
        benches: vec![serve(), stream(), write(), mix(), learn()],
    }
}

/// Rounds around `middle`, the first of them exactly there.
fn rounds(bench: &mut Bench, case: &str, contender: &str, measure: &str, unit: Unit, middle: f64) {
    for factor in [1.0, 0.96, 1.03, 0.99, 1.06] {
        bench.record(case, contender, measure, unit, middle * factor);
    }
}

fn serve() -> Bench {
    let mut bench = Bench::new(
        "serve",
        "Small answers over HTTP from one database file, by 1, 32 and 256 connections that each \
         ask again as soon as they are answered. Every contender answers the same requests from \
         the same rows.",
    );
    for (number, endpoint) in [
        "order_total",
        "orders of a customer",
        "orders_total of 10",
        "orders_total of 100",
    ]
    .into_iter()
    .enumerate()
    {
        for connections in [1, 32, 256] {
            let case = format!("{endpoint}, {connections} connections, 100,000 orders");
            let slower = f64::from(u8::try_from(number).unwrap_or(0) * 2 + 1);
            for (contender, rate) in [
                ("marketsvc", 31_000.0),
                ("axum + rusqlite", 29_500.0),
                ("FastAPI, Core, 1 worker", 610.0),
                ("FastAPI, Core, 2 workers", 1_090.0),
                ("FastAPI, ORM, 1 worker", 402.0),
                ("axum without a database", 101_000.0),
            ] {
                let rate = rate / slower;
                let p99 = f64::from(connections) / rate * 2.5;
                rounds(&mut bench, &case, contender, "rate", Unit::PerSecond, rate);
                rounds(
                    &mut bench,
                    &case,
                    contender,
                    "p50",
                    Unit::Seconds,
                    p99 / 3.0,
                );
                rounds(&mut bench, &case, contender, "p99", Unit::Seconds, p99);
            }
        }
    }
    bench.aim(
        "order_total at 32 connections, against FastAPI with SQLAlchemy Core",
        Bound::AtLeast(40.0),
        Some(50.8),
    );
    bench.aim(
        "orders_total of 10 at 32 connections, against FastAPI with SQLAlchemy Core",
        Bound::AtLeast(40.0),
        Some(34.2),
    );
    bench.aim(
        "order_total at 32 connections, against axum + rusqlite",
        Bound::AtLeast(0.9),
        Some(1.05),
    );
    bench.notes.push("The load generator has the second core to itself; with 256 connections it is the limit of axum without a database.".to_owned());
    bench
}

fn stream() -> Bench {
    let mut bench = Bench::new(
        "stream",
        "GET /api/customers of a million rows over a connection of its own, read to the end and \
         thrown away. Memory is what the server's process has, looked at every 50 ms.",
    );
    let case = "1,000,000 customers";
    for (contender, first, total, memory) in [
        ("marketsvc", 0.0021, 0.68, 19.5),
        ("collected", 3.1, 3.9, 702.0),
        ("FastAPI, Core, <1 worker>", 78.0, 81.0, 705.0),
        ("sqlite3 -json", 0.004, 0.47, f64::NAN),
    ] {
        rounds(
            &mut bench,
            case,
            contender,
            "first byte",
            Unit::Seconds,
            first,
        );
        rounds(&mut bench, case, contender, "total", Unit::Seconds, total);
        if !memory.is_nan() {
            rounds(
                &mut bench,
                case,
                contender,
                "peak memory",
                Unit::Bytes,
                memory * 1_048_576.0,
            );
        }
    }
    bench.aim(
        "first byte of a million customers, sooner than FastAPI",
        Bound::AtLeast(1000.0),
        Some(37_142.0),
    );
    bench.aim(
        "peak memory, less than FastAPI",
        Bound::AtLeast(20.0),
        Some(36.1),
    );
    bench.aim(
        "total time against sqlite3 -json",
        Bound::AtMost(1.5),
        Some(1.45),
    );
    let curve = |end: f64, high: f64| -> Vec<(f64, f64)> {
        (0..=400)
            .map(|step| f64::from(step) / 400.0)
            .map(|part| (end * part + 0.01, (16.0 + high * part.sqrt()) * 1_048_576.0))
            .collect()
    };
    bench.plots.push(Plot {
        title: "Memory of the server's process while it sends a million customers".to_owned(),
        x: Axis {
            label: "since the request".to_owned(),
            log: true,
            unit: Some(Unit::Seconds),
        },
        y: Axis {
            label: "resident memory".to_owned(),
            log: true,
            unit: Some(Unit::Bytes),
        },
        style: Style::Lines,
        categories: Vec::new(),
        series: [
            ("marketsvc", curve(0.68, 3.5)),
            ("collected", curve(3.9, 686.0)),
            ("FastAPI, Core, <1 worker>", curve(81.0, 690.0)),
        ]
        .map(|(name, points)| Series {
            name: name.to_owned(),
            points,
        })
        .into(),
    });
    bench
}

fn write() -> Bench {
    let mut bench = Bench::new(
        "write",
        "New orders that survive a loss of power, one transaction each, by 1, 16 and 64 clients. \
         The calls of fsync are counted from outside.",
    );
    for clients in [1, 16, 64] {
        let case = format!("{clients} clients");
        for (contender, rate) in [
            ("marketsvc", 410.0),
            ("axum + rusqlite", 404.0),
            ("FastAPI, Core, 1 worker", 120.0),
        ] {
            let rate = rate * f64::from(clients).sqrt();
            rounds(
                &mut bench,
                &case,
                contender,
                "orders",
                Unit::PerSecond,
                rate,
            );
            rounds(
                &mut bench,
                &case,
                contender,
                "fsync per order",
                Unit::Count,
                1.04,
            );
        }
    }
    bench.aim("orders with 64 clients", Bound::AtLeast(1.0), None);
    bench
}

fn mix() -> Bench {
    let mut bench = Bench::new(
        "mix",
        "35,000 reads and writes in a random order with a fixed seed, in the ways in which a \
         program can do them. Rows are counted afterwards and the result of every task is looked at.",
    );
    let variants = [
        "sequential",
        "all at once",
        "chunks of 40",
        "bounded, 8",
        "bounded, 40",
        "one writer and readers",
    ];
    let times = [
        [7.9, 30.1],
        [14.2, 4.1],
        [240.0, 5.2],
        [8.8, 3.9],
        [9.4, 2.1],
        [8.1, 3.3],
    ];
    let mut series = Vec::new();
    for (place, database) in ["SQLite", "PostgreSQL"].into_iter().enumerate() {
        let mut points = Vec::new();
        for (number, variant) in variants.into_iter().enumerate() {
            let time = times[number][place];
            rounds(&mut bench, database, variant, "time", Unit::Seconds, time);
            points.push((f64::from(u8::try_from(number).unwrap_or(0)), time));
        }
        series.push(Series {
            name: database.to_owned(),
            points,
        });
    }
    bench.plots.push(Plot {
        title: "Time of 35,000 operations".to_owned(),
        x: Axis {
            label: "variant".to_owned(),
            log: false,
            unit: None,
        },
        y: Axis {
            label: "time".to_owned(),
            log: true,
            unit: Some(Unit::Seconds),
        },
        style: Style::Bars,
        categories: variants.map(str::to_owned).into(),
        series,
    });
    let connections = |end: f64, high: f64, wave: f64| -> Vec<(f64, f64)> {
        (0..=200)
            .map(|step| f64::from(step) / 200.0)
            .map(|part| {
                (
                    end * part,
                    (high - wave * (part * 90.0).sin().abs()).round(),
                )
            })
            .chain([(end, 0.0)])
            .collect()
    };
    bench.plots.push(Plot {
        title: "Connections in use, PostgreSQL".to_owned(),
        x: Axis {
            label: "since the start".to_owned(),
            log: false,
            unit: Some(Unit::Seconds),
        },
        y: Axis {
            label: "connections in use".to_owned(),
            log: false,
            unit: Some(Unit::Count),
        },
        style: Style::Steps,
        categories: Vec::new(),
        series: [
            ("sequential", connections(30.1, 1.0, 0.0)),
            ("all at once", connections(4.1, 96.0, 3.0)),
            ("chunks of 40", connections(5.2, 40.0, 38.0)),
            ("bounded, 8", connections(3.9, 8.0, 1.0)),
            ("bounded, 40", connections(2.1, 40.0, 2.0)),
            ("one writer and readers", connections(3.3, 9.0, 2.0)),
        ]
        .map(|(name, points)| Series {
            name: name.to_owned(),
            points,
        })
        .into(),
    });
    bench.aim(
        "best variant on PostgreSQL, faster than SQLAlchemy in chunks",
        Bound::AtLeast(10.0),
        Some(11.7),
    );
    bench
        .skipped
        .push("pgbench is missing: apt install postgresql".to_owned());
    bench
}

fn learn() -> Bench {
    let mut bench = Bench::new(
        "learn",
        "What a learner waits for: the first build, and the verdict after each edit of each step. \
         It is measured in a fresh clone.",
    );
    for (step, time) in [("05-engine", 2.1), ("07-streaming-responses", 2.6)] {
        rounds(&mut bench, "edit", step, "verdict", Unit::Seconds, time);
        rounds(
            &mut bench,
            "edit",
            step,
            "checks",
            Unit::Seconds,
            time / 2.5,
        );
    }
    bench.record(
        "first build",
        "marketsvc",
        "clone to first answer",
        Unit::Seconds,
        78.0,
    );
    bench.aim_in(
        Unit::Seconds,
        "from a fresh clone to the first answer",
        Bound::AtMost(100.0),
        Some(78.0),
    );
    bench.aim_in(
        Unit::Bytes,
        "size of target/ when every step was checked",
        Bound::AtMost(1.2e9),
        Some(1.3e9),
    );
    bench
}
