//! The report as one page that needs nothing else: no scripts, no network.

use std::fmt::Write as _;

use crate::model::{Aim, Bench, Bound, Figure, Report, Unit};

use super::amount::{amount, range};
use super::markdown::bytes;
use super::{Case, bound, canvas, cases, duration, escape, plot, summary, verdict};

/// Tables of a bench that are shown at once; the others are folded.
const OPEN: usize = 6;

/// The whole page.
pub fn page(report: &Report) -> String {
    let (light, dark) = canvas::variables();
    let css = include_str!("page.css")
        .replace("LIGHT", &light)
        .replace("DARK", &dark)
        + &canvas::style();
    let machine = &report.machine;
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>marketsvc, measured on {started}</title>\n<style>\n{css}\n</style>\n</head>\n<body>\n\
         <header>\n<h1>marketsvc, measured</h1>\n",
        started = escape(&report.started),
    );
    let first =
        summary(report).map_or_else(String::new, |text| format!("<strong>{text}.</strong> "));
    let _ = write!(
        page,
        "<p>{first}One run on one machine, in which the contenders took turns: {}, {} cores.</p>\n\
         <p class=\"soft\">{} UTC, {}</p>\n",
        escape(&machine.cpu),
        machine.cores,
        escape(&report.started),
        duration(report.seconds),
    );
    navigation(&mut page, report);
    page += "</header>\n<main>\n";
    aims(&mut page, report);
    for (number, bench) in report.benches.iter().enumerate() {
        section(&mut page, bench, number);
    }
    page += "</main>\n";
    origin(&mut page, report);
    page += "</body>\n</html>\n";
    page
}

fn navigation(page: &mut String, report: &Report) {
    page.push_str("<nav aria-label=\"Benches\">\n");
    for bench in &report.benches {
        let name = escape(&bench.name);
        let _ = writeln!(page, "<a href=\"#{name}\">{name}</a>");
    }
    page.push_str("<a href=\"#origin\">machine and versions</a>\n</nav>\n");
}

// ---- aims

fn aims(page: &mut String, report: &Report) {
    if summary(report).is_none() {
        return;
    }
    page.push_str("<h2 hidden>Aims</h2>\n<ul class=\"aims\">\n");
    for bench in &report.benches {
        for aim in &bench.aims {
            card(page, bench, aim);
        }
    }
    page.push_str(
        "</ul>\n<p class=\"soft\">The line in the middle of each bar is the aim, and right of it \
         is better; a quarter of the bar is three times as good.</p>\n",
    );
}

fn card(page: &mut String, bench: &Bench, aim: &Aim) {
    let (class, sign) = match aim.kept() {
        Some(true) => ("kept", "✓ "),
        Some(false) => ("missed", "✗ "),
        None => ("open", ""),
    };
    let big = aim
        .measured
        .map_or_else(|| "–".to_owned(), |measured| amount(measured, aim.unit));
    let gauge = gauge(aim).map_or_else(String::new, |share| {
        format!(
            "<div class=\"gauge\" aria-hidden=\"true\"><i style=\"left:{share:.1}%\"></i></div>"
        )
    });
    let _ = writeln!(
        page,
        "<li class=\"aim {class}\"><span class=\"of\">{}</span><span class=\"big\">{}</span>\
         <span class=\"what\">{}</span>{gauge}<span><span class=\"state\">{sign}{}</span> \
         <span class=\"of bound\">{}</span></span></li>",
        escape(&bench.name),
        escape(&big),
        escape(&aim.text),
        verdict(aim),
        escape(&bound(aim)),
    );
}

/// Where the figure is, in percent from the left; the aim is in the middle.
fn gauge(aim: &Aim) -> Option<f64> {
    let measured = aim.measured.filter(|measured| *measured > 0.0)?;
    let better = match aim.bound {
        Bound::AtLeast(bound) => measured / bound,
        Bound::AtMost(bound) => bound / measured,
    };
    let share = 50.0 + 25.0 * better.log(3.0);
    share.is_finite().then(|| share.clamp(3.0, 97.0))
}

// ---- a bench

fn section(page: &mut String, bench: &Bench, number: usize) {
    let name = escape(&bench.name);
    let _ = write!(
        page,
        "<section id=\"{name}\" aria-labelledby=\"{name}-h\">\n<h2 id=\"{name}-h\">{name}</h2>\n<p>{}</p>\n",
        escape(&bench.summary)
    );
    for (place, picture) in plot::pictures(bench).iter().enumerate() {
        let _ = write!(
            page,
            "<figure>\n{}</figure>\n",
            picture.inline(&format!("plot-{number}-{place}"))
        );
    }
    let cases = cases(bench);
    let contenders = plot::contenders(&bench.figures);
    for (place, case) in cases.iter().enumerate() {
        if place == OPEN {
            let _ = write!(
                page,
                "<details>\n<summary>{} more tables</summary>\n",
                cases.len() - OPEN
            );
        }
        table(page, case, &contenders);
    }
    if cases.len() > OPEN {
        page.push_str("</details>\n");
    }
    for (title, lines) in [("Notes", &bench.notes), ("Skipped", &bench.skipped)] {
        if lines.is_empty() {
            continue;
        }
        let _ = write!(page, "<h3>{title}</h3>\n<ul class=\"notes\">\n");
        for line in lines {
            let _ = writeln!(page, "<li>{}</li>", escape(line));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</section>\n");
}

/// The bars of a contender have the colour that it has in the plots.
fn table(page: &mut String, case: &Case, contenders: &[&str]) {
    let scales: Vec<Option<Positions>> = (0..case.measures.len())
        .map(|column| Positions::new(case.rows.iter().filter_map(|row| row.1[column])))
        .collect();
    let ratio = case.ratio_name();
    let logarithmic: Vec<&str> = case
        .measures
        .iter()
        .zip(&scales)
        .filter(|(_, scale)| scale.as_ref().is_some_and(|scale| scale.log))
        .map(|(measure, _)| *measure)
        .collect();
    let _ = write!(page, "<table>\n<caption>{}", escape(case.name));
    if !logarithmic.is_empty() {
        let _ = write!(
            page,
            "<span>bars of {} are on a logarithmic scale</span>",
            escape(&logarithmic.join(", "))
        );
    }
    page.push_str("</caption>\n<thead><tr><td></td>");
    for measure in case.measures.iter().copied().chain(ratio.as_deref()) {
        let _ = write!(page, "<th scope=\"col\">{}</th>", escape(measure));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for (number, (contender, figures)) in case.rows.iter().enumerate() {
        let colour = contenders.iter().position(|name| name == contender);
        let _ = write!(
            page,
            "<tr style=\"--mark:var(--c{})\"><th scope=\"row\">{}</th>",
            colour.unwrap_or(0) % canvas::SERIES.len(),
            escape(contender)
        );
        for ((measure, figure), scale) in case.measures.iter().zip(figures).zip(&scales) {
            let label = escape(measure);
            let Some(figure) = figure else {
                let _ = write!(page, "<td data-label=\"{label}\">–</td>");
                continue;
            };
            let bar = scale
                .as_ref()
                .map_or_else(String::new, |scale| scale.bar(figure));
            let _ = write!(
                page,
                "<td data-label=\"{label}\">{}{bar}</td>",
                value(figure)
            );
        }
        if let Some(name) = &ratio {
            let value = case.ratio(number).unwrap_or(f64::NAN);
            let _ = write!(
                page,
                "<td class=\"ratio\" data-label=\"{}\"><span class=\"both\">{}</span></td>",
                escape(name),
                amount(value, Unit::Ratio)
            );
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n");
}

/// The median and what the samples lie between.
fn value(figure: &Figure) -> String {
    let (median, low, high) = (figure.median(), figure.low(), figure.high());
    let mut text = format!(
        "<span class=\"both\"><span class=\"value\">{}</span>",
        amount(median, figure.unit)
    );
    if low < high {
        let _ = write!(
            text,
            " <span class=\"spread\">{}</span>",
            range(low, high, median, figure.unit)
        );
    }
    text + "</span>"
}

/// The scale of the small bars in a column.
struct Positions {
    log: bool,
    low: f64,
    high: f64,
}

impl Positions {
    /// `None` where there is nothing to compare.
    fn new<'a>(figures: impl Iterator<Item = &'a Figure>) -> Option<Self> {
        let (mut low, mut high, mut count) = (f64::INFINITY, 0.0_f64, 0);
        for figure in figures {
            low = low.min(figure.low());
            high = high.max(figure.high());
            count += 1;
        }
        let log = low > 0.0 && high > low * plot::LINEAR_LIMIT;
        let low = if log { low / 2.0 } else { 0.0 };
        (count > 1 && high > 0.0).then_some(Self { log, low, high })
    }

    fn percent(&self, value: f64) -> f64 {
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            value / self.high
        };
        // The mark of the highest value stays inside.
        share.clamp(0.0, 1.0) * 98.0
    }

    fn bar(&self, figure: &Figure) -> String {
        let [low, median, high] =
            [figure.low(), figure.median(), figure.high()].map(|value| self.percent(value));
        format!(
            "<span class=\"range\" aria-hidden=\"true\"><i style=\"left:{low:.1}%;width:{:.1}%\"></i>\
             <b style=\"left:{median:.1}%\"></b></span>",
            high - low
        )
    }
}

// ---- where it comes from

fn origin(page: &mut String, report: &Report) {
    let machine = &report.machine;
    page.push_str("<footer>\n<section id=\"origin\">\n<h2>Machine and versions</h2>\n<dl>\n");
    let memory = if machine.memory == 0 {
        "-".to_owned()
    } else {
        amount(bytes(machine.memory), Unit::Bytes)
    };
    let mut rows = vec![
        (
            "processor",
            format!("{}, {} cores", machine.cpu, machine.cores),
        ),
        ("memory", memory),
        ("system", machine.system.clone()),
        ("began", format!("{} UTC", report.started)),
        ("took", duration(report.seconds)),
    ];
    let versions = report.versions.iter();
    rows.extend(versions.map(|(name, version)| (name.as_str(), version.clone())));
    for (name, value) in rows {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&value));
    }
    let _ = write!(
        page,
        "</dl>\n<h3>Measure again</h3>\n<pre><code>{}</code></pre>\n\
         <p>Do it on a machine that has nothing else to do. Each figure is the median of the \
         rounds, and what is beside it the lowest and the highest of them. What would make a \
         comparison unfair is in <code>tools/bench/README.md</code>; all samples are in the \
         JSON file beside this page.</p>\n</section>\n</footer>\n",
        escape(&again(&report.command))
    );
}

/// The command that makes a report like this one.
fn again(command: &str) -> String {
    format!("./run.sh bench {command}").trim_end().to_owned()
}
