//! The table of what can be configured, made from the structs in `sections.rs`.

use toml::Value;

use super::Config;
use super::value::{Form, Problem};

pub use super::sections::KEYS;

/// One thing that can be configured.
#[derive(Debug)]
pub struct ConfigKey {
    /// `section.key`, or `key` where it stands before all sections.
    pub name: &'static str,
    /// The lines of its doc comment: one sentence, which is the help, then what else there is to say.
    pub(super) doc: &'static [&'static str],
    pub(super) form: Form,
    pub(super) get: fn(&Config) -> Value,
    pub(super) set: fn(&mut Config, &Value, &Form) -> Result<(), Problem>,
}

impl ConfigKey {
    /// The key called `name`, such as `tls.cert`.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The flag without its dashes: `tls-cert` for `tls.cert`.
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// The environment variable: `ROLLCALL_TLS_CERT` for `tls.cert`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The section, `None` where the key stands before all sections.
    pub fn section(&self) -> Option<&'static str> {
        self.name.rsplit_once('.').map(|(section, _)| section)
    }

    /// The name without its section.
    pub fn leaf(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(_, leaf)| leaf)
    }

    /// What it means, in one sentence without a full stop.
    pub fn help(&self) -> String {
        let lines = self.doc.iter().map(|line| line.trim()).take_while(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
    }

    /// All that there is to say, with the bounds.
    pub(super) fn reference(&self) -> String {
        let bounds = self.form.bounds();
        let lines = self.doc.iter().map(|line| line.trim()).chain([bounds.as_str()]);
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// With this all variables that concern the configuration begin.
pub const VARIABLE_PREFIX: &str = "ROLLCALL_";

/// The names of all sections, in the order of the table.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().filter_map(ConfigKey::section).collect();
    sections.dedup();
    sections
}

/// What to say of an unknown key: the one that was meant, else all that are allowed there.
pub fn hint_for_key(section: Option<&str>, leaf: &str) -> String {
    let here: Vec<&str> =
        KEYS.iter().filter(|key| key.section() == section).map(ConfigKey::leaf).collect();
    if let Some(near) = nearest(leaf, here.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    if section.is_some() && sections().iter().any(|other| other.split('.').next() == Some(leaf)) {
        return format!("`{leaf}` is a section of its own, and belongs before or after this one");
    }
    match KEYS.iter().find(|key| key.leaf() == leaf).map(ConfigKey::section) {
        Some(Some(other)) => format!("`{leaf}` belongs in [{other}]"),
        Some(None) => format!("`{leaf}` belongs before the first section"),
        None => {
            let section = section.map(|section| format!("of [{section}]"));
            let whose = section.as_deref().unwrap_or("before the first section");
            format!("the keys {whose} are {}", here.join(", "))
        }
    }
}

/// What to say of an unknown section.
pub fn hint_for_section(section: &str) -> String {
    let inner = |name: &&str| name.rsplit_once('.').is_some_and(|(_, inner)| inner == section);
    match nearest(section, sections()).or_else(|| sections().into_iter().find(inner)) {
        Some(near) => format!("did you mean [{near}]?"),
        None => format!("the sections are {}", sections().join(", ")),
    }
}

/// What to say of an unknown variable.
pub fn hint_for_variable(name: &str) -> String {
    let variables: Vec<String> = KEYS.iter().map(ConfigKey::variable).collect();
    match nearest(name, variables.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("variables that begin with {VARIABLE_PREFIX} must name a key"),
    }
}

/// The candidate that a typing error could have turned into `word`.
fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(4).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
