//! The API over HTTP: who calls, what was sent, and what stands before every operation and behind every answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};

use crate::ask::{Caller, Operation, Verb, ask_reading, refused};
use crate::auth::{Asker, bearer};
use crate::desk::{App, NotGood};
use crate::error::Refusal;
use crate::routes::table;

/// Longest path and query.
const MAX_URI_BYTES: usize = 8 * 1024;
/// Longest reason, bytes after decoding.
const MAX_REASON_BYTES: usize = 1_000;
/// Header in which the asker says why, percent-encoded UTF-8.
const REASON: &str = "x-beffroi-reason";
/// Bodies larger than this are read one after the other: rule texts take tens of megabytes.
const LARGE_BODY: usize = 1024 * 1024;
/// Door of these calls in the audit.
const DOOR: &str = "api";

pub(crate) type Shared = Arc<App>;

/// Everything that listens.
pub(crate) fn router(app: Shared) -> Router {
    let mut asked = Router::new();
    for entry in table() {
        asked = asked.route(entry.route.path, (entry.method)());
    }
    let asked =
        asked.fallback(unknown).method_not_allowed_fallback(wrong_method).layer(from_fn_with_state(Arc::clone(&app), known));
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .merge(asked)
        .layer(from_fn_with_state(Arc::clone(&app), front))
        .with_state(app)
}

/// The process answers.
async fn alive() -> Json<Value> {
    Json(json!({ "alive": true }))
}

/// 200 when every role can do its work, else 503. Names of roles only: reasons are for those with a token.
async fn ready(State(app): State<Shared>) -> Response {
    let roles = app.roles();
    let ready = roles.iter().all(|role| role.ready);
    let names: Vec<_> = roles.iter().map(|role| json!({ "role": role.role, "ready": role.ready })).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "roles": names }))).into_response()
}

async fn unknown(State(app): State<Shared>, Extension(caller): Extension<Caller>) -> Refusal {
    let hint = "see the API's document (/v1/openapi.json) for the paths";
    refused(&app, &caller, Refusal::new(StatusCode::NOT_FOUND, "no_route", "there is nothing at this path", hint)).await
}

async fn wrong_method(State(app): State<Shared>, Extension(caller): Extension<Caller>) -> Refusal {
    let hint = "see the API's document (/v1/openapi.json) for the methods";
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not take this method", hint);
    refused(&app, &caller, refusal).await
}

/// Before everything: how often this address asks. Behind everything: headers that keep answers where they belong.
async fn front(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let counted = address.map_or(Ok(()), |address| app.rates().address(address));
    let mut response = match counted {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    let mut unless_said = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    unless_said(header::CACHE_CONTROL, "no-store");
    unless_said(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if app.tls {
        unless_said(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}

/// Who calls. Without a token that is good there is nothing but health.
async fn known(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    if request.uri().path_and_query().is_some_and(|text| text.as_str().len() > MAX_URI_BYTES) {
        let error = "path and query are longer than 8 KiB";
        return Refusal::new(StatusCode::URI_TOO_LONG, "too_large", error, "ask for less at once").into_response();
    }
    let signed_in = app.sign_in(bearer(request.headers()).unwrap_or_default());
    let asker = match signed_in {
        Ok(asker) => asker,
        Err(not_good) => {
            metrics::counter!("beffroi_api_unauthorized_total").increment(1);
            let NotGood { refusal, known } = *not_good;
            let Some(asker) = known else { return refusal.into_response() };
            let caller = caller(&request, asker);
            tracing::warn!(target: "beffroi::security", by = caller.asker.name, token_id = caller.asker.proof.id(),
                remote = caller.remote, code = refusal.body.code, "a token that is no longer good was used");
            return refused(&app, &caller, refusal).await.into_response();
        }
    };
    let mut caller = caller(&request, asker);
    let said = reason(request.headers());
    match said {
        Ok(said) => caller.reason = said,
        Err(refusal) => return refused(&app, &caller, refusal).await.into_response(),
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn caller(request: &Request, asker: Asker) -> Caller {
    Caller {
        asker,
        remote: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.to_string()).unwrap_or_default(),
        door: DOOR,
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        reason: String::new(),
    }
}

fn reason(headers: &http::HeaderMap) -> Result<String, Refusal> {
    let Some(value) = headers.get(REASON) else { return Ok(String::new()) };
    let wrong = || {
        let hint = "write at most 1000 bytes of UTF-8, percent-encoded, without control characters";
        Refusal::bad("the header X-Beffroi-Reason cannot be read", hint)
    };
    let text = percent_encoding::percent_decode(value.as_bytes()).decode_utf8().map_err(|_| wrong())?;
    if text.len() > MAX_REASON_BYTES || text.chars().any(char::is_control) {
        return Err(wrong());
    }
    Ok(text.into_owned())
}

/// The handler of every operation.
pub(crate) async fn serve<O: Operation>(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<HashMap<String, String>>, PathRejection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let reading = async {
        let Path(path) =
            path.map_err(|error| Refusal::bad(format!("the path cannot be read: {}", error.body_text()), "write UTF-8"))?;
        let _place = if O::MAX_BODY > LARGE_BODY { Some(app.large_body().await) } else { None };
        match O::ROUTE.verb {
            Verb::Get | Verb::Delete => of_query(path, &parts),
            Verb::Post => of_body(path, &parts, collect(body, O::MAX_BODY).await?),
        }
    };
    match ask_reading::<O>(&app, &caller, reading).await {
        Ok(answer) => O::respond(answer),
        Err(refusal) => refusal.into_response(),
    }
}

/// Input from parameters of path and query. One that stands in both is refused as given twice.
fn of_query<T: serde::de::DeserializeOwned>(path: HashMap<String, String>, parts: &Parts) -> Result<T, Refusal> {
    let query = parts.uri.query().unwrap_or_default();
    let given = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned()));
    let mut text = form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(path.into_iter().chain(given));
    serde_urlencoded::from_str(&text.finish())
        .map_err(|error| Refusal::bad(format!("a parameter is wrong: {error}"), "see the API's document (/v1/openapi.json)"))
}

/// Input from parameters of the path and a JSON body.
fn of_body<T: serde::de::DeserializeOwned>(path: HashMap<String, String>, parts: &Parts, body: Bytes) -> Result<T, Refusal> {
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::bad("this call takes no parameters but those of its path", "put what you ask for into the body"));
    }
    let wrong = |error: serde_json::Error| {
        Refusal::bad(format!("the body is not what this call takes: {error}"), "send JSON; see /v1/openapi.json")
    };
    if path.is_empty() {
        return serde_json::from_slice(&body).map_err(wrong);
    }
    let mut fields: serde_json::Map<String, Value> = serde_json::from_slice(&body).map_err(wrong)?;
    for (name, value) in path {
        if fields.insert(name.clone(), value.into()).is_some() {
            return Err(Refusal::bad(format!("{name} stands in the path and in the body"), "leave it out of the body"));
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(wrong)
}

async fn collect(body: Body, max: usize) -> Result<Bytes, Refusal> {
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let error = format!("the body is larger than {max} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error, "ask for less at once"))
        }
        Err(_) => Err(Refusal::bad("the body broke off", "send it again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Input {
        id: String,
        limit: u64,
    }

    fn parts(uri: &str) -> Parts {
        Request::builder().uri(uri).body(Body::empty()).unwrap().into_parts().0
    }

    fn path() -> HashMap<String, String> {
        HashMap::from([("id".to_owned(), "a&b=c é".to_owned())])
    }

    #[test]
    fn parameters_of_path_and_query_are_one_input_and_neither_can_replace_the_other() {
        let read: Input = of_query(path(), &parts("/x?limit=3")).unwrap();
        assert_eq!(read, Input { id: "a&b=c é".into(), limit: 3 });
        for query in ["/x?id=other", "/x?limit=-1", "/x?by=mallory", "/x?limit=1&limit=2"] {
            let refusal = of_query::<Input>(path(), &parts(query)).unwrap_err();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{query}");
        }
        let read: Input = of_body(path(), &parts("/x"), r#"{"limit":3}"#.into()).unwrap();
        assert_eq!(read.limit, 3);
        for body in [r#"{"id":"other"}"#, r#"{"by":"mallory"}"#, "[]", "", "{"] {
            assert!(of_body::<Input>(path(), &parts("/x"), body.into()).is_err(), "{body}");
        }
        assert!(of_body::<Input>(path(), &parts("/x?limit=1"), "{}".into()).is_err());
    }

    #[test]
    fn a_reason_is_decoded_and_bounded() {
        let given = |text: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(REASON, text.parse().unwrap());
            reason(&headers)
        };
        assert_eq!(given("affaire%20n%C2%B0%2012").unwrap(), "affaire n° 12");
        assert_eq!(reason(&http::HeaderMap::new()).unwrap(), "");
        for bad in ["%ff", "a%0ab", "%1b[2J", &"x".repeat(1_001)] {
            assert!(given(bad).is_err(), "{bad}");
        }
    }
}
