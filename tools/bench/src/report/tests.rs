use std::collections::BTreeSet;

use super::*;
use crate::model::{Axis, Bench, Machine, Plot, Series, Style};

/// A few exact numbers.
fn small() -> Report {
    let mut bench = Bench::new("serve", "What it costs to <ask>. Nothing else runs.");
    for (contender, rates, latency) in [
        ("marketsvc", [30_000.0, 31_000.0, 29_000.0], 0.002_5),
        ("peer | other", [500.0, 600.0, 700.0], 0.13),
    ] {
        for rate in rates {
            bench.record("order_total", contender, "rate", Unit::PerSecond, rate);
        }
        bench.record("order_total", contender, "p99", Unit::Seconds, latency);
    }
    bench.record("memory", "marketsvc", "peak", Unit::Bytes, 20_971_520.0);
    bench.aim("faster than the peer", Bound::AtLeast(40.0), Some(50.0));
    bench.aim("no slower than <another>", Bound::AtLeast(0.9), Some(0.85));
    bench.aim_in(Unit::Seconds, "first answer", Bound::AtMost(100.0), None);
    bench.notes.push("one note".to_owned());
    bench
        .skipped
        .push("no pgbench: apt install <it>".to_owned());
    Report {
        started: "2001-02-03 04:05:06".to_owned(),
        seconds: 61.0,
        command: "serve --quick".to_owned(),
        machine: Machine {
            cpu: "cpu".to_owned(),
            cores: 2,
            memory: 8 << 30,
            system: "Linux".to_owned(),
        },
        versions: [("sqlx", "0.9.0"), ("python3", "Python 3.11")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into(),
        benches: vec![bench],
    }
}

/// For looking at: `cargo test -p bench --bin bench -- --ignored example`, then
/// open `target/bench/example/report.html`.
#[test]
#[ignore = "writes files to look at"]
fn the_example_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench/example");
    let report = example::report();
    save(&report, &folder.join("report.json")).expect("written");
    render(&report, &folder.join("report.html"), &folder.join("plots")).expect("written");
    println!("{}\n{}", text(&report, false), markdown(&report));
}

#[test]
fn tables_for_a_terminal() {
    let expected = "\
serve
=====
What it costs to <ask>. Nothing else runs.

order_total
                                    rate       p99       marketsvc
                                                     ahead in rate
-------------------------------------------------------------------
 marketsvc      30,000/s (29,000–31,000)   2.50 ms             1 ×
 peer | other            600/s (500–700)    130 ms            50 ×

memory
               peak
--------------------
 marketsvc   20 MiB

kept               50 ×  at least 40 ×      faster than the peer
missed          0.850 ×  at least 0.9 ×     no slower than <another>
not measured          -  at most 100 s      first answer

note: one note

skipped: no pgbench: apt install <it>

1 of 3 aims kept, 1 missed, 1 not measured; 1 min 1 s
";
    let found = text(&small(), false);
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn no_line_is_longer_than_100_columns() {
    for colour in [false, true] {
        for line in text(&example::report(), colour).lines() {
            let line = line.replace("\x1b[32m", "").replace("\x1b[31m", "");
            let line = line.replace("\x1b[1m", "").replace("\x1b[0m", "");
            assert!(line.chars().count() <= 100, "{line}");
            assert!(!line.contains('\x1b'), "{line:?}");
        }
    }
    assert!(!text(&example::report(), false).contains('\x1b'));
    assert!(text(&example::report(), true).contains("\x1b[32mkept"));
}

#[test]
fn tables_for_a_readme() {
    let expected = "\
`bench serve --quick` on 2001-02-03 04:05:06 UTC: cpu, 2 cores, 8 GiB memory, Linux. Python 3.11, sqlx 0.9.0.

**serve**

| aim | bound | measured | |
|---|---|---|---|
| faster than the peer | at least 40 × | 50 × | kept |
| no slower than &lt;another> | at least 0.9 × | 0.850 × | missed |
| first answer | at most 100 s | - | not measured |

| order_total | rate | p99 | marketsvc ahead in rate |
|---|---:|---:|---:|
| marketsvc | 30,000/s (29,000–31,000) | 2.50 ms | 1 × |
| peer \\| other | 600/s (500–700) | 130 ms | 50 × |

| memory | peak |
|---|---:|
| marketsvc | 20 MiB |

Note: one note

Skipped: no pgbench: apt install &lt;it>
";
    let found = markdown(&small());
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn a_readme_gets_one_table_a_measure_when_there_are_many_cases() {
    let report = example::report();
    let text = markdown(&report);
    assert!(text.contains("\n| rate, median | marketsvc | axum + rusqlite |"));
    assert!(
        text.contains("\n| order_total, 32 connections, 100,000 orders | 31,000/s | 29,500/s |")
    );
    let serve = text.split("**stream**").next().unwrap_or_default();
    let rows = serve.matches("\n| order").count();
    // Twelve cases by three measures; three aims begin like that as well.
    assert_eq!(rows, 12 * 3 + 3, "{serve}");
}

/// Checks that elements are closed in order, and gives the text of each.
fn well_formed(document: &str) -> Vec<(String, String)> {
    const EMPTY: [&str; 2] = ["meta", "!DOCTYPE"];
    let mut open: Vec<String> = Vec::new();
    let mut texts = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(
            !text.contains('>') || open.last().is_some_and(|name| name == "style"),
            "{text}"
        );
        if let (Some(name), false) = (open.last(), text.trim().is_empty()) {
            texts.push((name.clone(), text.to_owned()));
        }
        rest = &rest[start + 1..];
        let end = rest.find('>').expect("an end of the tag");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "before {rest:.80}");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if !tag.ends_with('/') && !EMPTY.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    texts
}

fn values<'a>(document: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    document
        .split(&start)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

#[test]
fn the_page_is_well_formed_and_whole() {
    for report in [small(), example::report()] {
        let page = html::page(&report);
        let texts = well_formed(&page);
        for bench in &report.benches {
            let said = |wanted: &str| {
                let wanted = escape(wanted);
                assert!(
                    texts.iter().any(|(_, text)| text.contains(&wanted)),
                    "no {wanted}"
                );
            };
            said(&bench.summary);
            for figure in &bench.figures {
                said(&figure.case);
                said(&figure.contender);
                said(&figure.measure);
                said(&amount::amount(figure.median(), figure.unit));
            }
            for aim in &bench.aims {
                said(&aim.text);
                said(&bound(aim));
            }
            bench
                .notes
                .iter()
                .chain(&bench.skipped)
                .for_each(|line| said(line));
        }
        assert!(!page.contains("<8 MHz>") && !page.contains("<ask>"));
        assert!(!page.contains("<script"), "scripts");
    }
}

#[test]
fn the_page_asks_for_nothing() {
    let page = html::page(&example::report());
    for foreign in ["http:", "https:", "url(", "@import", " src=", "//"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for link in values(&page, "href") {
        let target = link.strip_prefix('#').expect("a place in the page");
        assert!(values(&page, "id").contains(&target), "{link}");
    }
}

#[test]
fn names_in_the_page_are_unique_and_pictures_have_titles() {
    let page = html::page(&example::report());
    let names = values(&page, "id");
    let unique: BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), unique.len(), "{names:?}");
    let labels = values(&page, "aria-labelledby");
    assert!(labels.len() > 10);
    for name in labels.iter().flat_map(|label| label.split(' ')) {
        assert!(unique.contains(&name), "{name}");
    }
}

#[test]
fn every_series_is_drawn_and_named() {
    for bench in &example::report().benches {
        for (plot, picture) in bench.plots.iter().zip(plot::pictures(bench)) {
            let file = picture.file();
            let texts = well_formed(&file);
            let colours = canvas::SERIES.map(|c| format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2));
            for series in &plot.series {
                let named = |(tag, text): &(String, String)| {
                    tag == "text" && text.trim() == escape(&series.name)
                };
                assert!(
                    texts.iter().any(named),
                    "no {} in {}",
                    series.name,
                    plot.title
                );
            }
            let lines = file.matches("<polyline").count();
            match plot.style {
                Style::Lines | Style::Steps => {
                    let used = values(&file, "stroke");
                    let used = used.iter().filter(|c| colours.iter().any(|s| s == *c));
                    let used: BTreeSet<_> = used.collect();
                    assert_eq!(used.len(), plot.series.len(), "{lines} lines");
                }
                Style::Bars => {
                    let bars: usize = plot.series.iter().map(|series| series.points.len()).sum();
                    assert_eq!(file.matches("<rect").count(), bars);
                }
            }
            assert!(file.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
        }
    }
}

#[test]
fn nothing_is_outside_of_its_picture() {
    for bench in &example::report().benches {
        for picture in plot::pictures(bench) {
            let page = picture.inline("x");
            for svg in page.split("<svg").skip(1) {
                let size = values(svg, "viewBox")[0].split(' ').skip(2);
                let size: Vec<f64> = size.filter_map(|length| length.parse().ok()).collect();
                for (attribute, end) in [
                    ("x", size[0]),
                    ("x1", size[0]),
                    ("x2", size[0]),
                    ("y", size[1]),
                ] {
                    for value in values(svg, attribute) {
                        let value: f64 = value.parse().expect("a number");
                        assert!((0.0..=end).contains(&value), "{attribute} {value} of {end}");
                    }
                }
                for points in values(svg, "points") {
                    for point in points.split_whitespace() {
                        let (x, y) = point.split_once(',').expect("a pair");
                        let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
                        assert!((0.0..=size[0]).contains(&x) && (0.0..=size[1]).contains(&y));
                    }
                }
            }
        }
    }
}

#[test]
fn contenders_far_apart_share_a_logarithmic_axis_that_says_so() {
    let mut bench = Bench::new("serve", "");
    bench.record("case", "a", "rate", Unit::PerSecond, 100.0);
    bench.record("case", "b", "rate", Unit::PerSecond, 2000.0);
    let said = |bench: &Bench| {
        plot::pictures(bench)[0]
            .file()
            .contains("rate, logarithmic scale")
    };
    assert!(!said(&bench), "20 times is not more than 20 times");
    bench.figures[1].samples = vec![2001.0];
    assert!(said(&bench));
}

#[test]
fn a_plot_of_nothing_is_still_a_plot() {
    for style in [Style::Lines, Style::Steps, Style::Bars] {
        for log in [false, true] {
            let mut bench = Bench::new("mix", "");
            let axis = |unit| Axis {
                label: String::new(),
                log,
                unit,
            };
            bench.plots.push(Plot {
                title: "nothing".to_owned(),
                x: axis(None),
                y: axis(Some(Unit::Bytes)),
                style,
                categories: vec!["a".to_owned()],
                series: vec![
                    Series {
                        name: "empty".to_owned(),
                        points: Vec::new(),
                    },
                    Series {
                        name: "zero".to_owned(),
                        points: vec![(0.0, 0.0)],
                    },
                    Series {
                        name: "gap".to_owned(),
                        points: vec![(0.0, f64::NAN)],
                    },
                ],
            });
            let file = plot::pictures(&bench)[0].file();
            well_formed(&file);
            assert!(!file.contains("NaN") && !file.contains("inf"), "{file}");
        }
    }
}

#[test]
fn a_ratio_is_about_the_service_if_it_takes_part() {
    let mut bench = Bench::new("mix", "");
    for (contender, rate) in [("a", 100.0), ("b", 700.0)] {
        bench.record("case", contender, "rate", Unit::PerSecond, rate);
        bench.record("case", contender, "other", Unit::PerSecond, 1.0);
    }
    let name_and_ratio = |bench: &Bench| {
        let case = &cases(bench)[0];
        let ratio = case
            .ratio(1)
            .map(|ratio| amount::amount(ratio, Unit::Ratio));
        (
            case.ratio_name().unwrap_or_default(),
            ratio.unwrap_or_default(),
        )
    };
    assert_eq!(
        name_and_ratio(&bench),
        ("rate against a".to_owned(), "7 ×".to_owned())
    );
    for figure in &mut bench.figures {
        if figure.contender == "a" {
            MARKETSVC.clone_into(&mut figure.contender);
        }
    }
    assert_eq!(
        name_and_ratio(&bench),
        ("marketsvc ahead in rate".to_owned(), "0.143 ×".to_owned())
    );
    // Less time is better.
    for figure in &mut bench.figures {
        figure.unit = Unit::Seconds;
    }
    assert_eq!(name_and_ratio(&bench).1, "7 ×");
    bench.name = "learn".to_owned();
    assert_eq!(name_and_ratio(&bench).0, "");
}

#[test]
fn files_are_written_and_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (json, html) = (
        folder.path().join("a/r.json"),
        folder.path().join("b/r.html"),
    );
    let plots = folder.path().join("plots");
    let report = example::report();
    fs::create_dir(&plots).expect("made");
    fs::write(plots.join("old.svg"), "").expect("written");
    fs::write(plots.join("mine.txt"), "").expect("written");
    save(&report, &json).expect("saved");
    let again = load(&json).expect("loaded");
    assert_eq!(text(&again, false), text(&report, false));
    render(&again, &html, &plots).expect("rendered");
    assert_eq!(
        fs::read_to_string(&html).expect("read"),
        html::page(&report)
    );
    assert!(!plots.join("old.svg").exists() && plots.join("mine.txt").exists());
    assert!(plots.join("mix-1-time-of-35-000-operations.svg").exists());
    fs::write(&json, "{}").expect("written");
    let error = load(&json).expect_err("no report").to_string();
    assert!(error.contains("is no report of this bench"), "{error}");
}
