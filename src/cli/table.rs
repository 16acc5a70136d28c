//! Columns.

use super::screen::{padded, width};
use crate::logs;

/// What a terminal would obey is not passed on to it.
pub(super) fn clean(text: &str) -> String {
    logs::plain(text).into_owned()
}

/// Columns as wide as their widest cell.
pub(super) fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut lines = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.into_iter().map(|row| row.iter().map(|cell| clean(cell)).collect()));
    let widths = widths(&lines);
    lines.iter().map(|line| line_of(line, &widths, 2)).collect()
}

/// The widest cell of each column.
pub(super) fn widths(lines: &[Vec<String>]) -> Vec<usize> {
    let columns = lines.first().map_or(0, Vec::len);
    let widest = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| width(cell)).max().unwrap_or_default()
    };
    (0..columns).map(widest).collect()
}

/// A line of cells, with so many blanks between them.
pub(super) fn line_of(cells: &[String], widths: &[usize], gap: usize) -> String {
    let mut shown = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        shown.push_str(&padded(cell, *width));
        shown.push_str(&" ".repeat(gap));
    }
    shown.truncate(shown.trim_end().len());
    shown.push('\n');
    shown
}
