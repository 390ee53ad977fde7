//! The report: figures as JSON, and tables as Markdown that is readable on a terminal.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::amount::{amount, spread};
use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::model::{Aim, Bench, Bound, Figure, Report, Unit};

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
        let mut cases: Vec<&str> = Vec::new();
        for figure in &bench.figures {
            if !cases.contains(&figure.case.as_str()) {
                cases.push(&figure.case);
                let _ = write!(text, "\n{}", case(bench, &figure.case));
            }
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
fn case(bench: &Bench, case: &str) -> String {
    let figures = || bench.figures.iter().filter(|figure| figure.case == case);
    let (mut measures, mut contenders) = (Vec::new(), Vec::new());
    for figure in figures() {
        if !measures.contains(&figure.measure.as_str()) {
            measures.push(figure.measure.as_str());
        }
        if !contenders.contains(&figure.contender.as_str()) {
            contenders.push(figure.contender.as_str());
        }
    }
    let find = |contender: &str, measure: &str| {
        figures().find(|figure| figure.contender == contender && figure.measure == measure)
    };
    let ours = Contender::Marketsvc.name();
    let ahead = format!("{ours} ahead in {}", measures[0]);
    let first = find(ours, measures[0]).filter(|_| contenders.len() > 1);
    let compares = first.is_some_and(|ours| ahead_of(ours, ours).is_some());
    let rows = contenders.iter().map(|contender| {
        let mut row = vec![(*contender).to_owned()];
        row.extend(measures.iter().map(|measure| {
            find(contender, measure).map_or_else(String::new, |figure| {
                spread(figure.median(), &figure.sorted(), figure.unit)
            })
        }));
        if compares {
            let figures = first.zip(find(contender, measures[0]));
            let ratio = figures.and_then(|(ours, other)| ahead_of(ours, other));
            row.push(ratio.map_or_else(String::new, |ratio| amount(ratio, Unit::Ratio)));
        }
        row
    });
    let header = [case].into_iter().chain(measures.iter().copied());
    table(header.chain(compares.then_some(ahead.as_str())), rows)
}

/// How many times better the first is: more a second, or less time or memory.
fn ahead_of(first: &Figure, other: &Figure) -> Option<f64> {
    match first.unit {
        Unit::PerSecond => Some(first.median() / other.median()),
        Unit::Seconds | Unit::Bytes => Some(other.median() / first.median()),
        Unit::Count | Unit::Ratio => None,
    }
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

#[cfg(test)]
mod tests {
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

| aim                  | bound          | measured |              |
|----------------------|----------------|----------|--------------|
| faster than the peer |  at least 40 × |     50 × |         kept |
| as fast as another   | at least 0.900 × |  0.850 × |       missed |
| first answer         |  at most 100 s |          | not measured |

| order_total | rate                     | p99     | marketsvc ahead in rate |
|-------------|--------------------------|---------|-------------------------|
| marketsvc   | 30,000/s (29,000–31,000) | 2.50 ms |                     1 × |
| peer        |          600/s (500–700) |  130 ms |                    50 × |

| memory    | peak   |
|-----------|--------|
| marketsvc | 20 MiB |

Note: one note

Skipped: no pgbench
";
        let words = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with("|--"));
            let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            lines.collect::<Vec<_>>()
        };
        let found = markdown(&report());
        assert_eq!(words(&found), words(expected), "\n{found}");
    }

    #[test]
    fn everything_is_written_and_the_figures_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let text = write(&report(), folder.path()).unwrap();
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("report.md"), text);
        let again: Report = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(markdown(&again), text);
    }
}
