//! `POST /v1/renew`: a new certificate for a host that proves itself with its identity key, also weeks after the old one
//! expired. A proof holds for one signing request and for ten minutes; a replayed one could at most certify again the
//! TLS key of the host that made it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use beffroi_schema::session::{CertificateResponse, PURPOSE_RENEW, RENEWAL_GRACE_SECONDS, RenewRequest, verify_proof};
use http::StatusCode;

use crate::clock;
use crate::directory::Host;
use crate::enroll::{Enrolment, unissued, wrong_proof};
use crate::refuse::Refusal;
use crate::serve::Peer;

/// How far the asker's clock may be from ours: bounds the life of a proof.
const MAX_SKEW_US: i64 = 10 * 60 * 1_000_000;

/// The handler.
pub(crate) async fn renew(
    State(enrolment): State<Arc<Enrolment>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Json<CertificateResponse>, Refusal> {
    let request: RenewRequest = enrolment.read(&peer, request).await?;
    enrolment.directory.require_ready()?;
    let admitted = admit(&enrolment, &peer, &request);
    if let Err(refusal) = &admitted {
        let (agent, code) = (request.agent_id, &refusal.body.code);
        tracing::warn!(target: "beffroi::security", remote = %peer.remote, %agent, code, "refused a renewal");
    }
    Ok(Json(enrolment.certify(&request.csr, request.agent_id, admitted?).await?))
}

fn admit(enrolment: &Enrolment, peer: &Peer, request: &RenewRequest) -> Result<Host, Refusal> {
    if peer.identity.as_ref().is_some_and(|identity| identity.agent != request.agent_id) {
        let hint = "renew with this host's own certificate or with none";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "identity_mismatch", "the certificate is another host's", hint));
    }
    let host = enrolment.directory.host(request.agent_id).ok_or_else(Refusal::unknown_agent)?;
    if !verify_proof(&host.public_key, PURPOSE_RENEW, &request.csr, request.ts, &request.proof) {
        return Err(wrong_proof());
    }
    let now = clock::now_us();
    check_clock(request.ts, now)?;
    if enrolment.directory.is_revoked(request.agent_id) {
        return Err(Refusal::revoked());
    }
    check_grace(host.valid_until, now)?;
    crate::pki::check_csr(&request.csr).map_err(|error| unissued(&error.into()))?;
    Ok(host)
}

fn check_clock(ts: i64, now: i64) -> Result<(), Refusal> {
    let off = ts.saturating_sub(now);
    if off.saturating_abs() <= MAX_SKEW_US {
        return Ok(());
    }
    let side = if off < 0 { "behind" } else { "ahead of" };
    let error = format!(
        "the request is from {}, {} {side} the collector's clock ({})",
        clock::text(ts),
        clock::span(off),
        clock::text(now)
    );
    let hint = "set this host's clock (NTP) and renew again";
    Err(Refusal::new(StatusCode::FORBIDDEN, "clock_off", error, hint))
}

fn check_grace(valid_until: i64, now: i64) -> Result<(), Refusal> {
    let expired_for = now.saturating_sub(valid_until);
    if expired_for <= RENEWAL_GRACE_SECONDS * 1_000_000 {
        return Ok(());
    }
    let error = format!(
        "the last certificate expired {} ago, {} days are allowed",
        clock::span(expired_for),
        RENEWAL_GRACE_SECONDS / 86_400
    );
    let hint = "enrol this host again with a token; it keeps its identity and its history";
    Err(Refusal::new(StatusCode::FORBIDDEN, "renewal_too_late", error, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much_and_in_which_direction() {
        let now = 1_700_000_000_000_000;
        check_clock(now - MAX_SKEW_US, now).unwrap();
        check_clock(now + MAX_SKEW_US, now).unwrap();
        let said = |ts| check_clock(ts, now).unwrap_err().body.error;
        assert!(said(now - MAX_SKEW_US - 60_000_000).contains("11 min behind"), "{}", said(now - MAX_SKEW_US - 60_000_000));
        assert!(said(now + 3 * 3_600_000_000).contains("3 h ahead"));
        assert!(check_clock(0, now).is_err() && check_clock(i64::MIN, now).is_err() && check_clock(i64::MAX, now).is_err());
    }

    #[test]
    fn sixty_days_of_grace_end_after_sixty_days() {
        let (now, day) = (1_700_000_000_000_000, 86_400_000_000);
        check_grace(now - 60 * day, now).unwrap();
        assert_eq!(check_grace(now - 60 * day - 1, now).unwrap_err().body.code, "renewal_too_late");
    }
}
