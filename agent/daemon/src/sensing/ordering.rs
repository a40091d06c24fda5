//! Signed orders inside the sensor process: the desk that the socket hands envelopes to, and the thread that works.
//!
//! Owns the way of an answer to the spool. An answer travels like every other event; an order counts as finished once the
//! spool says that its answer is on the disk.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine;
use beffroi_schema::batch::Record;
use beffroi_schema::{Event, KeyId};

use super::scanning::worker;
use super::{Author, Note};
use crate::config::Config;
use crate::layout::Layout;
use crate::local::Answer;
use crate::orders::{Host, OrderDesk, Outbox, Runner, Taken};

/// How long the disk may take to have an answer before the order is looked after without that.
const SETTLE: Duration = Duration::from_secs(10);
/// A running scan ends within about a second of being told to.
const END: Duration = Duration::from_secs(3);

/// The way of answers to the spool.
struct SpoolOutbox(SyncSender<Note>);

impl Outbox for SpoolOutbox {
    fn put(&self, event: Event) {
        // The spool's thread ends after this one was told to.
        let _ = self.0.send(Note::Record(event.stream(), Record::Event(event)));
    }

    fn settle(&self) -> bool {
        let (done, settled) = sync_channel(1);
        self.0.send(Note::Settle(done)).is_ok() && settled.recv_timeout(SETTLE).unwrap_or(false)
    }
}

/// Desk and thread.
pub(super) struct Ordering {
    desk: Arc<OrderDesk>,
    thread: JoinHandle<()>,
}

impl Ordering {
    pub(super) fn start(layout: &Layout, config: &Config, host: Host, records: SyncSender<Note>) -> io::Result<Self> {
        if host.root.is_none() {
            tracing::info!("no root is pinned: this host takes no orders");
        }
        let desk = Arc::new(OrderDesk::open(layout, host, Arc::new(SpoolOutbox(records))));
        let (options, launcher) = worker(&config.scan)?;
        let thread = Runner::new(Arc::clone(&desk), config.orders.clone(), options, launcher).start()?;
        Ok(Self { desk, thread })
    }

    pub(super) fn desk(&self) -> Arc<OrderDesk> {
        Arc::clone(&self.desk)
    }

    /// Leaves a running scan to the next process.
    pub(super) fn stop(self) {
        self.desk.stop();
        let until = Instant::now() + END;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whose orders are taken.
pub(super) fn host(author: &Author, root: Option<KeyId>, config: &Config) -> Host {
    Host {
        tenant: author.tenant.clone(),
        agent: author.agent,
        root,
        no_scans: (!config.orders.scans).then(|| "scans are switched off here (orders.scans = false)".to_owned()),
    }
}

/// Hands an envelope to the desk. What is no base64 is handed over as it stands, so that it is refused like all garbage.
pub(super) fn hand_in(desk: &OrderDesk, envelope: &str) -> Answer {
    let bytes = base64::engine::general_purpose::STANDARD.decode(envelope);
    match desk.take(bytes.as_deref().unwrap_or(envelope.as_bytes())) {
        Taken::Noted => Answer::Noted,
        Taken::Accepted => wants(desk),
        Taken::Later(reason) => Answer::Refused { reason },
    }
}

/// What the desk needs.
pub(super) fn wants(desk: &OrderDesk) -> Answer {
    Answer::Wants { blobs: desk.wants() }
}

#[cfg(test)]
mod tests {
    use beffroi_schema::{Category, Field, Product};

    use super::*;

    #[test]
    fn an_answer_is_settled_when_the_spool_says_so_and_not_when_it_is_gone() {
        let (notes, incoming) = sync_channel(4);
        let outbox = SpoolOutbox(notes);
        let spool = thread::spawn(move || {
            let Ok(Note::Record(stream, Record::Event(event))) = incoming.recv() else { panic!("no event") };
            let Ok(Note::Settle(done)) = incoming.recv() else { panic!("nothing to settle") };
            done.send(true).unwrap();
            (stream, event)
        });
        let mut event = Event::new(Category::Scan, Product::Linux, 1);
        event.set(Field::ACTION, "done");
        outbox.put(event.clone());
        assert!(outbox.settle());
        assert_eq!(spool.join().unwrap(), (beffroi_schema::Stream::Detection, event));
        assert!(!outbox.settle());
    }
}
