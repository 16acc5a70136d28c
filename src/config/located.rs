//! Where each key stands in the file, and the refusal of keys that do not exist.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{ConfigError, ValueSource};
use super::keys::{KEYS, hint_for_key, hint_for_section, sections};
use super::plain::{one_line, syntax};

/// Where values were given.
#[derive(Debug, Default)]
pub struct ValueSources {
    by_key: BTreeMap<&'static str, ValueSource>,
    spans: Vec<(&'static str, Range<usize>)>,
}

impl ValueSources {
    /// Where `key` was given.
    pub fn of(&self, key: &str) -> ValueSource {
        self.by_key.get(key).cloned().unwrap_or(ValueSource::Default)
    }

    /// Where the first of `keys` that was given at all was given.
    pub fn of_first(&self, keys: &[&str]) -> ValueSource {
        keys.iter().find_map(|key| self.by_key.get(key)).cloned().unwrap_or(ValueSource::Default)
    }

    /// Notes that `key` was given at `place`, over any earlier one.
    pub fn put(&mut self, key: &'static str, place: ValueSource) {
        self.by_key.insert(key, place);
    }

    /// The key whose value in the file covers the byte `offset`.
    pub fn key_at(&self, offset: usize) -> Option<&'static str> {
        self.spans.iter().find(|(_, span)| span.contains(&offset)).map(|(key, _)| *key)
    }
}

/// The place of the byte `offset` in `text`, the content of `path`.
pub fn place_at(path: &Path, text: &str, offset: usize) -> ValueSource {
    let before = text.bytes().take(offset);
    ValueSource::File {
        path: path.to_owned(),
        line: 1 + before.filter(|byte| *byte == b'\n').count(),
    }
}

/// Finds every key of `text`, the content of `path`.
///
/// # Errors
/// The text is not TOML, has a key or section that does not exist, or gives a section's name to
/// a single value: the first of them.
pub fn check_names(path: &Path, text: &str) -> Result<ValueSources, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        place: place_at(path, text, error.span().map_or(0, |span| span.start)),
        problem: syntax(error.message()),
    })?;
    let mut walk = Walk { path, text, places: ValueSources::default(), first_error: None };
    walk.root(table.get_ref());
    match walk.first_error {
        Some((_, error)) => Err(error),
        None => Ok(walk.places),
    }
}

struct Walk<'a> {
    path: &'a Path,
    text: &'a str,
    places: ValueSources,
    /// What is wrong first in the file, with its offset.
    first_error: Option<(usize, ConfigError)>,
}

impl Walk<'_> {
    fn root(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let section = name.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(below) if sections().contains(&section) => {
                    for (leaf, value) in below {
                        self.leaf(Some(section), leaf, value);
                    }
                }
                // The deserializer would take the values of an array for those of the keys.
                _ if sections().contains(&section) => {
                    let error = ConfigError::NotSection {
                        place: place_at(self.path, self.text, name.span().start),
                        section: section.to_owned(),
                    };
                    self.note(name.span().start, error);
                }
                DeValue::Table(_) if KEYS.iter().all(|key| key.name != section) => {
                    let error = ConfigError::UnknownSection {
                        place: place_at(self.path, self.text, name.span().start),
                        section: one_line(section),
                        hint: hint_for_section(section),
                    };
                    self.note(name.span().start, error);
                }
                _ => self.leaf(None, name, value),
            }
        }
    }

    fn leaf(
        &mut self,
        section: Option<&str>,
        name: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let (leaf, offset) = (name.get_ref().as_ref(), name.span().start);
        let place = place_at(self.path, self.text, offset);
        if let Some(key) = KEYS.iter().find(|key| key.section() == section && key.leaf() == leaf) {
            self.places.put(key.name, place);
            self.places.spans.push((key.name, value.span()));
            return;
        }
        let error = ConfigError::UnknownKey {
            place,
            key: one_line(leaf),
            section: section.map(str::to_owned),
            hint: hint_for_key(section, leaf),
        };
        self.note(offset, error);
    }

    fn note(&mut self, offset: usize, error: ConfigError) {
        if self.first_error.as_ref().is_none_or(|(first, _)| offset < *first) {
            self.first_error = Some((offset, error));
        }
    }
}
