//! The report: figures as JSON, and tables as Markdown that is readable on a terminal.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use indicatif::HumanFloatCount;

use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::model::{Aim, Bound, Figure, Report, Unit};

/// Writes `report.json` and `report.md` into the folder, and returns the
/// text of the second.
///
/// # Errors
///
/// When one of them cannot be written.
pub fn write(report: &Report, folder: &Path) -> Result<String> {
    let failed = || Error::io(format!("write the report to {}", folder.display()));
    fs::create_dir_all(folder).map_err(failed())?;
    // The figures first: whatever happens to the rest, they are there.
    let json = serde_json::to_string_pretty(report).expect("a report is plain data");
    fs::write(folder.join("report.json"), json + "\n").map_err(failed())?;
    let text = markdown(report);
    fs::write(folder.join("report.md"), &text).map_err(failed())?;
    Ok(text)
}

/// Aims and figures, with the machine and the versions.
fn markdown(report: &Report) -> String {
    let mut text = format!(
        "`bench {}` on {} UTC, {:.0} s: {}; {}.\n",
        report.command,
        report.started,
        report.seconds,
        report.machine,
        report.versions.join(", ")
    );
    for bench in &report.benches {
        // Writing to a String does not fail.
        let _ = writeln!(text, "\n### {}\n\n{}", bench.name, bench.summary);
        if !bench.aims.is_empty() {
            let rows = bench.aims.iter().map(aim);
            let _ = write!(text, "\n{}", table(["aim", "bound", "measured", ""], rows));
        }
        for case in distinct(bench.figures.iter().map(|figure| &*figure.case)) {
            let figures = bench.figures.iter().filter(|figure| figure.case == case);
            let _ = write!(text, "\n{}", contenders(case, &figures.collect::<Vec<_>>()));
        }
        for (title, lines) in [("Note", &bench.notes), ("Skipped", &bench.skipped)] {
            for line in lines {
                let _ = write!(text, "\n{title}: {line}\n");
            }
        }
    }
    text
}

fn aim(aim: &Aim) -> Vec<String> {
    let bound = match aim.bound {
        Bound::AtLeast(bound) => format!("at least {}", amount(bound, aim.unit)),
        Bound::AtMost(bound) => format!("at most {}", amount(bound, aim.unit)),
    };
    let verdict = match aim.kept() {
        Some(true) => "kept",
        Some(false) => "missed",
        None => "not measured",
    };
    let measured = aim.measured.map(|measured| amount(measured, aim.unit));
    vec![
        aim.text.clone(),
        bound,
        measured.unwrap_or_default(),
        verdict.to_owned(),
    ]
}

/// What was measured of several contenders in the same way: a contender a row.
fn contenders(case: &str, figures: &[&Figure]) -> String {
    let measures = distinct(figures.iter().map(|figure| &*figure.measure));
    let contenders = distinct(figures.iter().map(|figure| &*figure.contender));
    let find = |contender: &str, measure: &str| {
        let mut figures = figures.iter();
        figures.find(|figure| figure.contender == contender && figure.measure == measure)
    };
    let ours = Contender::Marketsvc.name();
    let first = find(ours, measures[0]).filter(|_| contenders.len() > 1);
    let first = first.filter(|first| ahead_of(first, first).is_some());
    let rows = contenders.iter().map(|contender| {
        let mut row = vec![(*contender).to_owned()];
        row.extend(measures.iter().map(|measure| {
            find(contender, measure).map_or_else(String::new, |figure| spread(figure))
        }));
        if let Some(first) = first {
            let ratio = find(contender, measures[0]).and_then(|other| ahead_of(first, other));
            row.push(ratio.map_or_else(String::new, |ratio| amount(ratio, Unit::Ratio)));
        }
        row
    });
    let ahead = format!("{ours} ahead in {}", measures[0]);
    let header = [case].into_iter().chain(measures.iter().copied());
    table(header.chain(first.map(|_| &*ahead)), rows)
}

/// How many times better the first is: more a second, or less time or memory.
fn ahead_of(first: &Figure, other: &Figure) -> Option<f64> {
    match first.unit {
        Unit::PerSecond => Some(first.median() / other.median()),
        Unit::Seconds | Unit::Bytes => Some(other.median() / first.median()),
        Unit::Count | Unit::Ratio => None,
    }
}

/// Each name once, in the order of the first.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

fn table<'a>(
    header: impl IntoIterator<Item = &'a str>,
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header.into_iter().map(str::to_owned).collect::<Vec<_>>());
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

/// `value` with its unit: `23,412/s`, `1.24ms`, `57.30 ×`.
fn amount(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond => format!("{:.0}/s", HumanFloatCount(value)),
        Unit::Seconds => format!("{:.2?}", Duration::from_secs_f64(value)),
        Unit::Bytes => format!("{:.1} MiB", value / 1_048_576.0),
        Unit::Count => format!("{:.0}", HumanFloatCount(value)),
        Unit::Ratio => format!("{value:.2} ×"),
    }
}

/// The median and, when they differ, the lowest and the highest sample.
fn spread(figure: &Figure) -> String {
    let sorted = figure.sorted();
    let [median, low, high] = [figure.median(), sorted[0], sorted[sorted.len() - 1]]
        .map(|value| amount(value, figure.unit));
    if low == high {
        return median;
    }
    format!("{median} ({low}–{high})")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::model::Bench;

    use super::*;

    fn report() -> Report {
        let mut bench = Bench::new("serve", "Nothing else runs.");
        for (contender, rates, latency) in [
            ("marketsvc", [30_000.0, 31_000.0, 29_000.0], 0.002_5),
            ("peer", [500.0, 600.0, 700.0], 0.13),
        ] {
            for rate in rates {
                bench.record("order_total", contender, "rate", Unit::PerSecond, rate);
            }
            bench.record("order_total", contender, "p99", Unit::Seconds, latency);
        }
        bench.record("memory", "marketsvc", "peak", Unit::Bytes, 20_971_520.0);
        let ratio = |text, bound, measured| (Unit::Ratio, text, Bound::AtLeast(bound), measured);
        for (unit, text, bound, measured) in [
            ratio("faster than the peer", 40.0, Some(50.0)),
            ratio("as fast as another", 0.9, Some(0.85)),
            (Unit::Seconds, "first answer", Bound::AtMost(100.0), None),
        ] {
            bench.aim(unit, text, bound, measured);
        }
        bench.notes.push("one note".to_owned());
        bench.skipped.push("no pgbench".to_owned());
        Report {
            started: "2001-02-03 04:05:06".to_owned(),
            seconds: 61.0,
            command: "serve --quick".to_owned(),
            machine: "cpu, 2 cores".to_owned(),
            versions: vec!["sqlite3 3.50".to_owned()],
            benches: vec![bench],
        }
    }

    #[test]
    fn aims_and_figures_are_tables() {
        let expected = "\
`bench serve --quick` on 2001-02-03 04:05:06 UTC, 61 s: cpu, 2 cores; sqlite3 3.50.

### serve

Nothing else runs.

| aim                  |            bound | measured |              |
|----------------------|------------------|----------|--------------|
| faster than the peer | at least 40.00 × |  50.00 × |         kept |
| as fast as another   |  at least 0.90 × |   0.85 × |       missed |
| first answer         |  at most 100.00s |          | not measured |

| order_total |                         rate |      p99 | marketsvc ahead in rate |
|-------------|------------------------------|----------|-------------------------|
| marketsvc   | 30,000/s (29,000/s–31,000/s) |   2.50ms |                  1.00 × |
| peer        |          600/s (500/s–700/s) | 130.00ms |                 50.00 × |

| memory    |     peak |
|-----------|----------|
| marketsvc | 20.0 MiB |

Note: one note

Skipped: no pgbench
";
        let found = markdown(&report());
        assert_eq!(found, expected, "\n{found}");
    }

    #[test]
    fn everything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let text = write(&report(), folder.path()).unwrap();
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("report.md"), text);
        let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
        let samples = json!([30_000.0, 31_000.0, 29_000.0]);
        assert_eq!(json["benches"][0]["figures"][0]["samples"], samples);
    }
}
