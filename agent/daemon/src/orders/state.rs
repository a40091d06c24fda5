//! What the desk knows of its orders, and how an envelope changes that.
//!
//! Owns the decisions that need memory: repeated, full, cancelled before it came. Every change goes through the book, so
//! that it is on the disk before anybody hears of it.

use std::collections::HashSet;

use beffroi_scan::job::{CancelFlag, Counters};
use beffroi_schema::down::Refusal;
use beffroi_schema::{Event, OrderId};

use super::answers::{Action, answer, listed};
use super::book::{Book, Content, MAX_PENDING, MAX_SEEN, Pending};
use super::desk::{Host, Taken};
use super::judge::{Refused, Task, judge};
use super::refusals::Refusals;
use super::status::{OrderLine, OrderState, OrdersStatus};

/// The scan that runs.
pub(super) struct Running {
    pub id: OrderId,
    pub cancel: CancelFlag,
    pub counters: Counters,
}

/// The desk's memory.
pub(super) struct State {
    pub book: Result<Book, String>,
    refusals: Refusals,
    /// Orders whose `accepted` was put into the outbox by this process or one before.
    pub answered: HashSet<OrderId>,
    /// Orders whose rule texts are not all here.
    pub lacking: HashSet<OrderId>,
    pub running: Option<Running>,
    pub worker: Option<u32>,
    pub stopping: bool,
    /// Grows whenever the runner should look again.
    pub changes: u64,
    accepted: u64,
    repeated: u64,
}

impl State {
    pub fn new(book: Result<Book, String>) -> Self {
        let answered = book.iter().flat_map(Book::pending).filter(|order| order.answered).map(|order| order.id).collect();
        Self {
            book,
            refusals: Refusals::default(),
            answered,
            lacking: HashSet::new(),
            running: None,
            worker: None,
            stopping: false,
            changes: 0,
            accepted: 0,
            repeated: 0,
        }
    }

    pub fn pending(&self) -> &[Pending] {
        self.book.as_ref().map_or(&[], Book::pending)
    }

    pub fn cancelled(&self, order: &OrderId) -> Option<&str> {
        self.book.as_ref().ok().and_then(|book| book.cancelled(order))
    }

    /// Orders that were answered and may be worked on, with the reason of their cancellation.
    pub fn ready(&self) -> Vec<(Pending, Option<String>)> {
        let answered = self.pending().iter().filter(|order| self.answered.contains(&order.id));
        answered.map(|order| (order.clone(), self.cancelled(&order.id).map(str::to_owned))).collect()
    }

    /// What becomes of an envelope, and the answers to it. Err: nothing was decided, because the disk refused.
    pub fn decide(&mut self, envelope: &[u8], host: &Host, now: i64) -> Result<(Taken, Vec<Event>), String> {
        let judged = match &self.book {
            Ok(book) => judge(envelope, host, book, now).and_then(|task| room_for(task, host, book)),
            Err(why) => Err(Refused { order: None, refusal: Refusal::NoRecord(why.clone()) }),
        };
        let task = match judged {
            Ok(task) => task,
            Err(refused) => return Ok((Taken::Noted, self.refuse(&refused, envelope, now))),
        };
        let answers = match task {
            Task::Scan(order) => self.accept_scan(*order, now)?,
            Task::Cancel { own, expires, target, by } => self.accept_cancel(own, expires, target, &by, now)?,
            Task::List { own, expires } => self.accept_list(own, expires, now)?,
            Task::Revoke(revocation) => {
                tracing::warn!(version = revocation.version, keys = revocation.key_ids.len(), "operator keys are revoked");
                self.store(now, |content| content.revoke(&revocation, now))?;
                self.stop_cancelled();
                Vec::new()
            }
            Task::Repeated => {
                self.repeated += 1;
                Vec::new()
            }
            Task::Nothing => Vec::new(),
        };
        Ok((Taken::Noted, answers))
    }

    fn refuse(&mut self, refused: &Refused, envelope: &[u8], now: i64) -> Vec<Event> {
        let reason = refused.refusal.reason();
        if !self.refusals.note(&refused.refusal, envelope, now) {
            return Vec::new();
        }
        tracing::warn!(reason, "an order is refused");
        vec![answer(Action::Refused, refused.order, &reason)]
    }

    fn accept_scan(&mut self, order: Pending, now: i64) -> Result<Vec<Event>, String> {
        let id = order.id;
        tracing::info!(order = %id, operator = order.operator, "a scan is accepted");
        self.store(now, |content| {
            content.see(id, order.expires);
            content.pending.push(order);
        })?;
        self.accepted += 1;
        Ok(vec![answer(Action::Accepted, Some(id), "")])
    }

    fn accept_cancel(&mut self, own: OrderId, expires: i64, target: OrderId, by: &str, now: i64) -> Result<Vec<Event>, String> {
        tracing::info!(order = %target, operator = by, "an order is cancelled");
        self.store(now, |content| {
            content.see(own, expires);
            content.cancel(target, format!("cancelled by {by}"), now);
        })?;
        self.accepted += 1;
        self.stop_cancelled();
        Ok(vec![answer(Action::Accepted, Some(own), ""), answer(Action::Done, Some(own), "")])
    }

    fn accept_list(&mut self, own: OrderId, expires: i64, now: i64) -> Result<Vec<Event>, String> {
        self.store(now, |content| content.see(own, expires))?;
        self.accepted += 1;
        let lines = self.status().pending;
        let list = listed(own, lines.iter().map(OrderLine::text));
        Ok(vec![answer(Action::Accepted, Some(own), ""), list, answer(Action::Done, Some(own), "")])
    }

    fn store(&mut self, now: i64, change: impl FnOnce(&mut Content)) -> Result<(), String> {
        match &mut self.book {
            Ok(book) => book.change(now, change).map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        }
    }

    /// Ends the running scan when it is among the cancelled.
    fn stop_cancelled(&self) {
        if let Some(running) = &self.running
            && self.cancelled(&running.id).is_some()
        {
            running.cancel.set();
        }
    }

    pub fn status(&self) -> OrdersStatus {
        let pending = self.pending().iter().map(|order| self.line(order)).collect();
        OrdersStatus {
            pending,
            accepted: self.accepted,
            refused: self.refusals.totals(),
            repeated: self.repeated,
            revocation_version: self.book.as_ref().map_or(0, Book::revocation_version),
            problem: self.book.as_ref().err().cloned().unwrap_or_default(),
            worker: self.worker,
        }
    }

    fn line(&self, order: &Pending) -> OrderLine {
        let running = self.running.as_ref().filter(|running| running.id == order.id);
        let state = match running {
            _ if self.cancelled(&order.id).is_some() => OrderState::Ending,
            Some(_) => OrderState::Running,
            None if self.lacking.contains(&order.id) => OrderState::WaitingForRules,
            None => OrderState::Waiting,
        };
        let mut line = OrderLine {
            id: order.id,
            state,
            operator: order.operator.clone(),
            received: order.received,
            expires: order.expires,
            files_scanned: 0,
            files_matched: 0,
        };
        if let Some(running) = running {
            line.count(&running.counters);
        }
        line
    }
}

/// Whether there is room for one more order on this host.
fn room_for(task: Task, host: &Host, book: &Book) -> Result<Task, Refused> {
    let refused = |order: OrderId, refusal| Err(Refused { order: Some(order), refusal });
    match &task {
        Task::Scan(order) if host.no_scans.is_some() => {
            refused(order.id, Refusal::NoScanner(host.no_scans.clone().unwrap_or_default()))
        }
        Task::Scan(order) if book.pending().len() >= MAX_PENDING => refused(order.id, Refusal::Full(MAX_PENDING)),
        Task::Scan(order) if book.is_full() => refused(order.id, Refusal::Full(MAX_SEEN)),
        Task::Cancel { own, .. } | Task::List { own, .. } if book.is_full() => refused(*own, Refusal::Full(MAX_SEEN)),
        _ => Ok(task),
    }
}
