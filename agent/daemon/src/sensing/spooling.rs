//! The spool's thread: takes records in, lets the spool write when it is due, adds heartbeats, tells how it stands.
//!
//! Owns the spool. A heartbeat names every stream's head, so that a collector finds a missing tail.

use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use beffroi_schema::Stream;
use beffroi_schema::batch::{Heartbeat, Record};

use super::{Board, Note, own_processes};
use crate::clock::now_us;
use crate::host::{Cost, cost};
use crate::layout::{Layout, write_news};
use crate::spool::Spool;
use crate::status::SensorStatus;

/// Time between heartbeats: a collector calls a host silent after a few of them.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the status file is written.
const STATUS: Duration = Duration::from_secs(2);
/// Longest wait without a look at the clock.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Notes taken in before the clock is looked at again.
const NOTES_AT_ONCE: usize = 16;

/// The thread's state.
pub(super) struct Spooler {
    spool: Spool,
    layout: Layout,
    incoming: Receiver<Note>,
    board: Board,
    heartbeat_due: Instant,
    status_due: Instant,
    started_at: i64,
    cost_before: Cost,
}

impl Spooler {
    pub(super) fn new(spool: Spool, layout: Layout, incoming: Receiver<Note>, board: Board) -> Self {
        let now = Instant::now();
        let cost_before = cost(own_processes(&layout, &board));
        Self { spool, layout, incoming, board, heartbeat_due: now, status_due: now, started_at: now_us(), cost_before }
    }

    /// Runs until a stop; returns how many records could not be made durable.
    pub(super) fn run(mut self) -> u64 {
        loop {
            let due = [Some(self.heartbeat_due), Some(self.status_due), self.spool.next_deadline()];
            let due = due.into_iter().flatten().min().map_or(LONGEST_WAIT, |due| due.saturating_duration_since(Instant::now()));
            match self.incoming.recv_timeout(due.min(LONGEST_WAIT)) {
                Ok(note) => {
                    if self.take(note) {
                        return self.end();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            self.upkeep();
        }
    }

    /// Takes in a note and what waits behind it; true when a stop was among it.
    fn take(&mut self, first: Note) -> bool {
        let (mut next, mut left) = (Some(first), NOTES_AT_ONCE);
        while let Some(note) = next {
            match note {
                Note::Record(stream, record) => self.spool.push(stream, record),
                Note::Records(records) => self.push_all(records),
                // Whoever asked may have stopped waiting.
                Note::Settle(done) => {
                    let _ = done.send(self.spool.flush() == 0);
                }
                // The queue is in order, so nothing comes behind a stop but what is not waited for.
                Note::Stop => return true,
            }
            left -= 1;
            next = if left > 0 { self.incoming.try_recv().ok() } else { None };
        }
        false
    }

    fn push_all(&mut self, records: Vec<(Stream, Record)>) {
        for (stream, record) in records {
            self.spool.push(stream, record);
        }
    }

    fn upkeep(&mut self) {
        let now = Instant::now();
        if now >= self.heartbeat_due {
            self.heartbeat_due = now + HEARTBEAT;
            self.heartbeat();
        }
        self.spool.tick();
        if now >= self.status_due {
            self.status_due = now + STATUS;
            self.write_status(true);
        }
    }

    fn heartbeat(&mut self) {
        let cost = self.cost();
        let (hooks, counters) = {
            let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            let own = board.scan.counters().into_iter().chain(board.orders.counters());
            (board.hooks.clone(), own.chain(board.counters.iter().cloned()).collect())
        };
        let stats = self.spool.stats();
        let heartbeat = Heartbeat {
            seq: 0,
            ts: now_us(),
            heads: self.spool.heads(),
            hooks,
            counters,
            spool_bytes: self.spool.bytes(),
            spool_oldest: stats.iter().map(|stats| stats.oldest).filter(|oldest| *oldest > 0).min().unwrap_or(0),
            cpu_us: cost.cpu_us.saturating_sub(self.cost_before.cpu_us),
            rss_bytes: cost.rss_bytes,
            policy_version: 0,
        };
        self.spool.push(Stream::Detection, Record::Heartbeat(heartbeat));
    }

    fn cost(&self) -> Cost {
        cost(own_processes(&self.layout, &self.board))
    }

    fn write_status(&self, running: bool) {
        let author = self.spool.author();
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let (hooks, counters, scan) = (board.hooks.clone(), board.counters.clone(), board.scan.clone());
        let orders = board.orders.clone();
        drop(board);
        let status = SensorStatus {
            pid: std::process::id(),
            running,
            updated_at: now_us(),
            started_at: self.started_at,
            epoch: author.epoch,
            hooks,
            counters,
            scan,
            orders,
            streams: self.spool.stats(),
            cost: self.cost(),
        };
        let written = serde_json::to_vec_pretty(&status).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|json| write_news(&self.layout.sensor_status(), &json)) {
            tracing::warn!(%error, "the sensor's status could not be written");
        }
    }

    fn end(mut self) -> u64 {
        while let Ok(note) = self.incoming.try_recv() {
            // Whoever waits to have something settled finds out by its end: the stop makes everything durable.
            match note {
                Note::Record(stream, record) => self.spool.push(stream, record),
                Note::Records(records) => self.push_all(records),
                Note::Settle(_) | Note::Stop => {}
            }
        }
        self.spool.flush();
        // The last heartbeat names the final heads of all streams.
        self.heartbeat();
        self.spool.flush();
        self.write_status(false);
        self.spool.close()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use beffroi_schema::batch::HostInfo;
    use beffroi_schema::{AgentId, Category, Event, Product};

    use super::*;
    use crate::config::SpoolConfig;
    use crate::spool::{Author, Role};
    use crate::users::User;

    #[test]
    fn a_stop_right_behind_records_ends_the_spooler_with_everything_durable() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.prepare(&User::current()).unwrap();
        let key = crate::identity::load_or_make_key(&layout).unwrap();
        let agent = AgentId::of_public_key(&key.verifying_key().to_bytes());
        let epoch = Author::new_epoch(now_us()).unwrap();
        let author = Author { tenant: "t".into(), agent, epoch, key, host: HostInfo::default() };
        let config = SpoolConfig { max_bytes: 16 << 20, keep_free_bytes: 0, keep_free_percent: 0 };
        let spool = Spool::open(&layout, author, &config, Role::Sensor).unwrap();
        // Kept until the end, as the socket keeps its own: only the stop can end the spooler.
        let (records, incoming) = sync_channel(8);
        for _ in 0..3 {
            let event = Event::new(Category::ProcessCreation, Product::Linux, now_us());
            records.send(Note::Record(Stream::Exec, Record::Event(event))).unwrap();
        }
        records.send(Note::Stop).unwrap();
        let spooler = Spooler::new(spool, layout, incoming, Board::default());
        let (ended, end) = sync_channel(1);
        std::thread::spawn(move || ended.send(spooler.run()));
        assert_eq!(end.recv_timeout(Duration::from_secs(5)), Ok(0));
        drop(records);
    }
}
