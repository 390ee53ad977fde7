//! The figures for a README.

use std::fmt::Write as _;

use crate::model::{Bench, Report, Unit};

use super::amount::{amount, spread};
use super::{Case, bound, cases, verdict};

/// As many cases are shown in full, with what the samples lie between.
const FULL: usize = 3;

/// Aims and figures of a report as Markdown, with the machine and the versions:
/// the same text for the same report.
pub fn markdown(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "`{}` on {} UTC: {}, {} cores, {} memory, {}.",
        // Without a name it is everything.
        format!("bench {}", report.command).trim_end(),
        report.started,
        machine.cpu,
        machine.cores,
        amount(bytes(machine.memory), Unit::Bytes),
        machine.system,
    );
    let versions: Vec<String> = report
        .versions
        .iter()
        .map(|(name, version)| named(name, version))
        .collect();
    if !versions.is_empty() {
        let _ = write!(text, " {}.", versions.join(", "));
    }
    text.push('\n');
    for bench in &report.benches {
        let _ = write!(text, "\n**{}**\n", bench.name);
        if !bench.aims.is_empty() {
            text += "\n| aim | bound | measured | |\n|---|---|---|---|\n";
        }
        for aim in &bench.aims {
            let measured = aim
                .measured
                .map_or_else(|| "-".to_owned(), |measured| amount(measured, aim.unit));
            let row = [&aim.text, &bound(aim), &measured, verdict(aim)].map(cell);
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        let cases = cases(bench);
        if cases.len() <= FULL {
            for case in &cases {
                full(&mut text, case);
            }
        } else {
            medians(&mut text, bench, &cases);
        }
        for (title, lines) in [("Note", &bench.notes), ("Skipped", &bench.skipped)] {
            for line in lines {
                let _ = write!(text, "\n{title}: {}\n", cell(line));
            }
        }
    }
    text
}

/// `sqlx 0.9.0`; some programs say their name themselves.
fn named(name: &str, version: &str) -> String {
    // SQLite adds a checksum of its sources.
    let short = version.split(' ').filter(|word| word.len() < 32);
    let short = short.collect::<Vec<_>>().join(" ");
    if short.starts_with(|first: char| first.is_ascii_digit()) {
        format!("{name} {short}")
    } else {
        short
    }
}

/// A table of one case: contenders by measures.
fn full(text: &mut String, case: &Case) {
    let ratio = case.ratio_name();
    let mut header = vec![cell(case.name)];
    header.extend(case.measures.iter().map(|measure| cell(measure)));
    header.extend(ratio.as_deref().map(cell));
    head(text, &header);
    for (number, (contender, figures)) in case.rows.iter().enumerate() {
        let mut row = vec![cell(contender)];
        row.extend(figures.iter().map(|figure| {
            figure.map_or_else(
                || "-".to_owned(),
                |figure| spread(figure.median(), figure.low(), figure.high(), figure.unit),
            )
        }));
        if ratio.is_some() {
            let value = case.ratio(number).unwrap_or(f64::NAN);
            row.push(amount(value, Unit::Ratio));
        }
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
}

/// A table for each measure: cases by contenders, medians only.
fn medians(text: &mut String, bench: &Bench, cases: &[Case]) {
    let mut measures: Vec<&str> = Vec::new();
    for figure in &bench.figures {
        if !measures.contains(&figure.measure.as_str()) {
            measures.push(&figure.measure);
        }
    }
    for measure in measures {
        let mut contenders: Vec<&str> = Vec::new();
        for figure in bench.figures.iter().filter(|f| f.measure == measure) {
            if !contenders.contains(&figure.contender.as_str()) {
                contenders.push(&figure.contender);
            }
        }
        let mut header = vec![format!("{}, median", cell(measure))];
        header.extend(contenders.iter().map(|contender| cell(contender)));
        head(text, &header);
        for case in cases {
            let find = |contender: &str| {
                bench.figures.iter().find(|figure| {
                    figure.case == case.name
                        && figure.measure == measure
                        && figure.contender == contender
                })
            };
            let mut row = vec![cell(case.name)];
            row.extend(contenders.iter().map(|contender| {
                find(contender).map_or_else(
                    || "-".to_owned(),
                    |figure| amount(figure.median(), figure.unit),
                )
            }));
            if row[1..].iter().any(|cell| cell != "-") {
                let _ = writeln!(text, "| {} |", row.join(" | "));
            }
        }
    }
}

fn head(text: &mut String, titles: &[String]) {
    let columns = "---:|".repeat(titles.len().saturating_sub(1));
    let _ = write!(text, "\n| {} |\n|---|{columns}\n", titles.join(" | "));
}

/// Text in a cell, where a line break or a bar would end it.
fn cell(text: &str) -> String {
    text.replace('\n', " ")
        .replace('|', "\\|")
        .replace('<', "&lt;")
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(super) fn bytes(bytes: u64) -> f64 {
    bytes as f64
}
