//! A report for people and for programs: tables on the terminal, one HTML page,
//! the plots as SVG files, and JSON.

mod amount;
mod canvas;
mod html;
mod markdown;
mod plot;
mod table;

pub use amount::thousands;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::contender::MARKETSVC;
use crate::error::{Error, Result};
use crate::model::{Aim, Bench, Bound, Figure, Report, Unit};

pub use markdown::markdown;
pub use table::text;

/// Writes the figures as JSON.
///
/// # Errors
///
/// When the file cannot be written.
pub fn save(report: &Report, json: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(report).expect("a report is plain data");
    write(json, &(text + "\n"))
}

/// Writes the page, and the plots as files of their own; SVG files of an earlier
/// report are removed from that folder.
///
/// # Errors
///
/// When one of them cannot be written.
pub fn render(report: &Report, html: &Path, plots: &Path) -> Result<()> {
    write(html, &html::page(report))?;
    let failed = || Error::io(format!("write the plots to {}", plots.display()));
    fs::create_dir_all(plots).map_err(failed())?;
    for entry in fs::read_dir(plots).map_err(failed())? {
        let file = entry.map_err(failed())?.path();
        if file.extension().is_some_and(|end| end == "svg") {
            fs::remove_file(file).map_err(failed())?;
        }
    }
    for bench in &report.benches {
        for (number, picture) in (1..).zip(plot::pictures(bench)) {
            let name = format!("{}-{number}-{}.svg", bench.name, slug(&picture.title));
            write(&plots.join(name), &picture.file())?;
        }
    }
    Ok(())
}

/// The report that an earlier run wrote.
///
/// # Errors
///
/// When there is no such file, or it is something else.
pub fn load(json: &Path) -> Result<Report> {
    let text = fs::read_to_string(json).map_err(Error::io(format!("read {}", json.display())))?;
    serde_json::from_str(&text).map_err(|error| {
        Error::Environment(format!(
            "{} is no report of this bench: {error}",
            json.display()
        ))
    })
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)
            .map_err(Error::io(format!("make the folder {}", folder.display())))?;
    }
    fs::write(file, text).map_err(Error::io(format!("write {}", file.display())))
}

/// A title as part of a file's name.
fn slug(title: &str) -> String {
    let words: Vec<String> = title
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("-").chars().take(60).collect()
}

/// Text as HTML and SVG have to write it, in attributes as well.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// What was asked of several contenders in the same way: one table.
struct Case<'a> {
    name: &'a str,
    compares: bool,
    measures: Vec<&'a str>,
    /// A contender, and a figure for each of `measures`.
    rows: Vec<(&'a str, Vec<Option<&'a Figure>>)>,
}

impl Case<'_> {
    /// The first measure of this row against that of the first contender: how many
    /// times better one of them is, that is more of what is counted by the second,
    /// less of time and memory. Where the service is the first, it is how many times
    /// better the service is. `None` when there is nothing to compare.
    fn ratio(&self, row: usize) -> Option<f64> {
        let figure = |row: usize| *self.rows.get(row)?.1.first()?;
        let (first, other) = (figure(0)?, figure(row)?);
        let ahead = match first.unit {
            Unit::PerSecond => first.median() / other.median(),
            Unit::Seconds | Unit::Bytes => other.median() / first.median(),
            Unit::Count | Unit::Ratio => return None,
        };
        let ratio = if self.is_ours() { ahead } else { 1.0 / ahead };
        ratio.is_finite().then_some(ratio)
    }

    /// What [`Self::ratio`] is, as the title of a column; `None` when the case has
    /// none.
    fn ratio_name(&self) -> Option<String> {
        let (first, _) = self.rows.first()?;
        let measure = self.measures.first()?;
        (self.compares && (1..self.rows.len()).any(|row| self.ratio(row).is_some())).then(|| {
            if self.is_ours() {
                format!("{first} ahead in {measure}")
            } else {
                format!("{measure} against {first}")
            }
        })
    }

    /// Whether the service is what the others are compared with.
    fn is_ours(&self) -> bool {
        self.rows.first().is_some_and(|row| row.0 == MARKETSVC)
    }
}

/// The tables of a bench, its figures by case and then by contender, as they come.
fn cases(bench: &Bench) -> Vec<Case<'_>> {
    // What takes part in `learn` are steps, and no rivals.
    let compares = bench.name != "learn";
    let figures = &bench.figures;
    let mut cases: Vec<Case> = Vec::new();
    for figure in figures {
        let place = cases
            .iter()
            .position(|case| case.name == figure.case)
            .unwrap_or_else(|| {
                cases.push(Case {
                    name: &figure.case,
                    compares,
                    measures: Vec::new(),
                    rows: Vec::new(),
                });
                cases.len() - 1
            });
        let case = &mut cases[place];
        if !case.measures.contains(&figure.measure.as_str()) {
            case.measures.push(&figure.measure);
        }
        if !case.rows.iter().any(|row| row.0 == figure.contender) {
            case.rows.push((&figure.contender, Vec::new()));
        }
    }
    for case in &mut cases {
        for (contender, cells) in &mut case.rows {
            *cells = case
                .measures
                .iter()
                .map(|measure| {
                    figures.iter().find(|figure| {
                        figure.case == case.name
                            && figure.contender == *contender
                            && figure.measure == *measure
                    })
                })
                .collect();
        }
    }
    cases
}

/// `kept`, `missed` or `not measured`.
fn verdict(aim: &Aim) -> &'static str {
    match aim.kept() {
        Some(true) => "kept",
        Some(false) => "missed",
        None => "not measured",
    }
}

/// `at least 40 ×`.
fn bound(aim: &Aim) -> String {
    match aim.bound {
        Bound::AtLeast(bound) => format!("at least {}", amount::chosen(bound, aim.unit)),
        Bound::AtMost(bound) => format!("at most {}", amount::chosen(bound, aim.unit)),
    }
}

/// `12 of 14 aims kept, 1 missed, 1 not measured`; `None` without aims.
fn summary(report: &Report) -> Option<String> {
    let aims = || report.benches.iter().flat_map(|bench| &bench.aims);
    let count = |kept: Option<bool>| aims().filter(|aim| aim.kept() == kept).count();
    let all = aims().count();
    let mut text = format!("{} of {all} aims kept", count(Some(true)));
    for (kept, name) in [(Some(false), "missed"), (None, "not measured")] {
        if count(kept) > 0 {
            // Writing to a String does not fail.
            let _ = write!(text, ", {} {name}", count(kept));
        }
    }
    (all > 0).then_some(text)
}

/// `2 h 5 min`, `4 min 10 s` or `12 s`.
fn duration(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and nobody measures for that long"
    )]
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
#[path = "../../tests/example/mod.rs"]
mod example;

#[cfg(test)]
mod tests;
