//! What answers say, the same for all who are asked, so that they can be compared.

use serde_json::Value;

use super::side::Answer;
use crate::harness::Outcome;

/// An answer as lines; those of two servers are the same where both say the same.
pub type Reader = fn(&Answer) -> Outcome<Vec<String>>;

/// The sids of a list, in its order.
pub fn list(answer: &Answer) -> Outcome<Vec<String>> {
    rows(&answer.body)?.iter().map(|row| Ok(text(row, "call_sid")?.to_owned())).collect()
}

/// How many calls a list has in all: in its header, or as the whole answer.
pub fn total(answer: &Answer) -> Outcome<Vec<String>> {
    let total = match answer.total {
        Some(total) => total,
        None => std::str::from_utf8(&answer.body)?.parse()?,
    };
    Ok(vec![total.to_string()])
}

/// How many calls of each direction have which status, as `CallStats` says it.
pub fn standing(answer: &Answer) -> Outcome<Vec<String>> {
    let all: Value = serde_json::from_slice(&answer.body)?;
    let mut lines = Vec::new();
    for direction in ["inbound", "outbound"] {
        let counts = all.get(direction).and_then(Value::as_object).ok_or("no directions")?;
        let some = counts.iter().filter(|(name, count)| *name != "total" && **count != 0);
        lines.extend(some.map(|(name, count)| format!("{direction} {name} {count}")));
    }
    lines.sort();
    Ok(lines)
}

/// The same, as rows.
pub fn standing_rows(answer: &Answer) -> Outcome<Vec<String>> {
    let line = |row: &Value| {
        let (direction, status) = (text(row, "direction")?, text(row, "call_status")?);
        Ok(format!("{direction} {status} {}", number(row, "calls")?))
    };
    sorted(rows(&answer.body)?.iter().map(line))
}

/// Calls, answered ones and seconds of each hour, and of each status where they are told apart.
pub fn hours(answer: &Answer) -> Outcome<Vec<String>> {
    let all: Value = serde_json::from_slice(&answer.body)?;
    let buckets = all.get("buckets").and_then(Value::as_array).ok_or("no buckets")?;
    let mut lines = Vec::new();
    for bucket in buckets {
        let start = text(bucket, "start")?;
        let groups = bucket.get("groups").and_then(Value::as_array);
        let rows = groups.map_or_else(|| vec![bucket], |groups| groups.iter().collect());
        // An hour in which a call goes on and none begins has a peak alone.
        let begun = rows.into_iter().filter(|row| row.get("calls").is_some_and(|n| *n != 0));
        for row in begun {
            lines.push(figures(start, row));
        }
        if bucket.get("other").is_some() {
            return Err("not all groups are told apart".into());
        }
    }
    sorted(lines.into_iter())
}

/// The same, as rows.
pub fn hour_rows(answer: &Answer) -> Outcome<Vec<String>> {
    sorted(rows(&answer.body)?.iter().map(|row| figures(text(row, "start")?, row)))
}

/// The total of recent calls, and the sids of the page in its order.
pub fn recent(answer: &Answer) -> Outcome<Vec<String>> {
    let all: Value = serde_json::from_slice(&answer.body)?;
    let data = all.get("data").and_then(Value::as_array).ok_or("no data")?;
    let mut lines = vec![format!("total {}", number(&all, "total")?)];
    for row in data {
        lines.push(text(row, "call_sid")?.to_owned());
    }
    Ok(lines)
}

/// SQL has no answer at all where there is no row.
fn rows(body: &[u8]) -> Outcome<Vec<Value>> {
    if body.is_empty() { Ok(Vec::new()) } else { Ok(serde_json::from_slice(body)?) }
}

fn figures(start: &str, row: &Value) -> Outcome<String> {
    // Up to the hour, which both write alike.
    let hour: String = start.chars().take("2026-01-01T00".len()).collect();
    let status = row.get("status").and_then(Value::as_str).unwrap_or("all");
    let [calls, answered, seconds] = ["calls", "answered", "seconds"].map(|name| number(row, name));
    Ok(format!("{hour} {status}: {} calls, {} answered, {} s", calls?, answered?, seconds?))
}

fn sorted(lines: impl Iterator<Item = Outcome<String>>) -> Outcome<Vec<String>> {
    let mut lines = lines.collect::<Outcome<Vec<_>>>()?;
    lines.sort();
    Ok(lines)
}

fn text<'v>(row: &'v Value, name: &str) -> Outcome<&'v str> {
    Ok(row.get(name).and_then(Value::as_str).ok_or_else(|| format!("no {name} in {row}"))?)
}

fn number(row: &Value, name: &str) -> Outcome<u64> {
    Ok(row.get(name).and_then(Value::as_u64).ok_or_else(|| format!("no {name} in {row}"))?)
}
