//! `POST /v1/hello`: both sides say what they understand. An agent whose batches nobody here could read is told so at
//! once instead of filling a queue of dead letters.

use axum::Json;
use axum::extract::{Extension, Request};
use beffroi_schema::limits::{MAX_CLOCK_SKEW_US, NEWEST_SCHEMA, OLDEST_SCHEMA};
use beffroi_schema::session::Hello;
use http::StatusCode;

use crate::refuse::Refusal;
use crate::serve::Peer;
use crate::{body, clock};

/// Largest hello: some dozens of hook names.
const MAX_HELLO_BYTES: usize = 16 * 1024;
/// The body codec of batches.
const CODEC: &str = "zstd";
/// Kinds of orders that can be handed down.
const ORDERS: [&str; 3] = ["scan", "list", "cancel"];

/// The handler.
pub(crate) async fn hello(Extension(peer): Extension<Peer>, request: Request) -> Result<Json<Hello>, Refusal> {
    let identity = peer.identity.clone().ok_or_else(Refusal::no_certificate)?;
    let length = body::announced(request.headers(), MAX_HELLO_BYTES)?;
    let bytes = body::read(request.into_body(), length, MAX_HELLO_BYTES).await?;
    let theirs: Hello = serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::malformed(format!("no hello as JSON: {error}"), "send it as agents of this version do"))?;
    negotiate(&theirs)?;
    let now = clock::now_us();
    let skew = theirs.ts.saturating_sub(now);
    if skew.saturating_abs() > MAX_CLOCK_SKEW_US {
        tracing::warn!(agent = %identity.agent, tenant = identity.tenant, off = clock::span(skew), "a host's clock is off");
    }
    Ok(Json(ours(now)))
}

fn ours(now: i64) -> Hello {
    Hello {
        software: format!("beffroi-collector/{}", env!("CARGO_PKG_VERSION")),
        schema_oldest: OLDEST_SCHEMA,
        schema_newest: NEWEST_SCHEMA,
        hooks: Vec::new(),
        orders: ORDERS.map(String::from).to_vec(),
        codecs: vec![CODEC.into()],
        ts: now,
    }
}

fn negotiate(theirs: &Hello) -> Result<(), Refusal> {
    let refuse = |code, error: String, hint| Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, code, error, hint));
    let (oldest, newest) = (theirs.schema_oldest, theirs.schema_newest);
    if oldest > newest {
        return Err(Refusal::malformed(format!("schema {oldest} to {newest} is no range"), "send the oldest first"));
    }
    let ranges = format!("the agent writes schema {oldest} to {newest}, this collector reads {OLDEST_SCHEMA} to {NEWEST_SCHEMA}");
    if newest < OLDEST_SCHEMA {
        return refuse("schema_too_old", ranges, "upgrade the agent");
    }
    if oldest > NEWEST_SCHEMA {
        return refuse("schema_too_new", ranges, "upgrade the collector first, then agents");
    }
    if !theirs.codecs.iter().any(|codec| codec == CODEC) {
        return refuse("codec", format!("the agent does not write {CODEC}"), "upgrade the agent");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_agree_and_others_say_who_must_upgrade() {
        let code = |oldest, newest, codec: &str| {
            let hello = Hello { schema_oldest: oldest, schema_newest: newest, codecs: vec![codec.into()], ..ours(0) };
            negotiate(&hello).map_err(|refusal| (refusal.status.as_u16(), refusal.body.code)).err()
        };
        assert_eq!(code(1, 1, "zstd"), None);
        assert_eq!(code(NEWEST_SCHEMA, NEWEST_SCHEMA + 9, "zstd"), None);
        assert_eq!(code(0, 0, "zstd"), Some((426, "schema_too_old".into())));
        assert_eq!(code(NEWEST_SCHEMA + 1, NEWEST_SCHEMA + 2, "zstd"), Some((426, "schema_too_new".into())));
        assert_eq!(code(1, 1, "lz4"), Some((426, "codec".into())));
        assert_eq!(code(2, 1, "zstd"), Some((400, "malformed".into())));
    }
}
