//! How a scan stands: what was ordered (control state) with what its hosts answered (events).

use std::collections::{BTreeMap, HashMap, HashSet};

use beffroi_bus::control::ScanState;
use beffroi_schema::json::rfc3339;
use beffroi_store::{LastSeen, ScanAnswer, ScanTotals};
use schemars::JsonSchema;
use serde::Serialize;

use crate::desk::ScanLook;
use crate::params;

/// A host that was last heard of longer ago than this is offline: a heartbeat comes every few seconds.
const OFFLINE_AFTER_US: i64 = 60 * 1_000_000;
/// Answers are looked for from this long before the order was given: a gateway's clock may be behind the bus's.
const LOOK_BACK_US: i64 = 10 * 60 * 1_000_000;

/// A scan in one line.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct ScanSummary {
    /// Id of the order.
    pub(crate) order_id: String,
    /// Tenant of its hosts.
    pub(crate) tenant: String,
    /// When it was signed, RFC 3339.
    pub(crate) issued: String,
    /// Until when hosts take it up.
    pub(crate) expires: String,
    /// Who gave it to the API.
    pub(crate) by: String,
    /// Key id of the operator who signed it, as claimed by the envelope: only hosts verify.
    pub(crate) operator_key: String,
    /// For people.
    pub(crate) note: String,
    /// Ticket of the case.
    pub(crate) ticket: String,
    /// Why.
    pub(crate) purpose: String,
    /// Legal basis.
    pub(crate) legal_basis: String,
    /// Traffic light protocol.
    pub(crate) tlp: String,
    /// Permissible actions protocol.
    pub(crate) pap: String,
    /// Paths.
    pub(crate) paths: Vec<String>,
    /// SHA-256 of each rule text.
    pub(crate) rules: Vec<String>,
    /// `running`, `done`, `cancelled` or `expired`.
    pub(crate) state: String,
    /// Every host of the tenant was asked, also those that enrol before it expires.
    pub(crate) whole_tenant: bool,
    /// Hosts that were asked.
    pub(crate) asked: u64,
    /// Hosts that accepted it.
    pub(crate) accepted: u64,
    /// Hosts that are through with it: done, cancelled, expired, failed or refused.
    pub(crate) answered: u64,
    /// Hosts that refused it.
    pub(crate) refused: u64,
    /// Hosts that accepted it and are not through.
    pub(crate) running: u64,
    /// Hosts that have answered nothing and were not heard of for a minute.
    pub(crate) offline: u64,
    /// Files scanned, on all hosts.
    pub(crate) files_scanned: u64,
    /// Files in which a rule matched.
    pub(crate) files_matched: u64,
    /// Files left out: too large, or no regular file.
    pub(crate) files_skipped: u64,
    /// Files whose scan took too long.
    pub(crate) files_timed_out: u64,
    /// Files of which nothing is known: never to be read as clean.
    pub(crate) files_unknown: u64,
    /// Hosts with a match.
    pub(crate) hosts_matched: u64,
}

/// One host of a scan.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ScanHost {
    /// Agent id.
    pub(crate) agent_id: String,
    /// Host name.
    pub(crate) hostname: String,
    /// `offline`, `asked`, `accepted`, `running`, `done`, `refused`, `cancelled`, `expired` or `failed`.
    pub(crate) state: String,
    /// Why it refused, or what it reached.
    pub(crate) reason: String,
    /// Files scanned.
    pub(crate) files_scanned: u64,
    /// Files in which a rule matched.
    pub(crate) files_matched: u64,
    /// Files left out.
    pub(crate) files_skipped: u64,
    /// Files whose scan took too long.
    pub(crate) files_timed_out: u64,
    /// Files of which nothing is known.
    pub(crate) files_unknown: u64,
    /// Entries of archives scanned.
    pub(crate) entries_scanned: u64,
    /// Bytes scanned.
    pub(crate) bytes_scanned: u64,
    /// When it was last heard of in this scan, or at all; empty for never.
    pub(crate) last_ts: String,
}

/// A scan with its hosts.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ScanStatus {
    #[serde(flatten)]
    pub(crate) summary: ScanSummary,
    /// Every host that was asked, by name.
    pub(crate) hosts: Vec<ScanHost>,
}

/// A scan as it was ordered, with the hosts that were asked (agent id, name).
pub(super) struct Ordered {
    pub(super) state: ScanState,
    pub(super) asked: BTreeMap<String, String>,
}

impl Ordered {
    pub(super) fn of(look: ScanLook<'_>) -> Self {
        let asked = look.asked().into_iter().map(|(id, agent)| (id.to_string(), agent.host.hostname.clone())).collect();
        Self { state: look.scan.clone(), asked }
    }

    pub(super) fn id(&self) -> String {
        self.state.scan.order_id.clone()
    }

    /// From when its answers can have been received.
    pub(super) fn since(&self) -> i64 {
        self.state.at.saturating_sub(LOOK_BACK_US)
    }

    fn plain(&self) -> ScanSummary {
        let scan = self.state.scan.clone();
        ScanSummary {
            order_id: scan.order_id,
            tenant: scan.tenant,
            issued: rfc3339(scan.issued),
            expires: rfc3339(scan.expires),
            by: self.state.by.clone(),
            operator_key: scan.operator_key,
            note: scan.note,
            ticket: scan.ticket,
            purpose: scan.purpose,
            legal_basis: scan.legal_basis,
            tlp: scan.tlp,
            pap: scan.pap,
            paths: scan.paths,
            rules: scan.rules,
            whole_tenant: scan.whole_tenant,
            asked: self.asked.len() as u64,
            ..ScanSummary::default()
        }
    }

    /// In one word.
    fn word(&self, summary: &ScanSummary, now: i64) -> &'static str {
        if self.state.cancelled.is_some() {
            "cancelled"
        } else if summary.asked > 0 && summary.answered >= summary.asked {
            "done"
        } else if now >= self.state.scan.expires {
            "expired"
        } else {
            "running"
        }
    }
}

/// When each host was last heard of.
pub(super) struct Seen(HashMap<String, LastSeen>);

impl Seen {
    pub(super) fn new(rows: Vec<LastSeen>) -> Self {
        Self(rows.into_iter().map(|row| (row.agent_id.clone(), row)).collect())
    }

    fn is_offline(&self, agent: &str, now: i64) -> bool {
        self.0.get(agent).is_none_or(|row| row.last_seen_us < now - OFFLINE_AFTER_US)
    }

    fn last(&self, agent: &str) -> String {
        self.0.get(agent).map(|row| rfc3339(row.last_seen_us)).unwrap_or_default()
    }
}

/// One line of a list, for a scan of a whole tenant.
pub(super) fn summary(ordered: &Ordered, totals: Option<&ScanTotals>, seen: &Seen) -> ScanSummary {
    let (mut line, now) = (ordered.plain(), params::now());
    let nothing = ScanTotals::default();
    let totals = totals.unwrap_or(&nothing);
    let heard: HashSet<&str> = totals.heard.iter().map(String::as_str).collect();
    let silent = ordered.asked.keys().filter(|agent| !heard.contains(agent.as_str()));
    // A host that was cut off before and answers all the same must not make a scan look more complete than it is.
    line.accepted = totals.accepted.min(line.asked);
    line.answered = totals.answered.min(line.asked);
    line.refused = totals.refused.min(line.asked);
    line.running = totals.running.min(line.asked);
    line.offline = silent.filter(|agent| seen.is_offline(agent, now)).count() as u64;
    line.files_scanned = totals.files_scanned;
    line.files_matched = totals.files_matched;
    line.files_skipped = totals.files_skipped;
    line.files_timed_out = totals.files_timed_out;
    line.files_unknown = totals.files_unknown;
    line.hosts_matched = totals.hosts_matched.min(line.asked);
    line.state = ordered.word(&line, now).into();
    line
}

/// The whole of it. Answers of hosts that were not asked are left out.
pub(super) fn status(ordered: &Ordered, answers: Vec<ScanAnswer>, seen: &Seen) -> ScanStatus {
    let (mut line, now) = (ordered.plain(), params::now());
    let mut answers: HashMap<String, ScanAnswer> = answers.into_iter().map(|it| (it.agent_id.clone(), it)).collect();
    let mut hosts = Vec::with_capacity(ordered.asked.len());
    for (agent, name) in &ordered.asked {
        let host = match answers.remove(agent) {
            Some(answer) => answered(answer, name),
            None => silent(agent, name, seen, now),
        };
        count(&mut line, &host);
        hosts.push(host);
    }
    hosts.sort_by(|a, b| (&a.hostname, &a.agent_id).cmp(&(&b.hostname, &b.agent_id)));
    line.state = ordered.word(&line, now).into();
    ScanStatus { summary: line, hosts }
}

fn count(line: &mut ScanSummary, host: &ScanHost) {
    match host.state.as_str() {
        "offline" => line.offline += 1,
        "refused" => (line.refused, line.answered) = (line.refused + 1, line.answered + 1),
        "done" | "cancelled" | "expired" | "failed" => (line.accepted, line.answered) = (line.accepted + 1, line.answered + 1),
        "accepted" | "running" => (line.accepted, line.running) = (line.accepted + 1, line.running + 1),
        _ => {}
    }
    line.files_scanned += host.files_scanned;
    line.files_matched += host.files_matched;
    line.files_skipped += host.files_skipped;
    line.files_timed_out += host.files_timed_out;
    line.files_unknown += host.files_unknown;
    line.hosts_matched += u64::from(host.files_matched > 0);
}

fn answered(answer: ScanAnswer, name: &str) -> ScanHost {
    ScanHost {
        agent_id: answer.agent_id,
        hostname: if name.is_empty() { answer.hostname } else { name.to_owned() },
        state: answer.state,
        reason: answer.reason,
        files_scanned: answer.files_scanned,
        files_matched: answer.files_matched,
        files_skipped: answer.files_skipped,
        files_timed_out: answer.files_timed_out,
        files_unknown: answer.files_unknown,
        entries_scanned: answer.entries_scanned,
        bytes_scanned: answer.bytes_scanned,
        last_ts: answer.last_ts,
    }
}

fn silent(agent: &str, name: &str, seen: &Seen, now: i64) -> ScanHost {
    ScanHost {
        agent_id: agent.to_owned(),
        hostname: name.to_owned(),
        state: if seen.is_offline(agent, now) { "offline" } else { "asked" }.into(),
        reason: String::new(),
        files_scanned: 0,
        files_matched: 0,
        files_skipped: 0,
        files_timed_out: 0,
        files_unknown: 0,
        entries_scanned: 0,
        bytes_scanned: 0,
        last_ts: seen.last(agent),
    }
}
