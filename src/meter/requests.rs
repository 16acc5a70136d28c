//! Requests by route, method and status, and how long they took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Histogram;
use super::text::MetricsText;

/// The routes of an API, by the templates of their paths; the last one is for all other paths.
pub type Routes = &'static [&'static str];

/// Methods with a label of their own.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
/// Statuses with a label of their own: those that rollcall answers, and usual ones of others.
const STATUSES: [u16; 26] = [
    200, 201, 202, 204, 301, 302, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429,
    431, 480, 500, 501, 502, 503, 504,
];
const OTHER: &str = "other";
/// Bounds of the time until an answer begins, in microseconds.
const ANSWER_MICROS: &[u64] = &[
    500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Counters for every route, method and status that there may be.
#[derive(Debug)]
pub struct Requests {
    routes: Routes,
    cells: Box<[Cell]>,
}

/// One route and method.
#[derive(Debug)]
struct Cell {
    /// By [`STATUSES`]; the last one is for all others. Plain numbers: there are thousands of them.
    statuses: [AtomicU64; STATUSES.len() + 1],
    time: Histogram,
}

impl Requests {
    /// Counters for these routes.
    pub fn new(routes: Routes) -> Self {
        let cells = (0..routes.len() * (METHODS.len() + 1)).map(|_| Cell {
            statuses: Default::default(),
            time: Histogram::of_micros(ANSWER_MICROS),
        });
        Self { routes, cells: cells.collect() }
    }

    /// Counts a request to one of the routes, by its number, that was answered after this time.
    pub fn count(&self, route: usize, method: &str, status: u16, time: Duration) {
        let method = METHODS.iter().position(|name| *name == method).unwrap_or(METHODS.len());
        let route = route.min(self.routes.len().saturating_sub(1));
        let Some(cell) = self.cells.get(route * (METHODS.len() + 1) + method) else { return };
        let place = STATUSES.binary_search(&status).unwrap_or(STATUSES.len());
        if let Some(counter) = cell.statuses.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        cell.time.observe_time(time);
    }

    /// Each cell that has been used, with route and method.
    fn used(&self) -> impl Iterator<Item = (&'static str, &'static str, &Cell)> {
        let methods = METHODS.into_iter().chain([OTHER]);
        let names = self.routes.iter().flat_map(move |route| {
            let methods = methods.clone();
            methods.map(move |method| (*route, method))
        });
        let named = names.zip(self.cells.iter());
        named.filter_map(|((route, method), cell)| {
            (!cell.time.is_empty()).then_some((route, method, cell))
        })
    }

    pub(super) fn write(&self, text: &mut MetricsText<'_>) -> std::fmt::Result {
        let name = "rollcall_http_requests";
        let mut family = text.counters(name, "Requests that were answered, by path template")?;
        for (route, method, cell) in self.used() {
            let counts = cell.statuses.iter().map(|count| count.load(Ordering::Relaxed));
            for (n, count) in counts.enumerate().filter(|(_, count)| *count > 0) {
                let status = STATUSES.get(n).map_or_else(|| OTHER.to_owned(), u16::to_string);
                let labels = [("route", route), ("method", method), ("status", &status)];
                family.value(&labels, count)?;
            }
        }
        let name = "rollcall_http_request_duration_seconds";
        let help = "Time until an answer begins; the body of a long one comes after it";
        let mut family = text.histograms(name, help)?;
        for (route, method, cell) in self.used() {
            family.value(&[("route", route), ("method", method)], &cell.time)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_counted_as_other() {
        assert!(STATUSES.is_sorted());
        let requests = Requests::new(&["/a", "other"]);
        let time = Duration::from_millis(1);
        requests.count(0, "GET", 200, time);
        requests.count(1, "PROPFIND", 299, time);
        requests.count(77, "GET", 404, time);
        let used: Vec<_> = requests.used().map(|(route, method, _)| (route, method)).collect();
        assert_eq!(used, [("/a", "GET"), ("other", "GET"), ("other", "other")]);
        let last = requests.used().last().unwrap().2;
        assert_eq!(last.statuses[STATUSES.len()].load(Ordering::Relaxed), 1);
    }
}
