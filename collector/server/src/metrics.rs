//! Every metric of the collector: its name, what it counts, and the series that stand there as zero from the start.
//!
//! A counter that appears with its first error is a trap: until then a graph cannot tell "never" from "not asked", and the first
//! error is no increase of anything. So whoever starts a role gets that role's series at once. The figures themselves belong to
//! the crates that count; a test compares this table with their sources.

use beffroi_bus::Topic;
use beffroi_schema::Stream;
use metrics::{Label, Unit};

use crate::config::{Config, Role};

/// Who counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Process,
    Gateway,
    Enroll,
    Detect,
    Store,
    Api,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Summary,
}

/// Series of a metric: none of them known before, or all combinations of these labels.
type Series = &'static [(&'static str, fn() -> Vec<&'static str>)];

struct Metric {
    name: &'static str,
    kind: Kind,
    owner: Owner,
    unit: Unit,
    series: Option<Series>,
    help: &'static str,
}

const fn counter(name: &'static str, owner: Owner, series: Series, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, owner, unit: Unit::Count, series: Some(series), help }
}

/// A summary in seconds.
const fn summary(name: &'static str, owner: Owner, series: Series, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Summary, owner, unit: Unit::Seconds, series: Some(series), help }
}

/// A gauge that is there once it is known: zero would be a claim.
const fn gauge(name: &'static str, owner: Owner, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, owner, unit: Unit::Count, series: None, help }
}

const PLAIN: Series = &[];
const TOPICS: Series = &[("topic", topics)];
const TABLES: Series = &[("table", tables)];

fn topics() -> Vec<&'static str> {
    Topic::ALL.map(Topic::name).to_vec()
}

fn streams() -> Vec<&'static str> {
    Stream::ALL.map(Stream::name).to_vec()
}

fn tables() -> Vec<&'static str> {
    vec!["events", "gaps", "heartbeats", "heads", "hosts", "ledger", "matches", "dead_letters", "audit", "control"]
}

fn outcomes() -> Vec<&'static str> {
    vec!["ok", "error"]
}

static METRICS: &[Metric] = &[
    gauge("beffroi_role_ready", Owner::Process, "1 while the role can do its work, else 0"),
    gauge("beffroi_bus_lag_records", Owner::Process, "Records that the group has yet to read"),
    counter("beffroi_bus_published_total", Owner::Process, &[("topic", topics), ("outcome", outcomes)], "Records published"),
    summary("beffroi_bus_publish_seconds", Owner::Process, TOPICS, "Time until a record was durable"),
    counter("beffroi_bus_records_lost_total", Owner::Process, TOPICS, "Records that fell to damage of the embedded bus"),
    counter("beffroi_bus_dropped_bytes_total", Owner::Process, TOPICS, "Bytes that the embedded bus dropped by its limits"),
    counter("beffroi_bus_unread_dropped_total", Owner::Process, TOPICS, "Records dropped before every group had read them"),
    counter("beffroi_bus_control_unreadable_total", Owner::Process, PLAIN, "Control records of a newer version, passed by"),
    counter("beffroi_gateway_batches_total", Owner::Gateway, &[("stream", streams)], "Batches accepted"),
    counter("beffroi_gateway_bytes_total", Owner::Gateway, PLAIN, "Bytes of accepted batches"),
    summary("beffroi_gateway_publish_seconds", Owner::Gateway, PLAIN, "Time until a batch was durable on the bus"),
    counter("beffroi_gateway_refused_total", Owner::Gateway, &[("code", refusals)], "Refusals, by code"),
    counter("beffroi_gateway_identity_mismatch_total", Owner::Gateway, PLAIN, "Batches whose header is not their certificate's"),
    Metric { series: Some(PLAIN), ..gauge("beffroi_gateway_sessions", Owner::Gateway, "Agents' connections that are open") },
    counter("beffroi_gateway_sessions_cut_total", Owner::Gateway, &[("why", cuts)], "Sessions ended by the gateway"),
    counter("beffroi_gateway_connections_dropped_total", Owner::Gateway, &[("limit", limits)], "Connections over a limit"),
    counter("beffroi_gateway_handshakes_failed_total", Owner::Gateway, PLAIN, "TLS handshakes that failed"),
    counter("beffroi_gateway_orders_sent_total", Owner::Gateway, PLAIN, "Orders handed to agents"),
    counter("beffroi_gateway_orders_unreadable_total", Owner::Gateway, PLAIN, "Orders on the bus that are none"),
    counter("beffroi_gateway_orders_evicted_total", Owner::Gateway, PLAIN, "Orders that made room for newer ones"),
    counter("beffroi_gateway_blobs_total", Owner::Gateway, &[("outcome", found)], "Rule texts asked for by hosts"),
    counter("beffroi_gateway_blobs_refused_total", Owner::Gateway, PLAIN, "Rule texts for which there was no room"),
    counter("beffroi_enroll_hosts_total", Owner::Enroll, PLAIN, "Hosts enrolled"),
    counter("beffroi_enroll_certificates_total", Owner::Enroll, PLAIN, "Certificates issued"),
    counter("beffroi_detect_batches_total", Owner::Detect, PLAIN, "Batches judged"),
    counter("beffroi_detect_events_total", Owner::Detect, PLAIN, "Records judged"),
    counter("beffroi_detect_matches_total", Owner::Detect, PLAIN, "Matches published"),
    counter("beffroi_detect_rule_matches_total", Owner::Detect, &[("rule", not_known)], "Matches of each rule"),
    counter(
        "beffroi_detect_rule_looked_total",
        Owner::Detect,
        &[("rule", not_known)],
        "Events that made each rule be looked at, estimated",
    ),
    counter(
        "beffroi_detect_rule_bytes_total",
        Owner::Detect,
        &[("rule", not_known)],
        "Bytes that each rule's tests were put to, estimated",
    ),
    counter("beffroi_detect_dead_letters_total", Owner::Detect, &[("code", letters)], "Batches put aside, by reason"),
    counter("beffroi_detect_holes_total", Owner::Detect, PLAIN, "Missing numbers that no gap declared"),
    summary("beffroi_detect_delay_seconds", Owner::Detect, PLAIN, "From the gateway's stamp to the verdict"),
    gauge("beffroi_detect_rules", Owner::Detect, "Rules in force"),
    gauge("beffroi_detect_rules_refused", Owner::Detect, "Rules that could not be loaded"),
    gauge("beffroi_detect_correlations", Owner::Detect, "Correlations in force"),
    gauge("beffroi_detect_correlation_groups", Owner::Detect, "Groups that correlations keep"),
    gauge("beffroi_detect_correlation_bytes", Owner::Detect, "Bytes that correlations keep, estimated"),
    counter("beffroi_detect_correlation_matches_total", Owner::Detect, PLAIN, "Alerts that correlations made"),
    counter("beffroi_detect_correlation_late_total", Owner::Detect, PLAIN, "Events that came too late for correlations"),
    counter("beffroi_detect_correlation_overflow_total", Owner::Detect, PLAIN, "What correlations gave up for want of room"),
    counter("beffroi_detect_detections_refused_total", Owner::Detect, PLAIN, "Detections that could not be read"),
    counter("beffroi_store_records_total", Owner::Store, TOPICS, "Records taken from the bus"),
    counter("beffroi_store_batches_total", Owner::Store, &[("outcome", stored)], "Agents' batches, by outcome"),
    counter("beffroi_store_unreadable_total", Owner::Store, TOPICS, "Records that are not what their topic holds"),
    counter("beffroi_store_rows_total", Owner::Store, TABLES, "Rows inserted"),
    counter("beffroi_store_bytes_total", Owner::Store, TABLES, "Bytes inserted, uncompressed"),
    counter("beffroi_store_insert_errors_total", Owner::Store, TABLES, "Inserts that ClickHouse did not take; they are repeated"),
    summary("beffroi_store_insert_seconds", Owner::Store, TABLES, "Time of an insert"),
    summary("beffroi_store_batch_seconds", Owner::Store, TOPICS, "Time of a batch of the bus, from reading to standing"),
    summary("beffroi_store_alert_delay_seconds", Owner::Store, PLAIN, "From the verdict until the alert stands"),
    gauge("beffroi_store_undeclared_holes", Owner::Store, "Missing numbers that no agent declared lost"),
    gauge("beffroi_store_identity_conflicts", Owner::Store, "Event ids that stand for two contents"),
    counter("beffroi_store_queries_total", Owner::Api, &[("query", not_known), ("outcome", outcomes)], "Questions to ClickHouse"),
    summary("beffroi_store_query_seconds", Owner::Api, &[("query", not_known)], "Time of a question to ClickHouse"),
    counter("beffroi_api_requests_total", Owner::Api, &[("route", not_known), ("status", not_known)], "Calls answered"),
    summary("beffroi_api_request_seconds", Owner::Api, &[("route", not_known)], "Time of a call"),
    counter("beffroi_api_unauthorized_total", Owner::Api, PLAIN, "Calls without a token that is known"),
    counter("beffroi_api_rate_limited_total", Owner::Api, &[("class", classes)], "Calls over a limit"),
    counter("beffroi_console_pages_total", Owner::Api, &[("status", statuses)], "Pages of the console"),
];

/// The codes that are most often of interest; others appear when they occur.
fn refusals() -> Vec<&'static str> {
    vec!["malformed", "identity_mismatch", "token_wrong", "over_quota", "too_large", "bus_unavailable", "agent_revoked"]
}

fn letters() -> Vec<&'static str> {
    vec![
        "malformed",
        "too_large",
        "version",
        "header",
        "identity",
        "signature",
        "compression",
        "record",
        "numbers",
        "chain",
        "tenant",
    ]
}

fn cuts() -> Vec<&'static str> {
    vec!["revoked", "too_many"]
}

fn limits() -> Vec<&'static str> {
    vec!["unauthenticated"]
}

fn stored() -> Vec<&'static str> {
    vec!["stored"]
}

fn found() -> Vec<&'static str> {
    vec!["found", "missing"]
}

fn classes() -> Vec<&'static str> {
    vec!["read", "search", "change"]
}

fn statuses() -> Vec<&'static str> {
    vec!["200", "303", "404"]
}

/// Names of questions and routes are known to those who ask and answer only.
fn not_known() -> Vec<&'static str> {
    Vec::new()
}

/// Describes the metrics of the process's roles and lets those of their series that are known stand there.
pub fn declare(config: &Config) {
    let roles: &[(Owner, &[Role])] = &[
        (Owner::Process, &[Role::Gateway, Role::Enroll, Role::Detect, Role::Store, Role::Api]),
        (Owner::Gateway, &[Role::Gateway, Role::Enroll]),
        (Owner::Enroll, &[Role::Enroll]),
        (Owner::Detect, &[Role::Detect]),
        (Owner::Store, &[Role::Store]),
        // The store asks as well, for holes.
        (Owner::Api, &[Role::Api, Role::Store]),
    ];
    let here = |owner| roles.iter().any(|(of, roles)| *of == owner && roles.iter().any(|role| config.has(*role)));
    METRICS.iter().filter(|metric| here(metric.owner)).for_each(Metric::declare);
}

impl Metric {
    fn declare(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.unit, self.help),
            Kind::Summary => metrics::describe_histogram!(self.name, self.unit, self.help),
        }
        for labels in self.series.map(combinations).unwrap_or_default() {
            match self.kind {
                Kind::Counter => metrics::counter!(self.name, labels).increment(0),
                Kind::Gauge => metrics::gauge!(self.name, labels).increment(0.0),
                // A summary without a sample stands there with quantiles of zero.
                Kind::Summary => drop(metrics::histogram!(self.name, labels)),
            }
        }
    }
}

/// Every combination of the labels' values.
fn combinations(series: Series) -> Vec<Vec<Label>> {
    series.iter().fold(vec![Vec::new()], |sets, (label, values)| {
        let with = |set: &Vec<Label>, value| {
            let mut set = set.clone();
            set.push(Label::new(*label, value));
            set
        };
        sets.iter().flat_map(|set| values().into_iter().map(move |value| with(set, value))).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;

    /// Names and kinds of `metrics::kind!("name"` in the sources of the collector.
    fn counted() -> BTreeMap<String, Kind> {
        let mut found = BTreeMap::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for (word, kind) in [("counter!(", Kind::Counter), ("gauge!(", Kind::Gauge), ("histogram!(", Kind::Summary)] {
                        let after = text.split(word).skip(1).filter_map(|rest| rest.trim_start().strip_prefix("\"beffroi_"));
                        found.extend(after.map(|rest| (format!("beffroi_{}", rest.split('"').next().unwrap()), kind)));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn the_table_names_what_the_sources_count_and_nothing_else() {
        let table: BTreeMap<String, Kind> = METRICS.iter().map(|metric| (metric.name.to_owned(), metric.kind)).collect();
        assert_eq!(table.len(), METRICS.len(), "a metric stands twice in the table");
        assert_eq!(table, counted());
    }

    #[test]
    fn labels_give_every_combination_once() {
        let sets = combinations(&[("topic", topics), ("outcome", outcomes)]);
        let text: BTreeSet<String> = sets.iter().map(|set| format!("{set:?}")).collect();
        assert_eq!((sets.len(), text.len()), (14, 14));
        assert_eq!(combinations(PLAIN), [Vec::new()]);
        assert!(combinations(&[("query", not_known)]).is_empty());
    }
}
