//! Rows of dead letters, audit and control: projections of their topics.

use beffroi_schema::alert::DeadLetter;
use beffroi_schema::control::{Change, ControlRecord};

use super::binary::{int, length, text, time};

pub(crate) const DEAD_LETTER_COLUMNS: &str =
    "topic, partition, offset, record_index, code, reason, ts, stored_at, tenant, key, headers, value";
pub(crate) const AUDIT_COLUMNS: &str = "bus, offset, ts, stored_at, document";
pub(crate) const CONTROL_COLUMNS: &str = "bus, offset, ts, stored_at, kind, by, tenant, agent, document";

/// Writes one dead letter.
pub(crate) fn dead_letter(out: &mut Vec<u8>, letter: &DeadLetter, stored_at: i64) {
    text(out, &letter.topic);
    out.extend_from_slice(&letter.partition.to_le_bytes());
    int(out, letter.offset);
    int(out, letter.index.map_or(-1, |index| index as i64));
    text(out, &letter.code);
    text(out, &letter.reason);
    time(out, crate::time::clamp_received(letter.ts));
    time(out, stored_at);
    text(out, &letter.tenant);
    text(out, &letter.key);
    length(out, letter.headers.len());
    for (name, value) in &letter.headers {
        text(out, name);
        text(out, value);
    }
    text(out, &letter.value);
}

/// Writes one audit record as it stands.
pub(crate) fn audit(out: &mut Vec<u8>, bus: &str, offset: i64, ts: i64, document: &[u8], stored_at: i64) {
    text(out, bus);
    int(out, offset);
    time(out, crate::time::clamp_received(ts));
    time(out, stored_at);
    text(out, document);
}

/// Writes one control record.
pub(crate) fn control(out: &mut Vec<u8>, bus: &str, offset: i64, record: &ControlRecord, document: &[u8], stored_at: i64) {
    text(out, bus);
    int(out, offset);
    time(out, record.ts);
    time(out, stored_at);
    let (kind, tenant, agent) = about(&record.change);
    text(out, kind);
    text(out, &record.by);
    text(out, tenant);
    text(out, agent);
    text(out, document);
}

fn about(change: &Change) -> (&'static str, &str, String) {
    match change {
        Change::TokenCreated(token) => ("token_created", &token.tenant, String::new()),
        Change::TokenRevoked { .. } => ("token_revoked", "", String::new()),
        Change::AgentEnrolled(agent) => ("agent_enrolled", &agent.tenant, agent.agent_id.to_string()),
        Change::CertificateIssued { agent_id, .. } => ("certificate_issued", "", agent_id.to_string()),
        Change::AgentRevoked { agent_id, .. } => ("agent_revoked", "", agent_id.to_string()),
        Change::ApiTokenCreated(_) => ("api_token_created", "", String::new()),
        Change::ApiTokenRevoked { .. } => ("api_token_revoked", "", String::new()),
        Change::ScanOrdered(scan) => ("scan_ordered", &scan.tenant, String::new()),
        Change::ScanCancelled { .. } => ("scan_cancelled", "", String::new()),
        Change::Unknown => ("unknown", "", String::new()),
    }
}
