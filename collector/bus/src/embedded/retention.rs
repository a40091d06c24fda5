//! What leaves an embedded bus, and when.
//!
//! Two rules, applied once a minute and as soon as the bus is too large:
//! 1. A segment goes when its records are older than the topic's retention **and** every known group has read them. A
//!    group is known from its first `subscribe` on, for as long as its cursor files exist.
//! 2. While the bus is larger than `max_bytes`, the oldest segment of the largest partition goes, read or not. What
//!    had not been read by every group is counted (`beffroi_bus_unread_dropped_total`) and logged.
//!
//! Control and audit are kept for good and count towards `max_bytes`, but nothing of them ever goes.

use std::sync::Weak;
use std::time::Duration;

use beffroi_log::{LogReader, LogWriter, Read, Result};

use super::Shared;
use super::partition::{Partition, now_micros};
use crate::error::BusError;

/// How often retention runs without a reason: segments cover hours, a minute is soon enough.
const INTERVAL: Duration = Duration::from_secs(60);
/// Least time between two runs, so that a bus that cannot get smaller does not spin.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const HOUR_US: i64 = 3_600_000_000;

/// What a step has deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub bytes: u64,
    /// Offsets that some group had yet to read.
    pub unread: u64,
}

/// Deletes closed segments whose records are all older than `cutoff` and below `floor`. When everything was read, an
/// expired active segment goes as well.
pub(super) fn expire(log: &mut LogWriter, floor: i64, cutoff: i64) -> Result<Dropped> {
    let floor = u64::try_from(floor).unwrap_or(0);
    if floor >= log.next_offset() {
        return log.retain(Some(cutoff), None).map(|removed| Dropped { bytes: removed.bytes, unread: 0 });
    }
    let mut upto = None;
    for segment in log.segments().iter().filter(|segment| !segment.is_active && segment.end <= floor) {
        // Times never go back in a partition: what follows a segment is at least as young as all of it.
        match first_time_from(log, segment.end)? {
            Some(time) if time < cutoff => upto = Some(segment.end),
            _ => break,
        }
    }
    match upto {
        Some(upto) => log.drop_before(upto).map(|removed| Dropped { bytes: removed.bytes, unread: 0 }),
        None => Ok(Dropped::default()),
    }
}

/// Deletes the oldest segment; an active one is closed first.
pub(super) fn drop_oldest(log: &mut LogWriter, floor: i64) -> Result<Dropped> {
    if log.segments().first().is_none_or(|segment| segment.is_active) {
        log.roll()?;
    }
    let Some(oldest) = log.segments().into_iter().next().filter(|segment| !segment.is_active) else {
        return Ok(Dropped::default());
    };
    let removed = log.drop_before(oldest.end)?;
    let floor = u64::try_from(floor).unwrap_or(0);
    let unread = if removed.bytes > 0 { oldest.end.saturating_sub(floor.max(oldest.base)) } else { 0 };
    Ok(Dropped { bytes: removed.bytes, unread })
}

/// When the first record at or after `offset` was appended.
fn first_time_from(log: &LogWriter, offset: u64) -> Result<Option<i64>> {
    let mut reader = LogReader::open(log.dir())?;
    reader.seek(offset)?;
    while let Some(read) = reader.next()? {
        if let Read::Record(record) = read {
            return Ok(Some(record.timestamp));
        }
    }
    Ok(None)
}

/// Runs retention for as long as the bus lives.
pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(bus) = shared.upgrade().filter(|bus| !bus.is_closed()) else { return };
        if let Err(error) = pass(&bus, now_micros()).await {
            tracing::warn!(%error, "retention of the bus failed; it is tried again");
        }
        let usage = std::sync::Arc::clone(&bus.usage);
        let closed = bus.closed.clone();
        drop(bus);
        tokio::select! {
            () = closed.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
            () = usage.exceeded.notified() => tokio::time::sleep(LEAST_PAUSE).await,
        }
    }
}

/// Applies both rules once.
pub(super) async fn pass(bus: &Shared, now: i64) -> std::result::Result<(), BusError> {
    for logs in &bus.topics {
        let Some(hours) = logs.topic.retention_hours(bus.retention_hours) else { continue };
        let cutoff = now.saturating_sub(i64::from(hours) * HOUR_US);
        for partition in &logs.partitions {
            partition.retain(logs.floor(partition.number), cutoff).await?;
        }
    }
    shrink(bus).await
}

/// Makes room while the bus is too large.
async fn shrink(bus: &Shared) -> std::result::Result<(), BusError> {
    while bus.bytes() > bus.usage.max_bytes {
        let expirable = bus.topics.iter().filter(|logs| logs.topic.retention_hours(1).is_some());
        let all = expirable.flat_map(|logs| logs.partitions.iter().map(move |partition| (logs, partition)));
        let Some((logs, partition)) = all.max_by_key(|(_, partition)| partition.bytes()) else { return Ok(()) };
        let dropped = partition.drop_oldest(logs.floor(partition.number)).await?;
        if dropped.bytes == 0 {
            tracing::error!(max_bytes = bus.usage.max_bytes, "the bus is larger than max_bytes and nothing of it may go");
            return Ok(());
        }
        report(logs.topic.name(), partition, dropped);
    }
    Ok(())
}

fn report(topic: &'static str, partition: &Partition, dropped: Dropped) {
    metrics::counter!("beffroi_bus_dropped_bytes_total", "topic" => topic).increment(dropped.bytes);
    if dropped.unread > 0 {
        metrics::counter!("beffroi_bus_unread_dropped_total", "topic" => topic).increment(dropped.unread);
        tracing::error!(
            topic,
            partition = partition.number,
            records = dropped.unread,
            "the bus was full: records were dropped that a group had not read; raise bus.max_bytes or mend the slow role"
        );
    }
}
