//! The uplink: sends what is spooled, the highest class first, and moves a stream's cursor when the gateway has it.
//!
//! Owns the connection, the cursors and the TLS certificate; holds no capability and no identity key. The gateway being
//! away, busy or unwilling costs time, never a batch. A host that was revoked stops sending and says so in its status.
//! Beside the sending, a task of its own waits for what comes down and hands it to the sensor, unjudged.

mod bell;
mod blobs;
mod lane;
mod orders;
mod pacing;
mod renewal;
mod schedule;
mod status;

use std::time::Duration;

use beffroi_schema::Stream;
use beffroi_schema::down::VOCABULARY;
use beffroi_schema::limits::{OLDEST_SCHEMA, SCHEMA_VERSION};
use beffroi_schema::session::Hello;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::now_us;
use crate::config::UplinkConfig;
use crate::enroll::{EnrollError, tls_config};
use crate::enrolled::EnrolmentWatch;
use crate::gateway::{Gateway, GatewayError};
use crate::identity::Enrolment;
use crate::layout::{Layout, read_json};
use crate::local::{Ask, ask};

pub use lane::Acknowledged;
pub use orders::PollStatus;
pub use pacing::Pacing;
pub use renewal::Signer;
pub use status::{UplinkState, UplinkStatus};

use bell::Bell;
use lane::Lane;
use orders::{Link, OrderPoll};
use renewal::Renewal;
use schedule::Schedule;
use status::Status;

/// Requests on the way at once, each of another stream: a stream's order is kept, a slow class delays no other.
const MAX_IN_FLIGHT: usize = 3;
/// Time for requests on the way when the process is asked to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How often a session is greeted again: the clock's skew and the gateway's version stay known.
const HELLO_INTERVAL: Duration = Duration::from_secs(3600);
/// How often is looked whether this host was enrolled again.
const ENROLMENT_INTERVAL: Duration = Duration::from_secs(5);

/// The uplink cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UplinkError {
    /// Spool or cursor.
    #[error(transparent)]
    Log(#[from] beffroi_log::Error),
    /// Certificate, CA or gateway URL.
    #[error(transparent)]
    Setup(#[from] EnrollError),
}

impl UplinkError {
    /// Another uplink has the cursors.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Log(beffroi_log::Error::Locked { .. }))
    }
}

/// The uplink of one host.
pub struct Uplink {
    layout: Layout,
    config: UplinkConfig,
    enrolment: Enrolment,
    enrolled: EnrolmentWatch,
    enrolment_due: Instant,
    gateway: Gateway,
    lanes: Vec<Lane>,
    schedule: Schedule,
    pacing: Pacing,
    renewal: Renewal,
    status: Status,
    greeted: Option<Instant>,
    /// The connection, for the task that waits for orders.
    link: watch::Sender<Option<Link>>,
    polls: bool,
}

type Sent = (Stream, usize, Result<(), GatewayError>);

impl Uplink {
    /// Opens spool, cursors and certificate.
    ///
    /// # Errors
    /// [`UplinkError`]; [`UplinkError::is_locked`] when another process sends this spool.
    pub fn open(layout: &Layout, config: &UplinkConfig, enrolment: Enrolment, signer: Signer) -> Result<Self, UplinkError> {
        let mut lanes = Vec::with_capacity(Stream::ALL.len());
        for stream in Stream::ALL {
            lanes.push(Lane::open(layout, stream)?);
        }
        Ok(Self {
            gateway: connect(layout, config, &enrolment)?,
            link: watch::Sender::new(None),
            // A replay has no sensor to hand orders to.
            polls: matches!(signer, Signer::Sensor(_)),
            layout: layout.clone(),
            config: config.clone(),
            enrolled: EnrolmentWatch::new(layout, &enrolment),
            enrolment_due: Instant::now(),
            enrolment,
            lanes,
            schedule: Schedule::new(),
            pacing: Pacing::new(),
            renewal: Renewal::new(layout, signer),
            status: Status::new(layout),
            greeted: None,
        })
    }

    /// Sends until `stop` turns true; then waits a little for what is on the way.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut sending: JoinSet<Sent> = JoinSet::new();
        let (told, polled) = watch::channel(PollStatus::default());
        // Ends with the set: an order that is on the way then comes again.
        let mut polling = JoinSet::new();
        if self.polls {
            polling.spawn(OrderPoll::new(&self.layout, self.link.subscribe(), told).run());
        }
        let mut bell = Bell::new(&self.layout);
        while !*stop.borrow() {
            self.status.now.orders.clone_from(&polled.borrow());
            self.status.now.certificate_not_after = self.renewal.not_after();
            self.status.write_if_due(false);
            // Before the look: what comes in between rings.
            if bell.is_look_due() {
                self.hear_all();
            }
            let pause = self.turn(&mut sending).await;
            let patience = bell.patience();
            tokio::select! {
                streams = bell.rung(), if pause.is_none() => streams.into_iter().for_each(|stream| self.lanes[stream].hear()),
                Some(done) = sending.join_next(), if !sending.is_empty() => self.take_joined(done),
                () = tokio::time::sleep(pause.unwrap_or(patience)) => {}
                _ = stop.changed() => {}
            }
        }
        drop(polling);
        self.drain(sending).await;
    }

    fn hear_all(&mut self) {
        self.lanes.iter_mut().for_each(Lane::hear);
    }

    /// Tells the task that waits for orders over which connection.
    fn publish_link(&self, wanted: bool) {
        let link = Link { gateway: self.gateway.clone(), enrolled_at: self.enrolment.enrolled_at };
        self.link.send_replace(wanted.then_some(link));
    }

    /// Does what can be done now; returns for how long nothing is to be done, whatever comes; `None` when all that is there
    /// was looked at.
    async fn turn(&mut self, sending: &mut JoinSet<Sent>) -> Option<Duration> {
        if self.status.now.state == UplinkState::Stopped {
            return Some(if self.was_enrolled_again() { Duration::ZERO } else { ENROLMENT_INTERVAL });
        }
        if Instant::now() >= self.enrolment_due {
            self.enrolment_due = Instant::now() + ENROLMENT_INTERVAL;
            self.follow_enrolment();
        }
        self.report_damage();
        if self.renewal.is_due(now_us()) {
            self.renew().await;
        }
        if let Some(wait) = self.pacing.wait(Instant::now()) {
            return Some(wait);
        }
        if self.greeted.is_none_or(|at| at.elapsed() >= HELLO_INTERVAL) && !self.greet().await {
            return Some(Duration::ZERO);
        }
        while sending.len() < MAX_IN_FLIGHT {
            let Some(index) = self.schedule.next(&mut self.lanes) else { break };
            let lane = &mut self.lanes[index];
            let (stream, gateway) = (lane.stream, self.gateway.clone());
            let Some(batch) = lane.begin() else { break };
            sending.spawn(async move { (stream, batch.len(), gateway.send_batch(batch).await) });
        }
        None
    }

    fn take_joined(&mut self, done: Result<Sent, tokio::task::JoinError>) {
        match done {
            Ok((stream, bytes, result)) => self.take(stream, bytes, result),
            // A task of ours panicked: every lane may send again, nothing was acknowledged.
            Err(error) => {
                tracing::error!(%error, "a request ended in an error of this program");
                self.lanes.iter_mut().for_each(Lane::failed);
                self.pacing.failed(None, pacing::jitter(), Instant::now());
            }
        }
    }

    fn take(&mut self, stream: Stream, bytes: usize, result: Result<(), GatewayError>) {
        let lane = &mut self.lanes[usize::from(stream.number())];
        match result {
            Ok(()) => {
                self.pacing.succeeded();
                self.status.now.state = UplinkState::Sending;
                self.status.now.detail.clear();
                self.status.now.batches += 1;
                self.status.now.bytes += bytes as u64;
                match lane.acknowledged(now_us()) {
                    Ok(batch) => self.status.now.last_acknowledged = batch.or(self.status.now.last_acknowledged.take()),
                    Err(error) => self.status.failure(&error),
                }
            }
            Err(error) => match error.status() {
                // The batch is signed: nobody can split or mend it here. It stays, and the others go on.
                Some(400 | 413 | 415) => {
                    tracing::error!(stream = stream.name(), %error, "the gateway does not take a batch; it is kept and offered again");
                    self.status.failure(&error);
                    lane.block(error.to_string());
                }
                _ => {
                    lane.failed();
                    self.failed(&error);
                }
            },
        }
        self.status.now.blocked = self.lanes.iter().filter_map(|lane| Some((lane.stream, lane.blocked.clone()?))).collect();
    }

    fn failed(&mut self, error: &GatewayError) {
        self.status.failure(error);
        self.status.now.detail = error.to_string();
        self.greeted = None;
        let retry_after = match error {
            // Just enrolled at another gateway: this one hears of it within seconds.
            GatewayError::Refused { status: 403, code, .. } if code == "agent_unknown" => None,
            GatewayError::Refused { status: 403, .. } => {
                tracing::error!(%error, "the gateway does not want this host; nothing more is sent");
                self.status.now.state = UplinkState::Stopped;
                self.publish_link(false);
                self.status.write_if_due(true);
                return;
            }
            GatewayError::Refused { status: 401, retry_after, .. } => {
                self.renewal.want();
                *retry_after
            }
            GatewayError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        };
        let pause = self.pacing.failed(retry_after, pacing::jitter(), Instant::now());
        if self.status.now.state != UplinkState::Retrying {
            tracing::warn!(%error, pause_ms = pause.as_millis(), "nothing can be sent; trying again");
        }
        self.status.now.state = UplinkState::Retrying;
    }

    async fn greet(&mut self) -> bool {
        let hooks = read_json::<crate::status::SensorStatus>(&self.layout.sensor_status()).ok().flatten();
        let hooks = hooks.map(|status| status.hooks.into_iter().filter(|hook| hook.on).map(|hook| hook.name).collect());
        let hello = Hello {
            software: format!("beffroi-agent/{}", crate::host::VERSION),
            schema_oldest: OLDEST_SCHEMA,
            schema_newest: SCHEMA_VERSION,
            hooks: hooks.unwrap_or_default(),
            orders: VOCABULARY.map(str::to_owned).to_vec(),
            codecs: vec!["zstd".into()],
            ts: now_us(),
        };
        match self.gateway.hello(&hello).await {
            Ok(answer) => {
                self.greeted = Some(Instant::now());
                self.publish_link(true);
                self.status.now.gateway_software = answer.software;
                self.status.now.clock_skew_us = Some(answer.ts.saturating_sub(now_us()));
                if self.status.now.state != UplinkState::Sending {
                    tracing::info!(gateway = self.gateway.url(), "the gateway answers");
                    self.status.now.state = UplinkState::Sending;
                    self.status.now.detail.clear();
                }
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    async fn renew(&mut self) {
        match self.renewal.run(&self.layout, &self.enrolment, &self.config).await {
            Ok(()) => match connect(&self.layout, &self.config, &self.enrolment) {
                Ok(gateway) => {
                    self.gateway = gateway;
                    self.greeted = None;
                }
                Err(error) => self.status.failure(&error),
            },
            Err(error) => {
                tracing::warn!(%error, "the certificate could not be renewed; trying again");
                self.status.failure(&error);
            }
        }
    }

    /// A new enrolment or certificate ends the stop.
    fn was_enrolled_again(&mut self) -> bool {
        if !self.renewal.has_new_files() {
            return false;
        }
        Enrolment::load(&self.layout).is_ok_and(|enrolment| self.begin_anew(enrolment))
    }

    /// A new enrolment while all is well: from now on to its gateway, with its certificate, for its orders.
    fn follow_enrolment(&mut self) {
        if let Some(enrolment) = self.enrolled.look()
            && enrolment != self.enrolment
            && !self.begin_anew(enrolment)
        {
            // To be told of it again at the next look.
            self.enrolled = EnrolmentWatch::new(&self.layout, &self.enrolment);
        }
    }

    fn begin_anew(&mut self, enrolment: Enrolment) -> bool {
        let gateway = match connect(&self.layout, &self.config, &enrolment) {
            Ok(gateway) => gateway,
            Err(error) => {
                self.status.failure(&error);
                return false;
            }
        };
        tracing::info!(gateway = enrolment.gateway, "this host was enrolled again");
        self.enrolment = enrolment;
        self.gateway = gateway;
        self.greeted = None;
        self.status.now.state = UplinkState::Starting;
        self.pacing.succeeded();
        true
    }

    fn report_damage(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.damaged_bytes > 0) {
            let report = Ask::Damaged { stream: lane.stream, bytes: lane.damaged_bytes };
            match ask(&self.layout.socket(), &report) {
                Ok(_) => lane.damaged_bytes = 0,
                Err(error) => {
                    tracing::warn!(%error, "unreadable batches could not be reported to the sensor");
                    // Without a sensor nobody can sign a gap now; the hole is found by the collector.
                    lane.damaged_bytes = 0;
                }
            }
        }
    }

    async fn drain(mut self, mut sending: JoinSet<Sent>) {
        let deadline = Instant::now() + DRAIN;
        loop {
            // The sensor stops first: its last batches still go, as long as the gateway takes them.
            if self.status.now.state == UplinkState::Sending && Instant::now() < deadline {
                self.hear_all();
                self.turn(&mut sending).await;
            }
            match tokio::time::timeout_at(deadline, sending.join_next()).await {
                Ok(Some(done)) => self.take_joined(done),
                Ok(None) | Err(_) => break,
            }
        }
        let positions: Vec<u64> = self.lanes.iter().map(Lane::position).collect();
        tracing::info!(
            abandoned = sending.len(),
            ?positions,
            "the uplink has stopped; what was not acknowledged stays on the spool"
        );
        self.status.write_if_due(true);
    }
}

fn connect(layout: &Layout, config: &UplinkConfig, enrolment: &Enrolment) -> Result<Gateway, UplinkError> {
    let tls = tls_config(layout, enrolment, true)?;
    Gateway::new(&enrolment.gateway, tls, config).map_err(|error| EnrollError::from(error).into())
}
