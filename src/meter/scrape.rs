//! What a scrape says: every instrument, and the figures of the moment.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::gauge::Gauge;

use super::histogram::as_float;
use super::process::ProcessFigures;
use super::text::{MetricsText, written};
use super::{
    ClusterGauges, Connections, Meter, MirrorMode, Outcome, Refused, Requests, TargetMetrics,
};
use crate::domain::{AccountSid, Timestamp};

/// What is looked up at the time of the scrape.
#[derive(Debug, Clone, Default)]
pub struct ScrapeFigures {
    /// Milliseconds since 1970.
    pub now: u64,
    /// The same, of the start of the process.
    pub started_at: u64,
    pub sequence: u64,
    pub checkpoint_sequence: u64,
    /// None while it is not known, as the next two.
    pub calls: Option<u64>,
    pub live_calls: Option<u64>,
    pub tombstones: Option<u64>,
    pub registry_calls: u64,
    pub registry_limit: u64,
    pub queue_events: u64,
    pub queue_limit: u64,
    /// None while it is being built again.
    pub index_bytes: Option<u64>,
    pub index_cache_bytes: u64,
    pub journal_bytes: u64,
    pub journal_segments: u64,
    pub journal_failed: bool,
    /// Free to an ordinary user and in all, of the file system with the data directory.
    pub disk: Option<(u64, u64)>,
    pub disk_least_bytes: u64,
    pub disk_low: bool,
    pub reserve_bytes: u64,
    pub changes: Outcome,
    /// CDRs that wait for their calls.
    pub cdrs_waiting: u64,
    pub failed_authentications: u64,
    pub event_streams: u64,
    /// Of the console, that may still be used.
    pub console_sessions: u64,
    pub accounts: Vec<AccountGauge>,
    /// Webhooks are kept and not passed on; none where there is no target.
    pub forward_paused: Option<bool>,
    pub forward: Vec<TargetGauge>,
    /// The node; none where this is a server by itself.
    pub cluster: Option<ClusterGauges>,
    /// Files with certificates in use, and when they end, in seconds since 1970.
    pub certificates: Vec<(String, u64)>,
}

/// An account that the configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountGauge {
    pub sid: AccountSid,
    /// Active calls.
    pub live: u64,
}

/// A target of webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGauge {
    pub name: String,
    /// Webhooks that wait to be delivered.
    pub queued: u64,
    /// Webhooks that were given up.
    pub aside: u64,
}

/// One of the counters of a listener.
type CountOf = fn(&Connections) -> u64;

/// One of the counters of a target.
type CountOfTarget = fn(&TargetMetrics) -> u64;

/// The text of a scrape.
pub fn scrape(meter: Arc<Meter>, requests: Arc<Requests>, figures: ScrapeFigures) -> String {
    written(Scrape { meter, requests, figures, process: ProcessFigures::read() })
}

#[derive(Debug)]
struct Scrape {
    meter: Arc<Meter>,
    requests: Arc<Requests>,
    figures: ScrapeFigures,
    process: ProcessFigures,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut text = MetricsText(encoder);
        self.process(&mut text)?;
        self.ingest(&mut text)?;
        self.journal(&mut text)?;
        self.index(&mut text)?;
        self.calls(&mut text)?;
        self.sockets(&mut text)?;
        self.mirror(&mut text)?;
        self.cdrs(&mut text)?;
        self.upstream(&mut text)?;
        self.forward(&mut text)?;
        self.cluster(&mut text)?;
        self.requests.write(&mut text)
    }
}

impl Scrape {
    fn process(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let name = "rollcall_build_info";
        let mut build = text.gauges(name, "Always 1; the release is in the label")?;
        build.value(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)?;
        // These names are those of all Prometheus libraries, so that usual dashboards know them.
        let name = "process_start_time_seconds";
        let started = as_float(self.figures.started_at) / 1000.0;
        text.gauge(name, "When the process started, in seconds since 1970", started)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory in use", self.process.resident_bytes),
            ("process_open_fds", "Open files and sockets", self.process.open_files),
            ("process_max_fds", "Files and sockets that may be open", self.process.most_files),
            ("process_threads", "Threads", self.process.threads),
        ] {
            if let Some(value) = value {
                text.number(name, help, value)?;
            }
        }
        Ok(())
    }

    fn ingest(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let (meter, figures) = (&self.meter, &self.figures);
        let name = "rollcall_events_received";
        let help = "Events that hooks brought and that could be read, taken or not";
        text.counter(name, help, meter.events_received.get())?;
        let name = "rollcall_changes";
        let help = "What became of changes that are on disk: events, imported records, deletions";
        let mut changes = text.counters(name, help)?;
        for (result, count) in [
            ("new", figures.changes.new),
            ("changed", figures.changes.changed),
            ("unchanged", figures.changes.unchanged),
            ("ignored", figures.changes.ignored),
        ] {
            changes.value(&[("result", result)], count)?;
        }
        let help = "Events with a status that this release does not know";
        text.counter("rollcall_unknown_statuses", help, figures.changes.unknown_statuses)?;
        let help = "Values of events and records that were too large to be kept";
        text.counter("rollcall_dropped_keys", help, figures.changes.dropped_keys)?;
        let mut unread = text.counters(
            "rollcall_unread_values",
            "Values of events that made no sense and were left out, by field",
        )?;
        for (field, count) in meter.unread_fields() {
            unread.value(&[("field", field)], count)?;
        }
        let mut refused = text.counters(
            "rollcall_hook_requests_refused",
            "Requests of hooks of which nothing was taken, by reason",
        )?;
        for (counter, (_, reason)) in meter.refused.iter().zip(Refused::ALL) {
            refused.value(&[("reason", reason)], counter.get())?;
        }
        let help = "Events that wait to be committed";
        text.number("rollcall_queue_events", help, figures.queue_events)?;
        let help = "Events that may wait; beyond, hooks are answered 503";
        text.number("rollcall_queue_limit_events", help, figures.queue_limit)?;
        let help = "Changes of one commit";
        text.histogram("rollcall_commit_changes", help, &meter.commit_changes)?;
        let help = "Bytes of one commit";
        text.histogram("rollcall_commit_size_bytes", help, &meter.commit_bytes)?;
        let help = "Time to write and sync one commit";
        text.histogram("rollcall_commit_duration_seconds", help, &meter.commit_time)
    }

    fn journal(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let (meter, figures) = (&self.meter, &self.figures);
        text.number("rollcall_journal_bytes", "Size of the journal", figures.journal_bytes)?;
        let help = "Segments of the journal";
        text.number("rollcall_journal_segments", help, figures.journal_segments)?;
        let help = "Time of one sync of the journal to the disk";
        text.histogram("rollcall_journal_sync_duration_seconds", help, &meter.sync_time)?;
        let help = "1 once the journal has failed: nothing more is acknowledged";
        text.number("rollcall_journal_failed", help, u64::from(figures.journal_failed))?;
        if let Some((free, size)) = figures.disk {
            let help = "Room on the file system with the data directory";
            text.number("rollcall_disk_free_bytes", help, free)?;
            let help = "Size of the file system with the data directory";
            text.number("rollcall_disk_size_bytes", help, size)?;
        }
        let help = "Room below which events and imports are refused";
        text.number("rollcall_disk_least_bytes", help, figures.disk_least_bytes)?;
        let help = "1 while events and imports are refused since the disk is short of space";
        text.number("rollcall_disk_low", help, u64::from(figures.disk_low))?;
        let help = "Room that is held for a start on a full disk";
        text.number("rollcall_disk_reserve_bytes", help, figures.reserve_bytes)?;
        Ok(())
    }

    fn index(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let (meter, figures) = (&self.meter, &self.figures);
        let help = "Changes that the last checkpoint does not cover";
        let lag = figures.sequence.saturating_sub(figures.checkpoint_sequence);
        text.number("rollcall_checkpoint_lag_changes", help, lag)?;
        let done = u64::try_from(meter.checkpointed_at.get()).unwrap_or_default();
        let done = if done == 0 { figures.started_at } else { done };
        let age = as_float(figures.now.saturating_sub(done)) / 1000.0;
        let help = "Time since all that should be in the index was there";
        text.gauge("rollcall_checkpoint_age_seconds", help, age)?;
        let help = "Checkpoints that were not taken";
        text.counter("rollcall_checkpoint_failures", help, meter.checkpoints_failed.get())?;
        let help = "Whether lists can be answered; 0 while the index is built again";
        let available = u64::from(figures.index_bytes.is_some());
        text.number("rollcall_index_available", help, available)?;
        if let Some(bytes) = figures.index_bytes {
            text.number("rollcall_index_bytes", "Size of the index on disk", bytes)?;
        }
        let help = "Memory that the cache of the index may take";
        text.number("rollcall_index_cache_limit_bytes", help, figures.index_cache_bytes)?;
        let help = "Rows that were looked at for lists, counts and snapshots";
        text.counter("rollcall_rows_read", help, meter.rows_read.get())?;
        let help = "Indexes that were built anew since the start";
        text.counter("rollcall_index_rebuilds", help, meter.index_rebuilds.get())
    }

    /// Nothing where there is no mirror.
    fn mirror(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let mirror = &self.meter.mirror;
        let Some(state) = mirror.state() else { return Ok(()) };
        let name = "rollcall_mirror_mode";
        let mut modes = text.gauges(name, "1 for how the mirror follows jambonz's Redis now")?;
        for mode in MirrorMode::OWN {
            let value = f64::from(u8::from(mode == state.mode));
            modes.value(&[("mode", mode.as_str())], value)?;
        }
        for (name, help, count) in [
            (
                "rollcall_mirror_events",
                "Events of the mirror that are on disk",
                mirror.events.get(),
            ),
            (
                "rollcall_mirror_found",
                "Events of the mirror that were found by looking through all calls",
                mirror.found.get(),
            ),
            (
                "rollcall_mirror_unreadable",
                "Calls in jambonz's Redis that could not be read",
                mirror.unreadable.get(),
            ),
            (
                "rollcall_mirror_reconciles",
                "Looks of the mirror through all calls that came to their end",
                mirror.reconciles.get(),
            ),
            (
                "rollcall_mirror_failures",
                "Connections of the mirror that were lost or not made",
                mirror.failures.get(),
            ),
            (
                "rollcall_mirror_commands",
                "Commands that the mirror has sent to jambonz's Redis",
                mirror.commands.get(),
            ),
        ] {
            text.counter(name, help, count)?;
        }
        let count = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or_default();
        let help = "Changes in jambonz's Redis that are still to be read";
        text.number("rollcall_mirror_waiting", help, count(&mirror.waiting))?;
        let help = "Calls that the mirror remembers";
        text.number("rollcall_mirror_remembered_calls", help, count(&mirror.remembered))?;
        let help = "Time from the report of a change to its being on disk";
        text.histogram("rollcall_mirror_delay_seconds", help, &mirror.delay)?;
        if let Some(at) = state.reconciled_at {
            let help = "When the mirror had looked through all calls last, in seconds since 1970";
            let seconds = as_float(at.millis()) / 1000.0;
            text.gauge("rollcall_mirror_reconciled_timestamp_seconds", help, seconds)?;
        }
        Ok(())
    }

    /// Nothing where no CDRs are taken.
    fn cdrs(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let cdrs = &self.meter.cdrs;
        let Some(state) = cdrs.state() else { return Ok(()) };
        let help = "Lines that were written to the listener for CDRs";
        let mut lines = text.counters("rollcall_cdr_lines", help)?;
        for (outcome, count) in cdrs.by_outcome() {
            lines.value(&[("outcome", outcome)], count)?;
        }
        let found = self.figures.changes.cdrs;
        let help = "CDRs by how their call was found";
        let mut calls = text.counters("rollcall_cdr_calls", help)?;
        for (by, count) in [
            ("call_sid", found.by_sid),
            ("call_id", found.by_call_id),
            ("waiting", found.waiting),
            ("alone", found.alone),
        ] {
            calls.value(&[("by", by)], count)?;
        }
        for (name, help, count) in [
            (
                "rollcall_cdr_calls_made",
                "Calls of which nothing but CDRs was known in time",
                found.made,
            ),
            (
                "rollcall_cdr_calls_merged",
                "Calls of CDRs alone, or CDRs that waited, that became part of another call",
                found.merged,
            ),
            (
                "rollcall_cdr_requests_unauthorised",
                "Requests with CDRs that had a wrong user or password, or none",
                cdrs.unauthorised.get(),
            ),
            (
                "rollcall_cdr_requests_unread",
                "Requests with CDRs that were too large, or in no form that is known",
                cdrs.unread.get(),
            ),
            (
                "rollcall_cdr_requests_unavailable",
                "Requests with CDRs that were answered 503",
                cdrs.unavailable.get(),
            ),
        ] {
            text.counter(name, help, count)?;
        }
        let help = "CDRs that wait for the call of their Call-ID";
        text.number("rollcall_cdrs_waiting", help, self.figures.cdrs_waiting)?;
        let help = "Time from the end of a call to its CDR being on disk";
        text.histogram("rollcall_cdr_delay_seconds", help, &cdrs.delay)?;
        // An alert for none since the start has something to look at, too.
        let last = state.last_cdr_at.map_or(self.figures.started_at, Timestamp::millis);
        let help =
            "When the last CDR was on disk, or else the process started, in seconds since 1970";
        text.gauge("rollcall_cdr_last_timestamp_seconds", help, as_float(last) / 1000.0)
    }

    /// Nothing where jambonz is not asked about tokens.
    fn upstream(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let upstream = &self.meter.upstream;
        let Some(state) = upstream.state() else { return Ok(()) };
        let help = "0 while jambonz's API does not answer questions about tokens";
        let available = u64::from(state.failing.is_none());
        text.number("rollcall_upstream_available", help, available)?;
        let help = "Questions about tokens to jambonz's API, by their answers";
        let mut questions = text.counters("rollcall_upstream_questions", help)?;
        for (answer, count) in upstream.questions() {
            questions.value(&[("answer", answer.as_str())], count)?;
        }
        let help =
            "Requests that were answered 503 since jambonz could not be asked about their tokens";
        let mut refused = text.counters("rollcall_upstream_unavailable", help)?;
        for (reason, count) in upstream.refused() {
            refused.value(&[("reason", reason.as_str())], count)?;
        }
        let help = "Requests whose tokens jambonz had been asked about before";
        text.counter("rollcall_upstream_cached", help, upstream.cached.get())?;
        let help =
            "Requests that were answered by an older word of jambonz while it could not be asked";
        text.counter("rollcall_upstream_stale", help, upstream.stale.get())?;
        let help = "Answers about tokens that are remembered";
        let remembered = u64::try_from(upstream.remembered.get()).unwrap_or_default();
        text.number("rollcall_upstream_remembered", help, remembered)
    }

    /// Nothing where this is a server by itself.
    fn cluster(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let Some(node) = &self.figures.cluster else { return Ok(()) };
        let metrics = &self.meter.cluster;
        for (name, help, value) in [
            (
                "rollcall_cluster_connected",
                "1 while there is a connection to a server of the log",
                u64::from(node.connected),
            ),
            (
                "rollcall_cluster_ready",
                "1 while this node shows what the log has",
                u64::from(node.ready),
            ),
            (
                "rollcall_cluster_applied",
                "Number of the last message that was applied here",
                node.applied,
            ),
            ("rollcall_cluster_last", "Number of the newest message that is known of", node.last),
            (
                "rollcall_cluster_kept",
                "Messages on this machine alone, until the log takes them",
                node.kept,
            ),
            ("rollcall_cluster_kept_bytes", "Their size", node.kept_bytes),
            (
                "rollcall_cluster_problems",
                "What is not as it should be, as `rollcall status` says it in words",
                node.problems,
            ),
        ] {
            text.number(name, help, value)?;
        }
        if let Some(first) = node.first {
            let help = "Number of the oldest message that the log had when it was looked at last";
            text.number("rollcall_cluster_first", help, first)?;
        }
        for (name, help, value) in [
            (
                "rollcall_cluster_lag_seconds",
                "Age of the first message that was not applied here; 0 where all were",
                node.lag_seconds,
            ),
            (
                "rollcall_cluster_kept_oldest_seconds",
                "Age of the oldest message on this machine alone; 0 where there is none",
                node.kept_oldest_seconds,
            ),
            (
                "rollcall_cluster_clock_skew_seconds",
                "How far a clock is ahead of this machine's, that of the log's leader or of another node: the one that differs most",
                node.clock_skew_seconds,
            ),
        ] {
            text.gauge(name, help, value)?;
        }
        let help = "Time from the receipt of a submission to its being in the log";
        text.histogram("rollcall_cluster_publish_seconds", help, &metrics.publish)?;
        let help = "Submissions that the log did not take in time, and tries to forward what is kept that failed, by the reason";
        let mut failures = text.counters("rollcall_cluster_publish_failures", help)?;
        for (kind, count) in metrics.failures() {
            failures.value(&[("kind", kind)], count)?;
        }
        let help = "Answers of servers that passed over a message";
        text.counter("rollcall_cluster_gaps", help, node.gaps)?;
        let help = "Questions for messages that were asked again";
        text.counter("rollcall_cluster_rereads", help, node.rereads)?;
        let help = "Messages that a server is behind the leader of the log";
        let mut behind = text.gauges("rollcall_cluster_replica_behind", help)?;
        for (server, value) in node.servers.iter().filter_map(|one| Some((&one.name, one.behind?)))
        {
            behind.value(&[("server", server)], as_float(value))?;
        }
        let help = "Messages that a server has lost";
        let mut deleted = text.gauges("rollcall_cluster_replica_deleted", help)?;
        for (server, value) in node.servers.iter().filter_map(|one| Some((&one.name, one.deleted?)))
        {
            deleted.value(&[("server", server)], as_float(value))?;
        }
        let help = "Time since another node was heard, or since the start where it was not";
        let mut seen = text.gauges("rollcall_cluster_node_seen_seconds", help)?;
        for node in &node.nodes {
            seen.value(&[("node", &node.name)], node.seen_seconds)?;
        }
        Ok(())
    }

    /// Nothing where no webhook is passed on.
    fn forward(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let Some(paused) = self.figures.forward_paused else { return Ok(()) };
        let help = "1 while webhooks are kept and not passed on";
        text.number("rollcall_forward_paused", help, u64::from(paused))?;
        let help =
            "Webhooks for no target: of several accounts, of too many calls, or back from a target";
        text.counter("rollcall_forward_passed_over", help, self.meter.forward.passed_over.get())?;
        for (name, help, value) in [
            (
                "rollcall_forward_queued",
                "Webhooks that wait to be passed on",
                (|target: &TargetGauge| target.queued) as fn(&TargetGauge) -> u64,
            ),
            (
                "rollcall_forward_aside",
                "Webhooks that were not passed on in time and wait for `rollcall forward retry`",
                |target: &TargetGauge| target.aside,
            ),
        ] {
            let mut gauges = text.gauges(name, help)?;
            for target in &self.figures.forward {
                gauges.value(&[("target", &target.name)], as_float(value(target)))?;
            }
        }
        let targets = self.meter.forward.all();
        let counters: [(&str, &str, CountOfTarget); 4] = [
            ("rollcall_forward_delivered", "Webhooks that were passed on", |target| {
                target.delivered.get()
            }),
            ("rollcall_forward_set_aside", "Webhooks that were not passed on in time", |target| {
                target.set_aside.get()
            }),
            (
                "rollcall_forward_gone",
                "Webhooks that were not passed on, since their calls were deleted before",
                |target| target.gone.get(),
            ),
            (
                "rollcall_forward_unsigned",
                "Attempts to pass a webhook on without a signature, since its account has no secret",
                |target| target.unsigned.get(),
            ),
        ];
        for (name, help, count) in counters {
            let mut family = text.counters(name, help)?;
            for (target, metrics) in &targets {
                family.value(&[("target", target)], count(metrics))?;
            }
        }
        let help = "Attempts to pass a webhook on that failed, by reason";
        let mut failures = text.counters("rollcall_forward_failures", help)?;
        for (target, metrics) in &targets {
            for (how, count) in metrics.failures() {
                failures.value(&[("target", target), ("reason", how.as_str())], count)?;
            }
        }
        let help = "1 while attempts at a target fail one after the other";
        let mut down = text.gauges("rollcall_forward_down", help)?;
        for (target, metrics) in &targets {
            let is_down = metrics.state().down_since.is_some();
            down.value(&[("target", target)], f64::from(u8::from(is_down)))?;
        }
        let help = "Age of the oldest webhook that waits to be passed on";
        let mut oldest = text.gauges("rollcall_forward_oldest_unsent_seconds", help)?;
        for (target, metrics) in &targets {
            let millis =
                metrics.oldest().map_or(0, |at| self.figures.now.saturating_sub(at.millis()));
            oldest.value(&[("target", target)], as_float(millis) / 1000.0)?;
        }
        let help = "Time from the receipt of a webhook to its delivery";
        let mut delay = text.histograms("rollcall_forward_delay_seconds", help)?;
        for (target, metrics) in &targets {
            delay.value(&[("target", target)], &metrics.delay)?;
        }
        Ok(())
    }

    fn calls(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let (meter, figures) = (&self.meter, &self.figures);
        for (name, help, count) in [
            ("rollcall_calls", "Calls that are known", figures.calls),
            ("rollcall_live_calls", "Active calls", figures.live_calls),
            ("rollcall_tombstones", "Deleted calls that are remembered", figures.tombstones),
        ] {
            // Where a number is not known, none is better than a wrong one.
            if let Some(count) = count {
                text.number(name, help, count)?;
            }
        }
        let help = "Calls that were given up since nothing was heard of them";
        text.counter("rollcall_calls_gone_stale", help, meter.gone_stale.get())?;
        let help = "Calls in memory";
        text.number("rollcall_registry_calls", help, figures.registry_calls)?;
        let help = "Calls that may be in memory; beyond, changes wait";
        text.number("rollcall_registry_limit_calls", help, figures.registry_limit)?;
        if figures.accounts.is_empty() {
            return Ok(());
        }
        let help = "Active calls of the accounts in metrics.accounts";
        let mut live = text.gauges("rollcall_account_live_calls", help)?;
        for AccountGauge { sid, live: calls } in &figures.accounts {
            live.value(&[("account_sid", &sid.to_string())], as_float(*calls))?;
        }
        Ok(())
    }

    fn sockets(&self, text: &mut MetricsText<'_>) -> fmt::Result {
        let meter = &self.meter;
        let all = [
            ("https", &meter.https),
            ("http", &meter.http),
            ("metrics", &meter.metrics),
            ("cdrs", &meter.cdr_connections),
        ];
        let mut open = text.gauges("rollcall_connections", "Connections that are open")?;
        for (listener, connections) in all {
            let now = u64::try_from(connections.open.get()).unwrap_or_default();
            open.value(&[("listener", listener)], as_float(now))?;
        }
        let counters: [(&str, &str, CountOf); 5] = [
            ("rollcall_connections_accepted", "Connections that were accepted", |connections| {
                connections.accepted.get()
            }),
            (
                "rollcall_connections_held_back",
                "Times that the limit was reached and the next connection had to wait",
                |connections| connections.held_back.get(),
            ),
            (
                "rollcall_accept_errors",
                "Connections that the system could not hand over",
                |connections| connections.accept_errors.get(),
            ),
            (
                "rollcall_tls_handshake_failures",
                "TLS handshakes that failed or took too long",
                |connections| connections.handshakes_failed.get(),
            ),
            (
                "rollcall_proxy_header_failures",
                "Connections without the PROXY header that the listener asks for",
                |connections| connections.proxy_headers_failed.get(),
            ),
        ];
        for (name, help, value) in counters {
            let mut family = text.counters(name, help)?;
            for (listener, connections) in all {
                family.value(&[("listener", listener)], value(connections))?;
            }
        }
        let help = "Requests with unknown credentials";
        let failed = self.figures.failed_authentications;
        text.counter("rollcall_failed_authentications", help, failed)?;
        let help = "Audit lines that were left out, since too many came";
        text.counter("rollcall_audit_left_out", help, meter.audit_left_out.get())?;
        text.number(
            "rollcall_console_sessions",
            "Sessions of the console that were not signed out and are not over",
            self.figures.console_sessions,
        )?;
        let help = "Sessions of the console that were begun";
        text.counter("rollcall_console_sign_ins", help, meter.sign_ins.get())?;
        let help = "Wrong tokens and links with which a session of the console was to begin";
        text.counter("rollcall_console_sign_ins_refused", help, meter.sign_ins_refused.get())?;
        text.number(
            "rollcall_event_streams",
            "Event streams of changes",
            self.figures.event_streams,
        )?;
        let help = "When the certificate in a file ends, in seconds since 1970";
        let name = "rollcall_tls_certificate_expiry_timestamp_seconds";
        let mut expiry = text.gauges(name, help)?;
        for (file, seconds) in &self.figures.certificates {
            expiry.value(&[("file", file)], as_float(*seconds))?;
        }
        Ok(())
    }
}
