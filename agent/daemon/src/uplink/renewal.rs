//! Renewal of the TLS certificate at two thirds of its life, and after its end as long as the gateway allows.
//!
//! Owns the question whether it is due and the pause between tries. The proof is signed by the identity key, which this
//! process does not hold: the sensor signs it over the agent's socket.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use beffroi_schema::SigningKey;
use beffroi_schema::session::{PURPOSE_RENEW, sign_proof};
use tokio::time::Instant;

use super::pacing::Pacing;
use crate::clock::now_us;
use crate::config::UplinkConfig;
use crate::enroll::{EnrollError, TLS_IDENTITY, certificate_validity, renew};
use crate::identity::Enrolment;
use crate::layout::Layout;
use crate::local::{Answer, Ask, ask};

/// How often the certificate's dates are read again: another process may have enrolled anew.
const RELOAD: Duration = Duration::from_secs(60);

/// Who signs the proof of a renewal.
#[derive(Clone)]
pub enum Signer {
    /// The sensor, over the agent's socket.
    Sensor(PathBuf),
    /// The identity key itself, where one process does everything (replay).
    Key(Box<SigningKey>),
}

impl Signer {
    async fn sign(&self, csr: &str) -> io::Result<(i64, String)> {
        match self {
            Self::Key(key) => {
                let ts = now_us();
                Ok((ts, sign_proof(key, PURPOSE_RENEW, csr, ts)))
            }
            Self::Sensor(socket) => {
                let (socket, csr) = (socket.clone(), csr.to_string());
                let answer = tokio::task::spawn_blocking(move || ask(&socket, &Ask::SignRenewal { csr })).await;
                match answer.map_err(io::Error::other)?? {
                    Answer::Signed { ts, proof } => Ok((ts, proof)),
                    Answer::Refused { reason } => Err(io::Error::other(format!("the sensor does not sign: {reason}"))),
                    Answer::Noted | Answer::Wants { .. } => Err(io::Error::other("the sensor answered something else")),
                }
            }
        }
    }
}

/// The certificate's age and what is done about it.
pub(super) struct Renewal {
    layout: Layout,
    signer: Signer,
    validity: Option<(i64, i64)>,
    read_at: Instant,
    seen: Option<SystemTime>,
    wanted: bool,
    pacing: Pacing,
}

impl Renewal {
    pub(super) fn new(layout: &Layout, signer: Signer) -> Self {
        Self {
            layout: layout.clone(),
            signer,
            validity: certificate_validity(layout),
            read_at: Instant::now(),
            seen: modified(layout),
            wanted: false,
            pacing: Pacing::new(),
        }
    }

    /// The gateway says that the certificate is not good any more.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn not_after(&self) -> Option<i64> {
        self.validity.map(|(_, not_after)| not_after)
    }

    /// Whether to renew now: two thirds of the life are over, or the gateway asked for it.
    pub(super) fn is_due(&mut self, now_us: i64) -> bool {
        if self.read_at.elapsed() >= RELOAD {
            self.reload();
        }
        self.pacing.wait(Instant::now()).is_none()
            && (self.wanted || self.validity.is_some_and(|validity| is_old(validity, now_us)))
    }

    /// Whether key or certificate were replaced by somebody else since they were last looked at.
    pub(super) fn has_new_files(&mut self) -> bool {
        let before = self.seen;
        self.reload();
        self.seen != before
    }

    fn reload(&mut self) {
        self.read_at = Instant::now();
        self.validity = certificate_validity(&self.layout);
        self.seen = modified(&self.layout);
    }

    pub(super) async fn run(&mut self, layout: &Layout, enrolment: &Enrolment, config: &UplinkConfig) -> Result<(), EnrollError> {
        let signer = self.signer.clone();
        match renew(layout, enrolment, config, async |csr| signer.sign(csr).await).await {
            Ok(not_after) => {
                tracing::info!(not_after = beffroi_schema::json::rfc3339(not_after), "the certificate was renewed");
                self.wanted = false;
                self.pacing.succeeded();
                self.reload();
                Ok(())
            }
            Err(error) => {
                self.pacing.failed(None, super::pacing::jitter(), Instant::now());
                Err(error)
            }
        }
    }
}

fn modified(layout: &Layout) -> Option<SystemTime> {
    std::fs::metadata(layout.tls(TLS_IDENTITY)).and_then(|meta| meta.modified()).ok()
}

fn is_old((not_before, not_after): (i64, i64), now: i64) -> bool {
    now >= not_before.saturating_add(not_after.saturating_sub(not_before) / 3 * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_after_its_end() {
        assert!(!is_old((0, 300), 199));
        assert!(is_old((0, 300), 200));
        assert!(is_old((0, 300), 9_999));
    }
}
