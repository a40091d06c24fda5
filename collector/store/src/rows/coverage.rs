//! Rows that say what is covered and what is not: ledger, heads, gaps, heartbeats, hosts.

use beffroi_schema::batch::{Envelope, Gap, GapReason, Heartbeat, HookState, HostInfo, PreviousEpoch};

use super::binary::{byte, length, text, texts, time, uint, uint_or_null};
use super::events::Origin;

pub(crate) const LEDGER_COLUMNS: &str = "tenant, agent, epoch, stream, first, last, batch_hash, received_at, stored_at";
pub(crate) const HEAD_COLUMNS: &str = "tenant, agent, epoch, stream, last, ts, received_at, stored_at";
pub(crate) const GAP_COLUMNS: &str = "tenant, agent, epoch, stream, seq, host, ts, received_at, stored_at, reason, hook, lost, \
                                      from_ts, to_ts, first_seq, last_seq";
pub(crate) const HEARTBEAT_COLUMNS: &str = "tenant, agent, epoch, seq, host, ts, received_at, stored_at, hook_names, hook_on, \
                                            hook_why, hook_seen, hook_dropped, counters, spool_bytes, spool_oldest, cpu_us, \
                                            rss_bytes, policy_version";
pub(crate) const HOST_COLUMNS: &str = "tenant, agent, epoch, hostname, os, kernel, architecture, agent_version, boot_id, addresses, \
                                       remote, last_seen, stored_at";

/// The range that a batch covers.
pub(crate) fn ledger(out: &mut Vec<u8>, origin: &Origin, batch: &Envelope) {
    text(out, &origin.tenant);
    text(out, &origin.agent);
    text(out, &origin.epoch);
    byte(out, origin.stream);
    uint(out, batch.header.first);
    uint(out, batch.header.last);
    out.extend_from_slice(&batch.hash().0);
    time(out, origin.received_at);
    time(out, origin.stored_at);
}

/// How far a stream has come.
pub(crate) fn head(out: &mut Vec<u8>, origin: &Origin, epoch: &str, stream: u8, last: u64, ts: i64) {
    text(out, &origin.tenant);
    text(out, &origin.agent);
    text(out, epoch);
    byte(out, stream);
    uint(out, last);
    time(out, ts);
    time(out, origin.received_at);
    time(out, origin.stored_at);
}

/// A declared loss.
pub(crate) fn gap(out: &mut Vec<u8>, origin: &Origin, gap: &Gap) {
    text(out, &origin.tenant);
    text(out, &origin.agent);
    text(out, &origin.epoch);
    byte(out, origin.stream);
    uint(out, gap.seq);
    text(out, &origin.host);
    time(out, gap.ts);
    time(out, origin.received_at);
    time(out, origin.stored_at);
    text(out, gap.reason.name());
    text(out, &gap.hook);
    let evicted = gap.evicted.map(|evicted| (evicted.first, evicted.last));
    uint_or_null(out, gap.count.or(evicted.map(|(first, last)| last - first + 1)));
    time(out, gap.from);
    time(out, gap.to);
    let (first, last) = evicted.unwrap_or_default();
    uint(out, first);
    uint(out, last);
}

/// The time in which nobody watched, as the first record of a new epoch tells it.
pub(crate) fn dead_time(seq: u64, ts: i64, previous: &PreviousEpoch) -> Gap {
    Gap { seq, ts, reason: GapReason::Stopped, hook: "sensor".into(), count: None, from: previous.alive, to: ts, evicted: None }
}

/// A sign of life.
pub(crate) fn heartbeat(out: &mut Vec<u8>, origin: &Origin, beat: &Heartbeat) {
    text(out, &origin.tenant);
    text(out, &origin.agent);
    text(out, &origin.epoch);
    uint(out, beat.seq);
    text(out, &origin.host);
    time(out, beat.ts);
    time(out, origin.received_at);
    time(out, origin.stored_at);
    texts(out, &beat.hooks.iter().map(|hook| hook.name.as_str()).collect::<Vec<_>>());
    length(out, beat.hooks.len());
    out.extend(beat.hooks.iter().map(|hook| u8::from(hook.on)));
    texts(out, &beat.hooks.iter().map(|hook| hook.why.as_str()).collect::<Vec<_>>());
    for figure in [|hook: &HookState| hook.seen, |hook: &HookState| hook.dropped] {
        length(out, beat.hooks.len());
        beat.hooks.iter().for_each(|hook| uint(out, figure(hook)));
    }
    length(out, beat.counters.len());
    for (name, value) in &beat.counters {
        text(out, name);
        uint(out, *value);
    }
    uint(out, beat.spool_bytes);
    time(out, beat.spool_oldest);
    uint(out, beat.cpu_us);
    uint(out, beat.rss_bytes);
    uint(out, beat.policy_version);
}

/// The last word of a host.
pub(crate) fn host(out: &mut Vec<u8>, origin: &Origin, info: &HostInfo, remote: &str) {
    text(out, &origin.tenant);
    text(out, &origin.agent);
    text(out, &origin.epoch);
    text(out, &info.hostname);
    text(out, &info.os);
    text(out, &info.kernel);
    text(out, &info.architecture);
    text(out, &info.agent_version);
    text(out, &info.boot_id);
    texts(out, &info.addresses);
    text(out, remote);
    time(out, origin.received_at);
    time(out, origin.stored_at);
}
