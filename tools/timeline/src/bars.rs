//! Numbers side by side, each as a bar.

use std::fmt::Write as _;

use crate::svg::{END_ANCHOR, block, document, word};

/// A number, drawn as a bar.
#[derive(Clone, Debug)]
pub struct Amount {
    pub name: String,
    pub value: f64,
    /// What it could be at most, drawn as a mark.
    pub limit: Option<f64>,
}

/// The longest bar, in columns and in pixels.
const COLUMNS: f64 = 50.0;
const PIXELS: f64 = 480.0;
const LEFT: f64 = 160.0;
const ROW: f64 = 24.0;

/// The greatest number of all.
fn greatest(amounts: &[Amount]) -> f64 {
    let numbers = amounts
        .iter()
        .flat_map(|amount| [Some(amount.value), amount.limit]);
    numbers.flatten().fold(f64::MIN_POSITIVE, f64::max)
}

/// Bars for a terminal, 80 columns wide.
pub fn bars_as_text(title: &str, amounts: &[Amount]) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 50
    let columns = |number: f64| (COLUMNS * (number / greatest(amounts)).min(1.0)).round() as usize;
    let mut out = format!("{title}\n\n");
    for amount in amounts {
        let bar = "█".repeat(columns(amount.value));
        let room = columns(amount.limit.unwrap_or(0.0)).saturating_sub(columns(amount.value));
        let room = "░".repeat(room);
        let name: String = amount.name.chars().take(19).collect();
        let _ = writeln!(out, "{name:<20}{bar}{room} {:.0}", amount.value);
    }
    if amounts.iter().any(|amount| amount.limit.is_some()) {
        out += "\n█ measured   ░ up to the ceiling\n";
    }
    out
}

/// Bars as an SVG document.
pub fn bars_as_svg(title: &str, amounts: &[Amount]) -> String {
    let pixels = |number: f64| PIXELS * (number / greatest(amounts)).min(1.0);
    let mut y = 44.0;
    let mut body = String::new();
    for amount in amounts {
        word(&mut body, (LEFT - 12.0, y + 11.0), END_ANCHOR, &amount.name);
        block(&mut body, "bar", (LEFT, y), pixels(amount.value), 14.0);
        if let Some(limit) = amount.limit {
            let at = (LEFT + pixels(limit), y - 2.0);
            block(&mut body, "poll", at, 2.0, 18.0);
        }
        let end = LEFT + pixels(amount.value.max(amount.limit.unwrap_or(0.0)));
        let value = format!("{:.0}", amount.value);
        word(&mut body, (end + 10.0, y + 11.0), "", &value);
        y += ROW;
    }
    if amounts.iter().any(|amount| amount.limit.is_some()) {
        word(&mut body, (12.0, y + 16.0), "", "A mark is the ceiling.");
        y += ROW;
    }
    let (what, size) = ("A bar for each number.", (LEFT + PIXELS + 80.0, y + 10.0));
    document(title, what, "", size, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts() -> [Amount; 2] {
        let amount = |name: &str, value, limit| Amount {
            name: name.to_owned(),
            value,
            limit,
        };
        [
            amount("fast & wide", 50.0, Some(100.0)),
            amount("slow", 25.0, None),
        ]
    }

    #[test]
    fn bars_have_the_length_of_their_numbers() {
        let text = bars_as_text("a title", &amounts());
        let lines: Vec<&str> = text.lines().skip(2).take(2).collect();
        let bar = |measured, room| format!("{}{}", "█".repeat(measured), "░".repeat(room));
        assert_eq!(lines[0], format!("fast & wide         {} 50", bar(25, 25)));
        assert_eq!(lines[1], format!("slow                {} 25", bar(13, 0)));
    }

    #[test]
    fn the_picture_has_a_bar_for_each_and_a_mark_for_a_limit() {
        let svg = bars_as_svg("a title", &amounts());
        assert_eq!(svg.matches("class=\"bar\"").count(), 2);
        assert_eq!(svg.matches("class=\"poll\"").count(), 1);
        assert!(svg.contains("fast &amp; wide"));
    }

    #[test]
    fn no_numbers_are_no_bars() {
        assert_eq!(bars_as_text("a title", &[]), "a title\n\n");
    }
}
