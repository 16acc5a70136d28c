//! CDRs that an `InfluxDB` has: read back by query, for what was missed.
//!
//! Its points have the time of the attempt, and a call that was missed may have begun long before. So what
//! is read begins earlier by the longest time that a call may take, and of that only calls that ended since
//! are taken.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::influx::{Influx, InfluxError, Series, quoted_name};
use super::point::{Cdr, PointError};
use crate::domain::{Call, StampedEvent, Timestamp, merge};

const MEASUREMENT: &str = "cdrs";
/// Rows of one answer.
const PAGE_ROWS: usize = 2000;
/// How much time one query is about at first, and at most, in milliseconds.
const WINDOW_MIN: u64 = 60 * 60 * 1000;
const WINDOW_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// What is to be read.
#[derive(Debug, Clone)]
pub struct Backfill {
    pub database: String,
    /// Calls that ended at this time or later.
    pub from: Timestamp,
    /// Calls that began before this time.
    pub to: Timestamp,
    /// How long a call takes at most, in milliseconds.
    pub longest: u64,
}

/// What one query has found.
#[derive(Debug, Default)]
pub struct Found {
    /// A record for each CDR.
    pub calls: Vec<Call>,
    /// Why rows are not taken.
    pub refused: Vec<PointError>,
}

impl Backfill {
    /// Reads all of it and hands it on, page by page, with the time that has been reached.
    ///
    /// # Errors
    /// `InfluxDB` does not answer as it should, or `hand_on` wants no more.
    pub async fn read<E: From<InfluxError>>(
        &self,
        influx: &Influx,
        now: Timestamp,
        mut hand_on: impl FnMut(Found, Timestamp) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut begin = self.from.minus_millis(self.longest);
        let mut window = WINDOW_MIN;
        while begin < self.to {
            let end = begin.plus_millis(window).min(self.to);
            let mut rows = 0;
            // Where the next page begins. Rows of one time have an order within one query alone, so that those of
            // that time come again, and are known then.
            let (mut at, mut skipped, mut known) = (nanoseconds(begin), 0, HashSet::new());
            loop {
                let query = format!(
                    "SELECT * FROM {} WHERE time >= {at} AND time < {} ORDER BY time ASC LIMIT {PAGE_ROWS} \
                     OFFSET {skipped}",
                    quoted_name(MEASUREMENT),
                    nanoseconds(end)
                );
                let mut series = influx.find(&self.database, &query).await.map_err(E::from)?;
                let page: usize = series.iter().map(|series| series.values.len()).sum();
                let is_cut = series.iter().any(|series| series.partial);
                let last = series.iter().flat_map(times).max();
                let last = last.filter(|_| page == PAGE_ROWS || is_cut);
                for series in &mut series {
                    series.values.retain(|row| !known.contains(&text_of(row)));
                    rows += series.values.len();
                }
                match last {
                    Some(last) if last > at => {
                        known = series.iter().flat_map(|series| rows_at(series, last)).collect();
                        (at, skipped) = (last, 0);
                    }
                    _ => skipped += page,
                }
                hand_on(self.found(series, now), begin)?;
                if last.is_none() {
                    break;
                }
            }
            begin = end;
            window = if rows > PAGE_ROWS { WINDOW_MIN } else { (window * 2).min(WINDOW_MAX) };
        }
        Ok(())
    }

    fn found(&self, series: Vec<Series>, now: Timestamp) -> Found {
        let mut found = Found::default();
        for series in series {
            let time = series.column("time");
            for row in series.values {
                let point = time.and_then(|place| row.get(place)).and_then(Json::as_i64);
                let columns = series.columns.iter().zip(row).enumerate();
                let values = columns.filter(|(place, _)| Some(*place) != time);
                let values = values.map(|(_, (column, value))| (column.clone(), value));
                let values: Map<String, Json> = without_unknown(values).collect();
                match Cdr::of(values, MEASUREMENT, point.map(i128::from), now) {
                    Ok(Cdr::Event(event, _)) if self.is_meant(&event) => {
                        found.calls.push(merge(None, *event, now));
                    }
                    Ok(_) => {}
                    Err(error) => found.refused.push(error),
                }
            }
        }
        found
    }

    fn is_meant(&self, event: &StampedEvent) -> bool {
        let ended = event.stamp.terminated_at.or(event.stamp.attempted_at);
        ended.is_none_or(|ended| ended >= self.from)
    }
}

/// As `InfluxDB` counts them, since 1970.
fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.millis()).map_or(i64::MAX, |millis| millis.saturating_mul(1_000_000))
}

/// The times of the rows, in nanoseconds since 1970.
fn times(series: &Series) -> impl Iterator<Item = i64> {
    series.values.iter().filter_map(|row| time_of(series, row))
}

/// The rows of that time, as texts.
fn rows_at(series: &Series, time: i64) -> impl Iterator<Item = String> {
    let rows = series.values.iter().filter(move |row| time_of(series, row) == Some(time));
    rows.map(|row| text_of(row))
}

fn time_of(series: &Series, row: &[Json]) -> Option<i64> {
    row.get(series.column("time")?)?.as_i64()
}

fn text_of(row: &[Json]) -> String {
    let values: Vec<String> = row.iter().map(Json::to_string).collect();
    values.join(",")
}

/// Values that are none, left out.
fn without_unknown(
    values: impl Iterator<Item = (String, Json)>,
) -> impl Iterator<Item = (String, Json)> {
    values.filter(|(_, value)| value.as_str() != Some(super::UNKNOWN))
}
