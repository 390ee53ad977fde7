//! The report on a terminal, in at most 100 columns.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use crate::model::{Aim, Figure, Report, Unit};

use super::amount::{amount, spread};
use super::{Case, bound, cases, duration, summary, verdict};

const WIDTH: u16 = 100;

/// One line, below the titles.
const LINES: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('-').junction('-'));

/// All tables and aims; `colour` for a terminal.
pub fn text(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    for bench in &report.benches {
        heading(&mut text, &bench.name, colour);
        paragraph(&mut text, "", &bench.summary);
        for case in cases(bench) {
            let _ = write!(text, "\n{}\n{}\n", case.name, table(&case));
        }
        if !bench.aims.is_empty() {
            text.push('\n');
        }
        for aim in &bench.aims {
            text += &line(aim, colour);
        }
        for (title, lines) in [("note: ", &bench.notes), ("skipped: ", &bench.skipped)] {
            if !lines.is_empty() {
                text.push('\n');
            }
            for line in lines {
                paragraph(&mut text, title, line);
            }
        }
        text.push('\n');
    }
    if let Some(summary) = summary(report) {
        let _ = writeln!(text, "{summary}; {}", duration(report.seconds));
    }
    text
}

fn heading(text: &mut String, name: &str, colour: bool) {
    if colour {
        let _ = writeln!(text, "\x1b[1m{name}\x1b[0m");
    } else {
        let _ = writeln!(text, "{name}\n{}", "=".repeat(name.chars().count()));
    }
}

/// `kept    57.3 ×  at least 40 ×  order_total against FastAPI`.
fn line(aim: &Aim, colour: bool) -> String {
    let verdict = verdict(aim);
    let (start, end) = match aim.kept() {
        Some(kept) if colour => (if kept { "\x1b[32m" } else { "\x1b[31m" }, "\x1b[0m"),
        _ => ("", ""),
    };
    let measured = aim
        .measured
        .map_or_else(|| "-".to_owned(), |measured| amount(measured, aim.unit));
    let mut line = format!(
        "{start}{verdict:<12}{end}  {measured:>9}  {:<17}  ",
        bound(aim)
    );
    let indent = 12 + 2 + 9 + 2 + bound(aim).chars().count().max(17) + 2;
    let lines = wrap(&aim.text, usize::from(WIDTH).saturating_sub(indent));
    line += &lines.join(&format!("\n{:indent$}", ""));
    line + "\n"
}

fn table(case: &Case) -> String {
    let build = |folded: bool| {
        let mut table = Table::new();
        table
            .load_style(LINES)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(WIDTH);
        let ratio = case.ratio_name().map(|name| {
            name.replace(" ahead ", "\nahead ")
                .replace(" against ", "\nagainst ")
        });
        let mut header = vec![""];
        header.extend(&case.measures);
        header.extend(ratio.as_deref());
        table.set_header(header);
        for (number, (contender, figures)) in case.rows.iter().enumerate() {
            let mut row = vec![(*contender).to_owned()];
            row.extend(figures.iter().map(|figure| cell(*figure, folded)));
            if ratio.is_some() {
                let value = case.ratio(number);
                row.push(value.map_or_else(|| "-".to_owned(), |value| amount(value, Unit::Ratio)));
            }
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    };
    let table = build(false);
    // Narrower by itself, the table would break its cells anywhere.
    let mut unbound = build(false);
    unbound.set_content_arrangement(ContentArrangement::Disabled);
    let width = unbound.lines().map(|line| line.chars().count()).max();
    if width <= Some(usize::from(WIDTH)) {
        table.trim_fmt()
    } else {
        build(true).trim_fmt()
    }
}

/// The median and what the samples lie between, in one line or in two.
fn cell(figure: Option<&Figure>, folded: bool) -> String {
    let text = figure.map_or_else(
        || "-".to_owned(),
        |figure| spread(figure.median(), figure.low(), figure.high(), figure.unit),
    );
    if folded {
        text.replace(" (", "\n(")
    } else {
        text
    }
}

fn paragraph(text: &mut String, title: &str, content: &str) {
    for (number, line) in wrap(&format!("{title}{content}"), usize::from(WIDTH))
        .into_iter()
        .enumerate()
    {
        let indent = if number > 0 && !title.is_empty() {
            "  "
        } else {
            ""
        };
        let _ = writeln!(text, "{indent}{line}");
    }
}

/// Lines of at most `width` characters, unless a word is longer; with room for
/// an indent of two.
fn wrap(content: &str, width: usize) -> Vec<String> {
    let width = width.saturating_sub(2).max(20);
    let mut lines: Vec<String> = Vec::new();
    for word in content.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
