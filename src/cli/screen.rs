//! The terminal that standard output leads to, where it does.

use std::io::{self, IsTerminal as _};

use super::colour;

/// Columns where a terminal does not say how many it has.
const WIDTH_USUAL: usize = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Screen {
    pub width: usize,
    pub colours: bool,
}

impl Screen {
    /// The terminal of standard output; none where that is a file or a pipe.
    pub fn of_stdout() -> Option<Self> {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        Some(Self { width: width.unwrap_or(WIDTH_USUAL), colours: colour::on(true) })
    }
}

/// Colours that a text may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Red,
    Green,
    Yellow,
    Dim,
}

impl Colour {
    /// A text in this colour; the text has no colours of its own.
    pub fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Dim => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// The columns that a text takes, without control characters.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Marks that stand over another character take none, and East Asian characters two.
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f
        | 0x483..=0x489
        | 0x591..=0x5bd
        | 0x64b..=0x65f
        | 0x20d0..=0x20ff
        | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    }
}

/// A text in at most so many columns, its end cut off where it is longer.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += char_width(c);
        if taken > most {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

/// A text with blanks behind it, so that it takes so many columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(width(text));
    format!("{text}{:blanks$}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_and_texts_cut() {
        assert_eq!([width("abc"), width("电话"), width("e\u{301}"), width("")], [3, 4, 1, 0]);
        assert_eq!([cut("abcdef", 6), cut("abcdef", 5)], ["abcdef", "abcd…"]);
        assert_eq!(cut("电话电话", 5), "电话…");
        assert_eq!(width(&cut("电话电话", 6)), 5);
        assert_eq!([padded("电", 4), padded("abcde", 4)], ["电  ", "abcde"]);
    }
}
