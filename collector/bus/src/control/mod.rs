//! State that needs one winner, kept as records of the one-partition topic `control.v1`.
//!
//! [`Control`] reads the topic from the beginning and folds it into a [`ControlState`]; [`Control::submit`] appends a
//! record and answers only after its own record came back, with the verdict that every other reader comes to as well.
//!
//! When the bus is away, reading goes on as soon as it is back, [`Control::ready`] is false until then, and `submit`
//! fails with [`BusError::Unavailable`] after a bounded time. A record whose fate was unknown may still be applied;
//! submitting the same change again is safe (see the state's page on repeats).

mod access;
mod scans;
mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use beffroi_schema::control::{Change, ControlRecord};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use access::{Access, ApiTokenState};
pub use scans::{Cancellation, ScanState, Scans};
pub use state::{AgentState, Certificate, ControlState, Loss, Revocation, Taken, TokenState, Verdict};

use crate::error::BusError;
use crate::handle::{Bus, Tail};
use crate::record::{Outgoing, Record, TailFrom};
use crate::topic::Topic;

/// How long a writer waits for its own record to come back: a broker failover takes less, and a person or agent that
/// waits for the answer has not given up yet.
const READ_BACK_WAIT: Duration = Duration::from_secs(15);
/// Pause before reading is tried again after an error.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Largest control record that is read (bytes): a token with labels and networks takes a few KiB.
const MAX_CONTROL_BYTES: usize = 256 * 1024;

/// What became of a submitted change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds, for every reader.
    Won,
    /// It does not hold.
    Lost(Loss),
}

/// The control state of the collector. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    bus: Bus,
    state: RwLock<ControlState>,
    /// Writers that wait for their record, by record id.
    waiting: Mutex<HashMap<String, oneshot::Sender<Verdict>>>,
    changed: watch::Sender<u64>,
    ready: watch::Sender<bool>,
    shutdown: CancellationToken,
}

impl Control {
    /// Starts reading the topic from its beginning, until `shutdown`. Returns at once; see [`Control::ready`].
    pub async fn start(bus: Bus, shutdown: CancellationToken) -> Result<Self, BusError> {
        let shared = Arc::new(Shared {
            bus,
            state: RwLock::default(),
            waiting: Mutex::default(),
            changed: watch::Sender::new(0),
            ready: watch::Sender::new(false),
            shutdown,
        });
        let reader = Arc::clone(&shared);
        tokio::spawn(async move {
            let stop = reader.shutdown.clone();
            let _ = stop.run_until_cancelled(reader.follow()).await;
            reader.ready.send_replace(false);
            reader.waiting().clear();
        });
        Ok(Self { shared })
    }

    /// Looks at the state. The closure should be short: reading stops meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&ControlState) -> T) -> T {
        look(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends a change on behalf of `by` and waits until it was read back.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] when the bus does not answer in time; the change may still be applied later.
    pub async fn submit(&self, by: &str, change: Change) -> Result<Outcome, BusError> {
        let record = ControlRecord { record_id: random_id()?, ts: now_micros(), by: by.into(), change };
        let (answer, verdict) = oneshot::channel();
        let _waiting = Waiting::register(&self.shared, &record.record_id, answer);
        if self.shared.shutdown.is_cancelled() {
            return Err(BusError::Closed);
        }
        self.shared.bus.publish(Topic::Control, encode(&record)?).await?;
        match tokio::time::timeout(READ_BACK_WAIT, verdict).await {
            Ok(Ok(Verdict::Won)) => Ok(Outcome::Won),
            Ok(Ok(Verdict::Lost(loss))) => Ok(Outcome::Lost(loss)),
            Ok(Ok(Verdict::Ignored)) => {
                Err(BusError::Invalid { what: "a control change", reason: "its kind is not one that this version knows".into() })
            }
            Ok(Err(_)) => Err(BusError::Closed),
            Err(_) => Err(BusError::unavailable(
                "the control record was written but not read back in time",
                "it may still be applied; look before you try again",
            )),
        }
    }

    /// Counts applied records: wait on it to see changes as they come.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// True while everything that was in the topic at the start has been read and reading goes on.
    pub fn ready(&self) -> bool {
        *self.shared.ready.borrow()
    }

    /// Waits until [`Control::ready`]; false when the process stops first.
    pub async fn wait_ready(&self) -> bool {
        let mut ready = self.shared.ready.subscribe();
        let stop = &self.shared.shutdown;
        stop.run_until_cancelled(ready.wait_for(|ready| *ready)).await.is_some_and(|waited| waited.is_ok())
    }
}

impl Shared {
    /// Reads for ever; every error is said and waited out.
    async fn follow(&self) {
        loop {
            if let Err(error) = self.follow_once().await {
                self.ready.send_replace(false);
                tracing::warn!(%error, "control records cannot be read; trying again");
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn follow_once(&self) -> Result<(), BusError> {
        let mut tail = self.bus.tail(Topic::Control, TailFrom::Beginning).await?;
        loop {
            if !*self.ready.borrow() && tail.caught_up().await? {
                self.ready.send_replace(true);
            }
            let record = self.next(&mut tail).await?;
            self.apply(&record);
        }
    }

    /// The next record, riding out a bus that is away.
    async fn next(&self, tail: &mut Tail) -> Result<Record, BusError> {
        loop {
            match tail.next().await {
                Err(error) if error.is_retryable() => {
                    self.ready.send_replace(false);
                    tracing::warn!(%error, "control records cannot be read; trying again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    if tail.caught_up().await? {
                        self.ready.send_replace(true);
                    }
                }
                result => return result,
            }
        }
    }

    fn apply(&self, record: &Record) {
        let taken = Taken { offset: record.offset, timestamp: record.timestamp };
        match decode(record) {
            Ok(control) => {
                let verdict = self.write().apply(taken, &control);
                // A record that was read again keeps the verdict it had: whoever waits for it was answered then.
                if let Some(answer) = self.waiting().remove(&control.record_id) {
                    let _ = answer.send(verdict);
                }
            }
            Err(reason) => {
                metrics::counter!("beffroi_bus_control_unreadable_total").increment(1);
                tracing::error!(offset = record.offset, %reason, "a control record is unreadable and was skipped");
                self.write().skip(taken);
            }
        }
        self.changed.send_modify(|count| *count += 1);
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, ControlState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Verdict>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the writer out of the waiting list again, however its call ends.
struct Waiting<'a> {
    shared: &'a Shared,
    record_id: String,
}

impl<'a> Waiting<'a> {
    fn register(shared: &'a Shared, record_id: &str, answer: oneshot::Sender<Verdict>) -> Self {
        shared.waiting().insert(record_id.into(), answer);
        Self { shared, record_id: record_id.into() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.record_id);
    }
}

fn encode(record: &ControlRecord) -> Result<Outgoing, BusError> {
    let json = serde_json::to_vec(record).map_err(|e| invalid(e.to_string()))?;
    if json.len() > MAX_CONTROL_BYTES {
        return Err(invalid(format!("it takes {} bytes, {MAX_CONTROL_BYTES} are allowed", json.len())));
    }
    Ok(Outgoing::new(record.record_id.as_bytes(), json))
}

fn decode(record: &Record) -> Result<ControlRecord, String> {
    if record.value.len() > MAX_CONTROL_BYTES {
        return Err(format!("it takes {} bytes, {MAX_CONTROL_BYTES} are allowed", record.value.len()));
    }
    serde_json::from_slice(&record.value).map_err(|e| e.to_string())
}

fn invalid(reason: String) -> BusError {
    BusError::Invalid { what: "a control change", reason }
}

fn random_id() -> Result<String, BusError> {
    crate::random::hex_id()
}

/// Microseconds since 1970 by this machine's clock; only shown to people, never decided by.
fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
