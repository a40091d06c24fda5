//! Where orders arrive and where they stand until they are finished.
//!
//! Owns the lock around the state that the socket's thread and the runner share, and the order of things: an order is
//! judged, written to the book and synced, answered, given to the runner. Answers are put into the outbox without holding
//! the lock, because a busy spool may make them wait.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use beffroi_scan::RuleText;
use beffroi_scan::job::{CancelFlag, Counters};
use beffroi_schema::down::KeyId;
use beffroi_schema::{AgentId, Event, Field, OrderId};

use super::Outbox;
use super::answers::{Action, answer, counted};
use super::blobs::Blobs;
use super::book::{Book, Content, Pending};
use super::state::{Running, State};
use super::status::OrdersStatus;
use crate::clock::now_us;
use crate::layout::Layout;

/// How often rule texts that are missing are looked for, and expiries noticed.
const LOOK: Duration = Duration::from_secs(1);

/// Whose orders these are.
#[derive(Debug, Clone)]
pub struct Host {
    /// Tenant of this host.
    pub tenant: String,
    /// Id of this host.
    pub agent: AgentId,
    /// The root that enrolment has pinned; without one, no order is taken.
    pub root: Option<KeyId>,
    /// Why this host carries out no scan, if so.
    pub no_scans: Option<String>,
}

/// What became of an envelope that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It was dealt with: it need not come again.
    Noted,
    /// It was accepted, and may need rule texts.
    Accepted,
    /// It could not be dealt with now: it must come again.
    Later(String),
}

/// What the runner does next.
pub(super) enum Next {
    /// Nothing more: the process is stopping.
    Stop,
    /// Answer an order that cannot be carried out any more.
    End(OrderId, Action, String),
    /// Carry out an order.
    Run(Box<Pending>, Vec<RuleText>, CancelFlag),
}

/// The desk.
pub struct OrderDesk {
    host: Host,
    blobs: Blobs,
    out: Arc<dyn Outbox>,
    state: Mutex<State>,
    changed: Condvar,
    status: Mutex<OrdersStatus>,
}

impl OrderDesk {
    /// Opens the book. A book that cannot be read stops orders, not this process.
    pub fn open(layout: &Layout, host: Host, out: Arc<dyn Outbox>) -> Self {
        let book = Book::open(layout.orders(), &host.root.unwrap_or_default());
        if let Err(why) = &book {
            tracing::error!(why, "no orders are taken");
        }
        let desk = Self {
            host,
            blobs: Blobs::new(layout),
            out,
            state: Mutex::new(State::new(book)),
            changed: Condvar::new(),
            status: Mutex::default(),
        };
        desk.publish(&desk.lock());
        desk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an envelope as it came from the server.
    pub fn take(&self, envelope: &[u8]) -> Taken {
        let now = now_us();
        let mut state = self.lock();
        let (taken, answers) = match state.decide(envelope, &self.host, now) {
            Ok(decided) => decided,
            Err(why) => {
                tracing::error!(why, "an order cannot be taken now");
                (Taken::Later(why), Vec::new())
            }
        };
        self.publish(&state);
        drop(state);
        let accepted = answers.iter().filter_map(accepted_order).collect::<Vec<_>>();
        answers.into_iter().for_each(|answer| self.out.put(answer));
        let taken = if accepted.is_empty() { taken } else { Taken::Accepted };
        self.lock().answered.extend(accepted);
        self.wake();
        taken
    }

    /// Rule texts that accepted orders need and that are not here, by their SHA-256 in hex.
    pub fn wants(&self) -> Vec<String> {
        let wanted: Vec<String> = {
            let state = self.lock();
            let waiting = state.pending().iter().filter(|order| state.cancelled(&order.id).is_none());
            waiting.flat_map(|order| order.scan.rules.iter().cloned()).collect()
        };
        // Whoever asks has just fetched something, or is about to.
        self.wake();
        let mut absent = self.blobs.absent(wanted.iter());
        absent.sort_unstable();
        absent.dedup();
        absent
    }

    /// How orders stand.
    pub fn status(&self) -> OrdersStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the running scan without an answer: it goes on in the next process.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        if let Some(running) = &state.running {
            running.cancel.set();
        }
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        self.lock().changes += 1;
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    pub(super) fn outbox(&self) -> &dyn Outbox {
        &*self.out
    }

    /// Answers what a process before has accepted without knowing that the answer was stored.
    pub(super) fn answer_unanswered(&self) {
        let unanswered: Vec<OrderId> = {
            let state = self.lock();
            state.pending().iter().map(|order| order.id).filter(|id| !state.answered.contains(id)).collect()
        };
        for id in unanswered {
            self.out.put(answer(Action::Accepted, Some(id), ""));
            self.lock().answered.insert(id);
        }
    }

    /// Waits until there is something to do.
    pub(super) fn next(&self) -> Next {
        loop {
            self.confirm();
            let (orders, changes) = {
                let state = self.lock();
                if state.stopping {
                    return Next::Stop;
                }
                (state.ready(), state.changes)
            };
            if let Some(next) = self.choose(orders) {
                return next;
            }
            let unchanged = |state: &mut State| state.changes == changes;
            drop(self.changed.wait_timeout_while(self.lock(), LOOK, unchanged).unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn choose(&self, orders: Vec<(Pending, Option<String>)>) -> Option<Next> {
        let now = now_us();
        for (order, cancelled) in &orders {
            if let Some(why) = cancelled {
                return Some(Next::End(order.id, Action::Cancelled, why.clone()));
            }
            if order.expires <= now {
                let lacks = self.lock().lacking.contains(&order.id);
                let why = if lacks { "its rule texts did not arrive in time" } else { "its time was over before it could begin" };
                return Some(Next::End(order.id, Action::Expired, why.to_owned()));
            }
        }
        for (order, _) in orders {
            let texts = self.blobs.read_all(&order.scan.rules);
            let mut state = self.lock();
            match texts {
                Some(texts) => {
                    state.lacking.remove(&order.id);
                    return Some(self.begin(&mut state, order, texts));
                }
                None if state.lacking.insert(order.id) => self.publish(&state),
                None => {}
            }
        }
        None
    }

    fn begin(&self, state: &mut State, order: Pending, texts: Vec<RuleText>) -> Next {
        let cancel = CancelFlag::default();
        // Between the look and now it may have been cancelled, or everything stopped.
        if state.stopping || state.cancelled(&order.id).is_some() {
            cancel.set();
        }
        state.running = Some(Running { id: order.id, cancel: cancel.clone(), counters: Counters::default() });
        self.publish(state);
        Next::Run(Box::new(order), texts, cancel)
    }

    /// Writes down whose `accepted` is on the spool, so that it is not answered again after a restart.
    fn confirm(&self) {
        let put: Vec<OrderId> = {
            let state = self.lock();
            let open = state.pending().iter().filter(|order| !order.answered && state.answered.contains(&order.id));
            open.map(|order| order.id).collect()
        };
        if put.is_empty() || !self.out.settle() {
            return;
        }
        let stored = self.change(|content| {
            for order in content.pending.iter_mut().filter(|order| put.contains(&order.id)) {
                order.answered = true;
            }
        });
        if let Err(why) = stored {
            tracing::warn!(why, "an order may be answered twice after a restart");
        }
    }

    fn change(&self, change: impl FnOnce(&mut Content)) -> Result<(), String> {
        match &mut self.lock().book {
            Ok(book) => book.change(now_us(), change).map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        }
    }

    /// The process that scans for the running order.
    pub(super) fn note_worker(&self, pid: Option<u32>) {
        let mut state = self.lock();
        state.worker = pid;
        self.publish(&state);
    }

    /// How far the running order is.
    pub(super) fn note_progress(&self, counters: &Counters) {
        let mut state = self.lock();
        if let Some(running) = &mut state.running {
            running.counters = *counters;
        }
        self.publish(&state);
    }

    /// Why an order is cancelled, if it is.
    pub(super) fn cancelled(&self, order: &OrderId) -> Option<String> {
        self.lock().cancelled(order).map(str::to_owned)
    }

    /// An order has ended: its answer is made durable, then it leaves the book.
    pub(super) fn finish(&self, order: OrderId, action: Action, reason: &str, counters: &Counters) {
        tracing::info!(%order, action = action.name(), reason, files = counters.files_scanned, "an order has ended");
        self.out.put(counted(action, order, reason, counters));
        let settled = self.out.settle();
        let stored = self.change(|content| content.pending.retain(|pending| pending.id != order));
        if let Err(why) = &stored {
            tracing::error!(why, %order, "a finished order could not be struck out and will run again after a restart");
        }
        if !settled {
            tracing::warn!(%order, "the answer to an order is not durable yet");
        }
        let mut state = self.lock();
        if let Ok(book) = &mut state.book {
            book.drop_pending(&order);
        }
        state.answered.remove(&order);
        state.lacking.remove(&order);
        self.publish(&state);
    }

    /// The running scan is over, finished or not.
    pub(super) fn end_running(&self) {
        let mut state = self.lock();
        state.running = None;
        state.worker = None;
        self.publish(&state);
    }

    fn publish(&self, state: &State) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = state.status();
    }
}

fn accepted_order(answer: &Event) -> Option<OrderId> {
    (answer.text(Field::ACTION) == Action::Accepted.name()).then(|| answer.text(Field::ORDER_ID).parse().ok()).flatten()
}
