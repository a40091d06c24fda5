//! What comes down: a long poll beside the sending of batches, handed to the sensor as it came.
//!
//! Owns the cursor in `orders.v1` (`uplink/orders.cursor`) and the pauses. The cursor moves only when the sensor has dealt
//! with everything before it; nothing is judged here, because this process holds no trust. Whatever a gateway answers
//! costs at most half of one core: after each delivery comes a pause as long as the delivery took.

use std::time::Duration;

use beffroi_schema::session::OrdersResponse;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::blobs::BlobStore;
use super::pacing::{Pacing, jitter};
use crate::gateway::{Gateway, GatewayError};
use crate::layout::{Layout, read_json, write_whole};
use crate::local::{Answer, Ask, ask};

/// How long one poll waits for something to come: what the gateway offers, under the idle time of common proxies.
const WAIT: Duration = Duration::from_secs(50);
/// The same while rule texts are missing: they may arrive at the gateway a little later than their order.
const WAIT_FOR_TEXTS: Duration = Duration::from_secs(3);
/// An empty answer that comes sooner than this was no long poll; the next one then waits as long.
const SHORTEST_POLL: Duration = Duration::from_secs(1);
/// Pauses after a delivery.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Longest cursor that is kept: gateways give some dozens of characters.
const MAX_CURSOR_CHARS: usize = 256;

/// How the poll stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PollStatus {
    /// Envelopes handed to the sensor since the process began.
    pub handed_in: u64,
    /// Rule texts fetched since the process began.
    pub texts: u64,
    /// Why nothing comes down, if so.
    pub problem: String,
}

/// The cursor's file. Another enrolment begins anew: under another root, old orders may mean something else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Place {
    enrolled_at: i64,
    after: String,
}

/// The connection of the moment; none while this host is not wanted.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub gateway: Gateway,
    /// When this host was enrolled, microseconds since 1970.
    pub enrolled_at: i64,
}

/// The poll.
pub(super) struct OrderPoll {
    layout: Layout,
    link: watch::Receiver<Option<Link>>,
    status: watch::Sender<PollStatus>,
    texts: BlobStore,
    /// Rule texts that the sensor needs; none when it must be asked.
    wanted: Option<Vec<String>>,
    pacing: Pacing,
}

/// Something could not be handed on.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("the sensor did not take it: {0}")]
    Sensor(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl OrderPoll {
    pub(super) fn new(layout: &Layout, link: watch::Receiver<Option<Link>>, status: watch::Sender<PollStatus>) -> Self {
        Self { layout: layout.clone(), link, status, texts: BlobStore::new(layout.blobs()), wanted: None, pacing: Pacing::new() }
    }

    /// Polls for ever; dropped when the uplink stops. Nothing is lost then: the cursor is on the disk.
    pub(super) async fn run(mut self) {
        loop {
            let Some(link) = self.link.borrow_and_update().clone() else {
                if self.link.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.turn(&link).await {
                Ok(pause) => {
                    self.pacing.succeeded();
                    self.status.send_if_modified(|status| !std::mem::take(&mut status.problem).is_empty());
                    tokio::time::sleep(pause).await;
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }

    async fn failed(&mut self, error: &PollError) {
        let asked = match error {
            PollError::Gateway(GatewayError::Refused { retry_after, .. }) => *retry_after,
            _ => None,
        };
        let pause = self.pacing.failed(asked, jitter(), Instant::now());
        let problem = error.to_string();
        if self.status.borrow().problem != problem {
            tracing::warn!(%error, pause_ms = pause.as_millis(), "orders cannot be fetched; trying again");
        }
        self.status.send_modify(|status| status.problem = problem);
        // It may be another sensor when this is over.
        self.wanted = None;
        // A new connection is worth another try at once.
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = self.link.changed() => self.link.mark_changed(),
        }
    }

    /// One poll and what follows from it; returns the pause before the next.
    async fn turn(&mut self, link: &Link) -> Result<Duration, PollError> {
        self.fetch_texts(link).await?;
        let place = self.place(link)?;
        let wait = if self.wanted.as_ref().is_some_and(Vec::is_empty) { WAIT } else { WAIT_FOR_TEXTS };
        let asked = Instant::now();
        let answer = link.gateway.orders(&place.after, wait).await?;
        if answer.orders.is_empty() && answer.after == place.after {
            self.wanted = None;
            let early = asked.elapsed() < SHORTEST_POLL;
            return Ok(if early { SHORTEST_POLL.mul_f64(1.0 + jitter()) } else { Duration::ZERO });
        }
        let begun = Instant::now();
        self.hand_in(&answer).await?;
        self.move_to(&Place { after: answer.after, ..place })?;
        Ok(begun.elapsed().clamp(PAUSES.0, PAUSES.1))
    }

    async fn hand_in(&mut self, answer: &OrdersResponse) -> Result<(), PollError> {
        for envelope in &answer.orders {
            match self.ask(Ask::Order { envelope: envelope.clone() }).await? {
                Answer::Noted => {}
                Answer::Wants { blobs } => self.wanted = Some(blobs),
                Answer::Refused { reason } => return Err(PollError::Sensor(reason)),
                other => return Err(PollError::Sensor(format!("it answered {other:?}"))),
            }
            self.status.send_modify(|status| status.handed_in += 1);
        }
        Ok(())
    }

    /// Fetches what the sensor needs, and hears what is still missing. A text that the gateway does not have yet is asked
    /// for again at the next turn.
    async fn fetch_texts(&mut self, link: &Link) -> Result<(), PollError> {
        let wanted = match self.wanted.take() {
            Some(wanted) => wanted,
            None => self.ask_for_wants().await?,
        };
        for name in wanted.iter().filter(|name| !self.texts.has(name)) {
            let stored = match link.gateway.blob(name).await {
                Ok(text) => self.texts.store(name, &text),
                Err(error) if error.status() == Some(404) => Err(std::io::Error::other("the gateway does not have it yet")),
                Err(error) => return Err(error.into()),
            };
            match stored {
                Ok(()) => self.status.send_modify(|status| status.texts += 1),
                Err(error) => tracing::warn!(text = name, %error, "a rule text could not be fetched"),
            }
        }
        // Asking also tells the sensor that something has come.
        self.wanted = Some(if wanted.is_empty() { wanted } else { self.ask_for_wants().await? });
        Ok(())
    }

    async fn ask_for_wants(&self) -> Result<Vec<String>, PollError> {
        match self.ask(Ask::Wants).await? {
            Answer::Wants { blobs } => Ok(blobs),
            other => Err(PollError::Sensor(format!("it answered {other:?}"))),
        }
    }

    async fn ask(&self, question: Ask) -> std::io::Result<Answer> {
        let socket = self.layout.socket();
        tokio::task::spawn_blocking(move || ask(&socket, &question)).await.map_err(std::io::Error::other)?
    }

    /// Where to go on. A file that cannot be read means the beginning: an order may then come twice, but none is missed.
    fn place(&self, link: &Link) -> Result<Place, PollError> {
        let stored = read_json::<Place>(&self.layout.orders_cursor()).unwrap_or_else(|error| {
            tracing::warn!(%error, "orders are read from the beginning");
            None
        });
        let begin = Place { enrolled_at: link.enrolled_at, after: String::new() };
        Ok(stored.filter(|place| place.enrolled_at == link.enrolled_at).unwrap_or(begin))
    }

    fn move_to(&self, place: &Place) -> Result<(), PollError> {
        if place.after.chars().count() > MAX_CURSOR_CHARS {
            let why = format!("its cursor has more than {MAX_CURSOR_CHARS} characters");
            return Err(GatewayError::Garbage(why, "this".into()).into());
        }
        let json = serde_json::to_vec(place).map_err(std::io::Error::from)?;
        Ok(write_whole(&self.layout.orders_cursor(), &json, 0o644, None)?)
    }
}
