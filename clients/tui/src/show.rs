//! Words and tables for people.

use std::io::{self, Write};

use meshkiln_protocol::UnixMs;
use serde::Serialize;

use crate::{Outcome, error::Failure};

/// A line on standard output. A closed pipe (`meshkiln jobs | head`) ends the command quietly.
pub fn line(text: impl AsRef<str>) -> Outcome {
    writeln!(io::stdout(), "{}", text.as_ref()).map_err(|_| Failure::OutputClosed)
}

pub fn json(value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::unreachable(format!("cannot print the answer: {e}"), "report this"))?;
    line(text)
}

/// Columns as wide as their widest cell; the last one is not padded. Widths are
/// counted in characters.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Outcome {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    print(head.to_vec())?;
    rows.iter().try_for_each(|row| print(row.iter().map(String::as_str).collect()))
}

/// `0.4 s`, `12 s`, `3 min`, `2 h`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        10_000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// `just now`, `40 s ago`, `3 min ago`, `2 days ago`.
pub fn ago(then: UnixMs, now: UnixMs) -> String {
    match now.saturating_sub(then) {
        0..2_000 => "just now".to_owned(),
        ms @ 2_000..120_000 => format!("{} s ago", ms / 1000),
        ms @ 120_000..172_800_000 => format!("{} ago", duration(ms)),
        ms => format!("{} days ago", ms / 86_400_000),
    }
}

pub fn now() -> UnixMs {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// `512 B`, `1.2 MB`: powers of ten, as file managers show them.
pub fn bytes(n: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// `12,345`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_like_numbers() {
        assert_eq!([count(7), count(1234), count(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!([bytes(999), bytes(1_234_000), bytes(999_999)], ["999 B", "1.2 MB", "1.0 MB"]);
        assert_eq!([duration(420), duration(61_000), duration(600_000)], ["0.4 s", "61 s", "10 min"]);
        assert_eq!(ago(0, 1000), "just now");
        assert_eq!(ago(0, 86_400_000 * 3), "3 days ago");
        assert_eq!(ago(5, 0), "just now");
    }
}
