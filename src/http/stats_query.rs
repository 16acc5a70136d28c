//! The query of `CallStats`, read into checked types: the filters of a list, and what is counted.

use super::error::ApiError;
use super::query::{ListQuery, wrong};
use crate::domain::Filter;
use crate::store::{Dimension, Scope, TOP_MAX};
use crate::wire::{Interval, Zone};

/// The parameters beside filters and search.
#[cfg(test)]
pub(super) const PARAMETERS: [&str; 4] = ["interval", "time_zone", "group", "top"];

/// Groups that are told apart where `top` does not say it.
const TOP: usize = 20;

/// What the statistics were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatsQuery {
    pub filter: Filter,
    pub interval: Option<Interval>,
    pub zone: Zone,
    /// In the order in which they were given, each once.
    pub group: Vec<Dimension>,
    pub top: usize,
}

impl StatsQuery {
    /// As a list's query is read.
    pub fn parse(query: &str, scope: Scope) -> Result<Self, ApiError> {
        let ListQuery { filter, style, .. } = ListQuery::parse(query, scope)?;
        let (mut interval, mut group, mut top) = (None, Vec::new(), None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.strip_suffix("[]").unwrap_or(&key) {
                _ if value.is_empty() => {}
                "interval" => once(&mut interval, "interval", &value, self::interval(&value)?)?,
                "group" => groups(&mut group, &value)?,
                "top" => once(&mut top, "top", &value, self::top(&value)?)?,
                _ => {}
            }
        }
        if let Some(top) = top.filter(|_| group.is_empty()) {
            return Err(wrong("top", &top.to_string(), "expected beside group"));
        }
        Ok(Self { filter, interval, zone: style.zone, group, top: top.unwrap_or(TOP) })
    }
}

fn interval(value: &str) -> Result<Interval, ApiError> {
    let found = Interval::ALL.into_iter().find(|interval| interval.as_str() == value);
    found.ok_or_else(|| wrong("interval", value, "expected minute, hour or day"))
}

fn groups(group: &mut Vec<Dimension>, value: &str) -> Result<(), ApiError> {
    let words = || value.split(',').filter(|word| !word.is_empty());
    if words().next().is_none() {
        return Err(wrong("group", value, "expected values between the commas"));
    }
    for word in words() {
        let found = Dimension::ALL.into_iter().find(|dimension| dimension.as_str() == word);
        let dimension = found.ok_or_else(|| {
            let known = Dimension::ALL.map(Dimension::as_str).join(", ");
            wrong("group", word, &format!("expected some of {known}"))
        })?;
        if !group.contains(&dimension) {
            group.push(dimension);
        }
    }
    Ok(())
}

fn top(value: &str) -> Result<usize, ApiError> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let top = value.parse().ok().filter(|top| digits && (1..=TOP_MAX).contains(top));
    top.ok_or_else(|| wrong("top", value, &format!("expected 1 to {TOP_MAX}")))
}

/// Takes a value of which there can be one.
fn once<T: PartialEq>(
    place: &mut Option<T>,
    name: &str,
    value: &str,
    new: T,
) -> Result<(), ApiError> {
    if place.as_ref().is_some_and(|old| *old != new) {
        return Err(wrong(name, value, "expected once, and it was given another value before"));
    }
    *place = Some(new);
    Ok(())
}
