//! The sensor process: drives the sensor, has files scanned, spools what comes, answers on the agent's socket.
//!
//! Owns five threads: the sensor (this one), the spool (the only one with the identity key in use), the scanner, the
//! socket, and the one that carries out signed orders. They are joined by bounded queues; a full spool queue slows the
//! sensor down, whose own rings then count what they lose; a full scan queue is counted and declared. What one turn of the
//! sensor brought goes to each thread together, because waking one costs more than a record. A stop drains: what the sensor
//! still holds is spooled, and what could not be made durable is counted. A host that is enrolled again for another tenant or
//! under another root needs another sensor: this one ends in order, and whoever started it starts the next.

mod matches;
mod ordering;
mod scanning;
mod spooling;
mod standing;

use std::collections::HashSet;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use beffroi_schema::batch::{GapReason, HookState, Record};
use beffroi_schema::session::{PURPOSE_RENEW, sign_proof};
use beffroi_schema::{SigningKey, Stream};
use beffroi_sensor::{Sensor, SensorError};

use crate::clock::now_us;
use crate::config::Config;
use crate::identity::{Enrolment, IdentityError, load_enrolled_key};
use crate::layout::Layout;
use crate::local::{Answer, Ask, LocalServer};
use crate::orders::{OrderDesk, OrdersStatus};
use crate::spool::{Author, Role, Spool, SpoolError, gap};
use crate::status::ScanStatus;
use crate::stop::Stop;
use crate::users::User;

use ordering::Ordering;
use scanning::ScanDesk;
use spooling::Spooler;
use standing::Standing;

/// Records that travel together at most: one turn of the sensor under a heavy load. What travels together wakes the spool
/// once, which costs more than the records themselves.
const RECORDS_TOGETHER: usize = 64;
/// Notes between sensor and spool: with [`RECORDS_TOGETHER`] a second of a heavy load, some tens of MiB at worst.
const QUEUE_NOTES: usize = 256;
/// How long one turn of the sensor waits for events.
const TURN: Duration = Duration::from_millis(250);
/// How often hooks, counters and own processes are looked at.
const UPKEEP: Duration = Duration::from_secs(1);
/// The sensor is given this much time to be started again after it failed.
const LONGEST_DRAIN: Duration = Duration::from_secs(10);

/// The sensor process cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SensingError {
    /// Not enrolled, or the key is not usable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The sensor.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// Folders, socket, threads.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the threads tell each other besides records.
#[derive(Debug, Default)]
struct Shared {
    hooks: Vec<HookState>,
    counters: Vec<(String, u64)>,
    scan: ScanStatus,
    orders: OrdersStatus,
}

type Board = Arc<Mutex<Shared>>;

/// Runs the sensor process until `stop`. Returns how many records could not be made durable.
///
/// # Errors
/// [`SensingError`] when it cannot begin or the sensor breaks.
pub fn run(layout: &Layout, config: &Config, stop: &Stop) -> Result<u64, SensingError> {
    let uplink = User::for_process(config.uplink.user.as_deref(), "beffroi-uplink", "uplink.user")?;
    layout.prepare(&uplink)?;
    let enrolment = Enrolment::load(layout)?;
    let key = load_enrolled_key(layout, &enrolment)?;
    let (root, standing) = (enrolment.root(), Arc::new(Standing::new(layout, &enrolment)));
    let host = crate::host::info();
    // Before the epoch begins: its first record says that somebody watches, and loading probes takes a while. What happens
    // meanwhile belongs to the dead time; what the probes see early waits in their rings.
    let sensor = Sensor::start(config.sensor.options(enrolment.agent_id, &host.boot_id))?;
    let author = Author {
        tenant: enrolment.tenant,
        agent: enrolment.agent_id,
        epoch: Author::new_epoch(now_us())?,
        key: key.clone(),
        host,
    };
    let agent = author.agent;
    let host = ordering::host(&author, root, config);
    let spool = Spool::open(layout, author, &config.spool, Role::Sensor)?;
    let board = Board::default();
    let (records, incoming) = sync_channel(QUEUE_NOTES);
    let spooler = Spooler::new(spool, layout.clone(), incoming, Arc::clone(&board));
    let spooling = thread::Builder::new().name("spool".into()).spawn(move || spooler.run())?;
    let desk = ScanDesk::start(&config.scan, records.clone(), Arc::clone(&board))?;
    let orders = Ordering::start(layout, config, host, records.clone())?;
    serve(layout, &uplink, Answers { key, records: records.clone(), orders: orders.desk(), standing: Arc::clone(&standing) })?;
    tracing::info!(probes = sensor.has_probes(), epoch_of = %agent, "sensing");
    let desks = Desks { scan: &desk, orders: &orders.desk(), standing: &standing };
    let sensed = sense(sensor, layout, &desks, &records, &board, stop);
    desk.stop();
    orders.stop();
    let _ = records.send(Note::Stop);
    drop(records);
    let abandoned = join_within(spooling, LONGEST_DRAIN);
    sensed?;
    Ok(abandoned)
}

/// What comes to the spool.
enum Note {
    Record(Stream, Record),
    Records(Vec<(Stream, Record)>),
    /// Make everything before durable, and say whether that worked.
    Settle(SyncSender<bool>),
    Stop,
}

/// Who is told what the sensor sees, and who is asked how things stand.
struct Desks<'a> {
    scan: &'a ScanDesk,
    orders: &'a OrderDesk,
    standing: &'a Standing,
}

fn sense(
    mut sensor: Sensor,
    layout: &Layout,
    desks: &Desks<'_>,
    records: &SyncSender<Note>,
    board: &Board,
    stop: &Stop,
) -> Result<(), SensingError> {
    let mut turn = Turn { records: Vec::new(), scan: desks.scan, spool: records };
    let mut excluded = HashSet::new();
    let mut upkeep_due = Instant::now();
    while !stop.is_set() {
        let polled = sensor.poll(TURN, &mut |record| turn.take(record));
        turn.end();
        polled?;
        if Instant::now() >= upkeep_due {
            upkeep_due = Instant::now() + UPKEEP;
            if desks.standing.is_over() {
                break;
            }
            for pid in own_processes(layout, board) {
                if excluded.insert(pid) {
                    sensor.exclude(pid);
                }
            }
            let lost = desks.scan.take_lost();
            if lost > 0 {
                turn.take(Record::Gap(gap(GapReason::SourceLost, "scan", Some(lost), (now_us(), now_us()))));
            }
            let orders = desks.orders.status();
            let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
            board.hooks = sensor.hooks();
            board.counters = sensor.counters();
            board.orders = orders;
        }
    }
    let finished = sensor.finish(&mut |record| turn.take(record));
    turn.end();
    Ok(finished?)
}

/// What one turn of the sensor brings, on its way to the scanner and the spool.
struct Turn<'a> {
    records: Vec<(Stream, Record)>,
    scan: &'a ScanDesk,
    spool: &'a SyncSender<Note>,
}

impl Turn<'_> {
    fn take(&mut self, record: Record) {
        let stream = match &record {
            Record::Event(event) => event.stream(),
            _ => Stream::Detection,
        };
        self.records.push((stream, record));
        if self.records.len() >= RECORDS_TOGETHER {
            self.end();
        }
    }

    /// Hands over what there is; waits while the spool has no room.
    fn end(&mut self) {
        if !self.records.is_empty() {
            self.scan.offer(&self.records);
            // The spool thread outlives the sensor's loop; it ends only on a stop.
            let _ = self.spool.send(Note::Records(std::mem::take(&mut self.records)));
        }
    }
}

/// This process, its scan workers, the uplink and the supervisor, as far as they are known.
fn own_processes(layout: &Layout, board: &Board) -> Vec<u32> {
    let uplink = crate::layout::read_json::<crate::uplink::UplinkStatus>(&layout.uplink_status()).ok().flatten();
    let parent = nix::unistd::getppid().as_raw().cast_unsigned();
    let others = uplink.map(|status| status.pid).into_iter().chain([parent]).filter(|pid| crate::host::is_ours(*pid));
    let board = board.lock().unwrap_or_else(PoisonError::into_inner);
    let workers = board.scan.pid.into_iter().chain(board.orders.worker);
    [std::process::id()].into_iter().chain(workers).chain(others).collect()
}

/// What answers on the agent's socket need.
struct Answers {
    key: SigningKey,
    records: SyncSender<Note>,
    orders: Arc<OrderDesk>,
    standing: Arc<Standing>,
}

impl Answers {
    fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::SignRenewal { csr } => {
                let ts = now_us();
                Answer::Signed { ts, proof: sign_proof(&self.key, PURPOSE_RENEW, &csr, ts) }
            }
            // Judged by the old root, an order of the new one would be refused for good.
            Ask::Order { .. } if self.standing.is_over() => Answer::Refused { reason: standing::OVER.into() },
            Ask::Order { envelope } => ordering::hand_in(&self.orders, &envelope),
            Ask::Wants => ordering::wants(&self.orders),
            Ask::Damaged { stream, bytes } => {
                tracing::error!(stream = stream.name(), bytes, "the uplink found unreadable batches");
                let damage = gap(GapReason::SpoolDamaged, stream.name(), None, (now_us(), now_us()));
                match self.records.send(Note::Record(Stream::Detection, Record::Gap(damage))) {
                    Ok(()) => Answer::Noted,
                    Err(_) => Answer::Refused { reason: "the sensor is stopping".into() },
                }
            }
        }
    }
}

fn serve(layout: &Layout, uplink: &User, answers: Answers) -> io::Result<()> {
    let server = LocalServer::bind(&layout.socket(), uplink)?;
    // Ends with the process: it waits in accept(2) and holds nothing that must be saved.
    thread::Builder::new().name("socket".into()).spawn(move || server.serve(|ask| answers.answer(ask))).map(|_| ())
}

fn join_within(spooling: thread::JoinHandle<u64>, limit: Duration) -> u64 {
    let until = Instant::now() + limit;
    while !spooling.is_finished() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    if spooling.is_finished() { spooling.join().unwrap_or(0) } else { u64::MAX }
}
