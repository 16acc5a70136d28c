//! A strict reader of the text that Prometheus scrapes, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// All samples of a scrape: name, labels, value.
#[derive(Debug, Clone)]
pub struct Scraped {
    pub samples: Vec<(String, Labels, f64)>,
    kinds: BTreeMap<String, String>,
}

impl Scraped {
    /// Reads a text, and fails where it is not what the format says.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut scraped = Self { samples: Vec::new(), kinds: BTreeMap::new() };
        let mut described = BTreeSet::new();
        let mut family = String::new();
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(described.insert(name.to_owned()), "{name} is described twice");
                assert!(!help.is_empty() && is_name(name), "{line}");
                name.clone_into(&mut family);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert_eq!(name, family, "the type does not follow its help");
                assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                scraped.kinds.insert(name.to_owned(), kind.to_owned());
            } else {
                assert!(!line.starts_with('#'), "{line}");
                let (name, labels, value) = sample(line);
                assert!(seen.insert((name.clone(), labels.clone())), "{line} is there twice");
                let kind = &scraped.kinds[&family];
                let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line}"));
                let allowed: &[&str] =
                    if kind == "histogram" { &["_sum", "_count", "_bucket"] } else { &[""] };
                assert!(allowed.contains(&suffix), "{line} in {family}");
                assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{line}");
                assert!(kind == "gauge" || value >= 0.0, "{line}");
                scraped.samples.push((name, labels, value));
            }
        }
        scraped.check_histograms();
        scraped
    }

    /// The sum of all samples of this name with these labels, and perhaps others.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let right = |have: &Labels| {
            labels.iter().all(|(name, value)| have.get(*name).is_some_and(|have| have == value))
        };
        let of = self.samples.iter().filter(|(have, given, _)| have == name && right(given));
        of.map(|(_, _, value)| value).sum()
    }

    /// The only sample of a name.
    pub fn one(&self, name: &str) -> f64 {
        let mut of = self.samples.iter().filter(|(have, ..)| have == name);
        let (_, _, value) = of.next().unwrap_or_else(|| panic!("there is no {name}"));
        assert!(of.next().is_none(), "{name} has several samples");
        *value
    }

    /// Names of samples, and of histograms and other families without any yet.
    pub fn names(&self) -> BTreeSet<String> {
        let samples = self.samples.iter().map(|(name, ..)| name.clone());
        let families = self.kinds.iter().flat_map(|(name, kind)| {
            let suffixes: &[&str] =
                if kind == "histogram" { &["_sum", "_count", "_bucket"] } else { &[""] };
            suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
        });
        samples.chain(families).collect()
    }

    /// Buckets grow, end with `+Inf`, and that one is the count.
    fn check_histograms(&self) {
        let mut buckets: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for (name, labels, value) in &self.samples {
            let mut rest = labels.clone();
            if let Some(le) = rest.remove("le") {
                let le = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
                let family = name.strip_suffix("_bucket").unwrap().to_owned();
                buckets.entry((family, rest)).or_default().push((le, *value));
            }
        }
        for ((family, labels), buckets) in buckets {
            let what = format!("{family} {labels:?}: {buckets:?}");
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{what}");
            let (last, most) = buckets.last().unwrap();
            assert!(last.is_infinite(), "{what}");
            let count = self
                .samples
                .iter()
                .find(|(name, have, _)| *name == format!("{family}_count") && *have == labels);
            assert!((count.unwrap().2 - most).abs() < f64::EPSILON, "{what}");
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        let mut inner = inner;
        while !inner.starts_with('}') {
            let (label, value) = inner.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label), "{line}");
            let (value, after) = quoted(value).unwrap_or_else(|| panic!("{line}"));
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            inner = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &inner[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    let value = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
    (name.to_owned(), labels, value)
}

/// What stands before the closing quote, and what after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}
