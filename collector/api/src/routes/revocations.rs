//! Revocations of operators' keys: signed by a root far from every server, taken in here and handed down to every host.
//! As with orders nothing is verified: a host heeds those of its own root, and no others.

use beffroi_bus::Outgoing;
use beffroi_schema::down::{Revocation, SignedKind, blob_name};
use beffroi_schema::limits::MAX_OPERATOR_CERTIFICATE_US;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::given::{Envelope, MAX_AHEAD_US};
use crate::ask::Operation;
use crate::desk::Desk;
use crate::error::Refusal;
use crate::params;

const HINT: &str = "send the file that `beffroi key revoke` made, with `beffroi key publish FILE`";

/// Hands a revocation down.
pub(crate) struct Publish;

/// A signed revocation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RevocationInput")]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishInput {
    /// The signed revocation, base64.
    pub(crate) envelope: String,
}

/// It goes down.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RevocationPublished")]
pub(crate) struct Published {
    /// Version: hosts heed the highest they have seen.
    pub(crate) version: u64,
    /// Id of the root that signed it, as it says itself.
    pub(crate) root: String,
    /// Ids of the keys that stop.
    pub(crate) keys: Vec<String>,
    #[serde(skip)]
    again: bool,
}

impl Operation for Publish {
    type Input = PublishInput;
    type Answer = Published;

    async fn run(desk: &Desk<'_>, asked: PublishInput) -> Result<Published, Refusal> {
        let given = read(&asked.envelope)?;
        check(&given.body, params::now())?;
        let key = format!("revocation-{}", hex::encode(blob_name(&given.bytes)));
        let _one_at_a_time = desk.giving().await;
        let again = desk.stands_down(&key).await?;
        if !again {
            desk.publish_down(Outgoing::new(key.as_bytes(), given.bytes)).await?;
        }
        let Revocation { version, key_ids, .. } = given.body;
        Ok(Published { version, root: given.signer, keys: key_ids.iter().map(hex::encode).collect(), again })
    }

    fn rows(_answer: &Published) -> u64 {
        1
    }

    fn status(answer: &Published) -> StatusCode {
        if answer.again { StatusCode::OK } else { StatusCode::CREATED }
    }

    fn audited(input: &PublishInput) -> serde_json::Value {
        let Ok(given) = read(&input.envelope) else { return serde_json::Value::Null };
        let keys: Vec<String> = given.body.key_ids.iter().map(hex::encode).collect();
        serde_json::json!({ "version": given.body.version, "root": given.signer, "keys": keys })
    }
}

fn read(envelope: &str) -> Result<Envelope<Revocation>, Refusal> {
    Envelope::read(envelope, SignedKind::Revocation, HINT)
}

/// What no host would take is told at once, to the one who can mend it.
fn check(revocation: &Revocation, now: i64) -> Result<(), Refusal> {
    if revocation.key_ids.is_empty() || revocation.key_ids.iter().any(|id| id.len() != 32) {
        return Err(Refusal::bad("the revocation names no key, or something that is none", HINT));
    }
    if revocation.issued > now.saturating_add(MAX_AHEAD_US) {
        return Err(Refusal::bad("the revocation was issued in the future", "set the clock of the machine that signs"));
    }
    if now.saturating_sub(revocation.issued) > MAX_OPERATOR_CERTIFICATE_US {
        let error = "the revocation is older than any certificate that it could stop";
        return Err(Refusal::bad(error, "make a new one with --previous; it carries the old keys on"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn revocation(issued: i64, keys: &[usize]) -> Revocation {
        Revocation { version: 1, issued, key_ids: keys.iter().map(|length| vec![7; *length]).collect() }
    }

    #[test]
    fn only_what_a_host_could_take_is_handed_down() {
        assert!(check(&revocation(NOW, &[32, 32]), NOW).is_ok());
        assert!(check(&revocation(NOW, &[]), NOW).is_err());
        assert!(check(&revocation(NOW, &[32, 31]), NOW).is_err());
        assert!(check(&revocation(NOW + MAX_AHEAD_US + 1, &[32]), NOW).is_err());
        assert!(check(&revocation(NOW - MAX_OPERATOR_CERTIFICATE_US - 1, &[32]), NOW).is_err());
        assert!(check(&revocation(i64::MIN, &[32]), NOW).is_err());
    }
}
