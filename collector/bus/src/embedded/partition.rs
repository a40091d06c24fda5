//! One partition: a log and the thread that writes it.
//!
//! The thread takes what publishers have queued, appends it in one write, syncs once, and answers all of them: this is
//! the group commit. While it syncs, the next group queues up, so a publisher waits for at most two syncs. When the
//! disk refuses, every publisher of the group gets the error and the log has taken the records back.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use beffroi_log::{LogWriter, Options};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};

use super::frame::MAX_FRAME_BYTES;
use super::retention::{self, Dropped};
use crate::error::BusError;
use crate::record::Position;
use crate::topic::Topic;

/// Commands that may wait for one partition's thread; their bytes are bounded by the bus's permits.
const QUEUE_COMMANDS: usize = 4096;
/// A group is closed when it has this many bytes. With one more record it must fit into the smallest segment.
const GROUP_BYTES: usize = 2 * 1024 * 1024;
/// Smallest segment of a partition (bytes), see [`GROUP_BYTES`].
pub(super) const MIN_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes on disk of all partitions of a bus, and who is told when they are too many.
#[derive(Debug)]
pub(super) struct Usage {
    pub bytes: AtomicU64,
    pub max_bytes: u64,
    pub exceeded: Notify,
}

/// What the thread is asked to do.
enum Command {
    Append { payload: Vec<u8>, _permit: OwnedSemaphorePermit, answer: oneshot::Sender<Result<i64, BusError>> },
    Retain { floor: i64, cutoff: i64, answer: oneshot::Sender<Result<Dropped, BusError>> },
    DropOldest { floor: i64, answer: oneshot::Sender<Result<Dropped, BusError>> },
}

/// Handle on a partition.
pub(super) struct Partition {
    pub number: i32,
    pub dir: PathBuf,
    shown: Arc<Shown>,
    sender: Mutex<Option<mpsc::Sender<Command>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread shows to readers.
#[derive(Default)]
struct Shown {
    first: AtomicI64,
    end: AtomicI64,
    bytes: AtomicU64,
}

/// What a partition is made of.
pub(super) struct Setup {
    pub topic: Topic,
    pub number: i32,
    pub dir: PathBuf,
    pub segment_bytes: u64,
    /// No offset below this is given again.
    pub min_next_offset: u64,
    pub usage: Arc<Usage>,
    /// Told after each group.
    pub changed: Arc<Notify>,
}

impl Partition {
    /// Opens the log, recovering it, and starts its thread. Blocks on the disk.
    pub fn open(setup: Setup) -> Result<Self, BusError> {
        let options = Options {
            segment_bytes: setup.segment_bytes.max(MIN_SEGMENT_BYTES),
            max_bytes: u64::MAX,
            max_record_bytes: MAX_FRAME_BYTES,
            min_next_offset: setup.min_next_offset,
            ..Options::default()
        };
        let (log, recovery) = LogWriter::open(&setup.dir, options).map_err(|e| log_error(&e))?;
        tracing::debug!(topic = %setup.topic, partition = setup.number, ?recovery, "partition opened");
        let shown = Arc::new(Shown::default());
        let (sender, commands) = mpsc::channel(QUEUE_COMMANDS);
        let (number, dir) = (setup.number, setup.dir.clone());
        let name = format!("bus-{}-{number}", setup.topic);
        let mut writer =
            Writer { log, shown: Arc::clone(&shown), usage: setup.usage, changed: setup.changed, last_time: 0, groups: 0 };
        writer.show();
        let thread = std::thread::Builder::new().name(name).spawn(move || writer.run(commands));
        let thread =
            thread.map_err(|e| BusError::unavailable(format!("cannot start a thread: {e}"), "raise the limit on threads"))?;
        Ok(Self { number, dir, shown, sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Oldest offset that is there.
    pub fn first(&self) -> i64 {
        self.shown.first.load(Ordering::Acquire)
    }

    /// Offset after the last durable record.
    pub fn end(&self) -> i64 {
        self.shown.end.load(Ordering::Acquire)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.shown.bytes.load(Ordering::Acquire)
    }

    /// Appends a framed record; returns once it is durable.
    pub async fn append(&self, payload: Vec<u8>, permit: OwnedSemaphorePermit) -> Result<Position, BusError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Append { payload, _permit: permit, answer }).await?;
        let offset = answered.await.map_err(|_| BusError::Closed)??;
        Ok(Position { partition: self.number, offset })
    }

    /// Deletes segments that were appended before `cutoff` (microseconds) and lie below `floor`.
    pub async fn retain(&self, floor: i64, cutoff: i64) -> Result<Dropped, BusError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Retain { floor, cutoff, answer }).await?;
        answered.await.map_err(|_| BusError::Closed)?
    }

    /// Deletes the oldest segment, counting what lies at or above `floor`.
    pub async fn drop_oldest(&self, floor: i64) -> Result<Dropped, BusError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::DropOldest { floor, answer }).await?;
        answered.await.map_err(|_| BusError::Closed)?
    }

    async fn send(&self, command: Command) -> Result<(), BusError> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.ok_or(BusError::Closed)?.send(command).await.map_err(|_| BusError::Closed)
    }

    /// Lets the thread finish what is queued. Blocks until it has.
    pub fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(dir = %self.dir.display(), "the thread of a partition has panicked");
        }
    }
}

type Answer = oneshot::Sender<Result<i64, BusError>>;

/// The thread's side.
struct Writer {
    log: LogWriter,
    shown: Arc<Shown>,
    usage: Arc<Usage>,
    changed: Arc<Notify>,
    last_time: i64,
    /// Groups written, each with one sync.
    groups: u64,
}

impl Writer {
    fn run(&mut self, mut commands: mpsc::Receiver<Command>) {
        let mut next = None;
        while let Some(command) = next.take().or_else(|| commands.blocking_recv()) {
            match command {
                Command::Append { payload, _permit, answer } => next = self.append_group(payload, _permit, answer, &mut commands),
                Command::Retain { floor, cutoff, answer } => {
                    let dropped = retention::expire(&mut self.log, floor, cutoff);
                    self.answer_drop(dropped, answer);
                }
                Command::DropOldest { floor, answer } => {
                    let dropped = retention::drop_oldest(&mut self.log, floor);
                    self.answer_drop(dropped, answer);
                }
            }
        }
        if let Err(error) = self.log.sync() {
            tracing::error!(%error, "a partition could not be synced at the end");
        }
        tracing::debug!(groups = self.groups, dir = %self.log.dir().display(), "partition closed");
    }

    /// Shows what a step of retention has changed, and only then answers for it.
    fn answer_drop(&mut self, dropped: beffroi_log::Result<Dropped>, answer: oneshot::Sender<Result<Dropped, BusError>>) {
        self.show();
        let _ = answer.send(dropped.map_err(|e| log_error(&e)));
    }

    /// Appends everything that is queued, up to a limit, with one sync. Returns the command that ended the group.
    fn append_group(
        &mut self,
        payload: Vec<u8>,
        permit: OwnedSemaphorePermit,
        answer: Answer,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Option<Command> {
        let (mut bytes, mut next) = (payload.len(), None);
        let (mut payloads, mut waiting) = (vec![payload], vec![(answer, permit)]);
        while bytes < GROUP_BYTES {
            match commands.try_recv() {
                Ok(Command::Append { payload, _permit, answer }) => {
                    bytes += payload.len();
                    payloads.push(payload);
                    waiting.push((answer, _permit));
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let result = self.write(&payloads);
        self.show();
        self.changed.notify_waiters();
        for (place, (answer, _permit)) in waiting.into_iter().enumerate() {
            let _ = answer.send(result.clone().map(|first| first + place as i64));
        }
        next
    }

    /// Writes and syncs a group; the offset of its first record.
    fn write(&mut self, payloads: &[Vec<u8>]) -> Result<i64, BusError> {
        // Times in a partition never go back, or retention would keep or drop by a clock that jumped.
        self.last_time = self.last_time.max(now_micros());
        self.groups += 1;
        let written = self.log.append_batch(self.last_time, payloads).and_then(|range| self.log.sync().map(|()| range.start));
        written.map(|first| first as i64).map_err(|error| {
            tracing::error!(%error, "records could not be written");
            log_error(&error)
        })
    }

    /// Shows the log's figures, and tells the bus when it has become too large.
    fn show(&mut self) {
        self.shown.first.store(self.log.first_offset() as i64, Ordering::Release);
        self.shown.end.store(self.log.synced_offset() as i64, Ordering::Release);
        let bytes = self.log.bytes();
        let before = self.shown.bytes.swap(bytes, Ordering::AcqRel);
        // Wraps round for a decrease, which is what adding a negative number means here.
        let total = self.usage.bytes.fetch_add(bytes.wrapping_sub(before), Ordering::AcqRel);
        if total.wrapping_add(bytes.wrapping_sub(before)) > self.usage.max_bytes {
            self.usage.exceeded.notify_one();
        }
    }
}

/// Microseconds since 1970.
pub(super) fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The log's own words already say what, where and what to do.
pub(super) fn log_error(error: &beffroi_log::Error) -> BusError {
    let hint = match error {
        e if e.is_no_space() => "free disk space, or lower bus.max_bytes",
        beffroi_log::Error::Locked { .. } => "only one collector may use a bus folder",
        _ => "look at the disk and the collector's log",
    };
    BusError::unavailable(error.to_string(), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_queued_shares_one_sync_and_each_publisher_gets_its_own_offset() {
        let dir = tempfile::tempdir().expect("folder");
        let (log, _) = LogWriter::open(dir.path(), Options::default()).expect("log");
        let usage = Arc::new(Usage { bytes: AtomicU64::new(0), max_bytes: u64::MAX, exceeded: Notify::new() });
        let (shown, changed) = (Arc::new(Shown::default()), Arc::new(Notify::new()));
        let mut writer = Writer { log, shown: Arc::clone(&shown), usage, changed, last_time: 0, groups: 0 };
        let (sender, commands) = mpsc::channel(QUEUE_COMMANDS);
        let permits = Arc::new(tokio::sync::Semaphore::new(500));
        let queue = |number: u32| {
            let (answer, answered) = oneshot::channel();
            let _permit = Arc::clone(&permits).try_acquire_owned().expect("permit");
            let payload = number.to_string().into_bytes();
            assert!(sender.try_send(Command::Append { payload, _permit, answer }).is_ok());
            answered
        };
        let answers: Vec<_> = (0..500).map(queue).collect();
        drop(sender);
        writer.run(commands);
        assert_eq!(writer.groups, 1);
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.blocking_recv().expect("answered").expect("written"), number as i64);
        }
        assert_eq!((shown.end.load(Ordering::Acquire), permits.available_permits()), (500, 500));
    }
}
