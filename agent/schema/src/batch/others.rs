//! Records that are no events, and the host, as protobuf messages read within limits.

use super::sealed::limit;
use super::{BatchError, EpochStart, Evicted, Gap, GapReason, Heartbeat, HookState, HostInfo, PreviousEpoch, StreamHead};
use crate::ids::{BatchHash, Epoch, Stream};
use crate::proto;

pub(super) fn seq_in(first: u64, distance: u64, index: usize) -> Result<u64, BatchError> {
    first.checked_add(distance).ok_or_else(|| BatchError::Record { index, why: "its number overflows".into() })
}

fn short(text: String) -> String {
    const MAX: usize = 256;
    if text.len() <= MAX { text } else { text.chars().take(MAX / 4).collect() }
}

pub(super) fn host_in(host: proto::Host) -> HostInfo {
    HostInfo {
        hostname: short(String::from_utf8_lossy(&host.hostname).into_owned()),
        os: short(host.os),
        kernel: short(host.kernel),
        architecture: short(host.architecture),
        agent_version: short(host.agent_version),
        boot_id: short(host.boot_id),
        addresses: host.addresses.into_iter().take(32).map(short).collect(),
    }
}

fn heads_in(heads: Vec<proto::StreamHead>, index: usize) -> Result<Vec<StreamHead>, BatchError> {
    let wrong = |why: String| BatchError::Record { index, why };
    limit("the heads of a record", heads.len(), 64)?;
    let one = |head: proto::StreamHead| {
        Ok(StreamHead {
            stream: Stream::from_number(head.stream).ok_or_else(|| wrong(format!("no stream has number {}", head.stream)))?,
            last_seq: head.last_seq,
            last_hash: BatchHash::try_from(head.last_hash.as_slice()).map_err(|error| wrong(error.to_string()))?,
        })
    };
    heads.into_iter().map(one).collect()
}

pub(super) fn gap_in(gap: proto::Gap, first: u64, index: usize) -> Result<Gap, BatchError> {
    let wrong = |why: String| BatchError::Record { index, why };
    let evicted = if gap.evicted_hash.is_empty() {
        None
    } else {
        let hash = BatchHash::try_from(gap.evicted_hash.as_slice()).map_err(|error| wrong(error.to_string()))?;
        if gap.first_seq == 0 || gap.last_seq < gap.first_seq {
            return Err(wrong(format!("{} to {} is no evicted range", gap.first_seq, gap.last_seq)));
        }
        Some(Evicted { first: gap.first_seq, last: gap.last_seq, hash })
    };
    Ok(Gap {
        seq: seq_in(first, gap.seq, index)?,
        ts: gap.ts,
        reason: GapReason::from_number(gap.reason),
        hook: short(gap.hook),
        count: (gap.count > 0).then_some(gap.count),
        from: gap.from,
        to: gap.to,
        evicted,
    })
}

pub(super) fn start_in(start: proto::EpochStart, first: u64, index: usize) -> Result<EpochStart, BatchError> {
    let previous = if start.previous_epoch.is_empty() {
        None
    } else {
        let epoch = Epoch::try_from(start.previous_epoch.as_slice());
        Some(PreviousEpoch {
            epoch: epoch.map_err(|error| BatchError::Record { index, why: error.to_string() })?,
            heads: heads_in(start.previous_heads, index)?,
            alive: start.previous_alive,
            clean_stop: start.clean_stop,
        })
    };
    Ok(EpochStart { seq: seq_in(first, start.seq, index)?, ts: start.ts, previous, boot_id: short(start.boot_id) })
}

pub(super) fn heartbeat_in(heartbeat: proto::Heartbeat, first: u64, index: usize) -> Result<Heartbeat, BatchError> {
    limit("the hooks of a heartbeat", heartbeat.hooks.len(), 256)?;
    limit("the counters of a heartbeat", heartbeat.counters.len(), 256)?;
    let hook = |hook: proto::HookState| HookState {
        name: short(hook.name),
        on: hook.on,
        why: short(hook.why),
        seen: hook.seen,
        dropped: hook.dropped,
    };
    Ok(Heartbeat {
        seq: seq_in(first, heartbeat.seq, index)?,
        ts: heartbeat.ts,
        heads: heads_in(heartbeat.heads, index)?,
        hooks: heartbeat.hooks.into_iter().map(hook).collect(),
        counters: heartbeat.counters.into_iter().map(|counter| (short(counter.name), counter.value)).collect(),
        spool_bytes: heartbeat.spool_bytes,
        spool_oldest: heartbeat.spool_oldest,
        cpu_us: heartbeat.cpu_us,
        rss_bytes: heartbeat.rss_bytes,
        policy_version: heartbeat.policy_version,
    })
}
