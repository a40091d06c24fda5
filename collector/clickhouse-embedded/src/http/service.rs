//! One request: authenticate, admit, read, run, answer.
//!
//! Owns the query permits. Order matters: nothing of a request's body is read before its secret was checked and a
//! permit taken, so what strangers can make this process hold is one header each. A permit is held until the engine
//! is done, even when the client has gone. INSERTs named in the URL may use every permit, other queries leave
//! [`PERMITS_KEPT_FOR_INSERTS`], so slow reads never stop ingestion.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::routing::get;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::Account;
use super::call::Call;
use super::multipart;
use super::reply::{self, Failure, code};
use crate::blocks::{self, BlockError};
use crate::engine::ffi::Output;
use crate::engine::pool::{Pool, Statement};
use crate::sql;

/// A client that cannot deliver its body over loopback in this time is stuck; its permit is wanted elsewhere.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Permits that only INSERTs may take.
const PERMITS_KEPT_FOR_INSERTS: usize = 2;

/// What one server instance allows.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// Largest request body, as sent and as unpacked, in bytes.
    pub(crate) body_bytes: usize,
    /// Queries running at once.
    pub(crate) queries: usize,
    /// Longest `max_execution_time` a request may set, in seconds.
    pub(crate) query_seconds: u64,
    /// Largest `max_memory_usage` a request may set, in bytes.
    pub(crate) query_memory_bytes: u64,
}

/// Shared by all requests.
pub(crate) struct Service {
    account: Account,
    pool: Arc<Pool>,
    bounds: Bounds,
    permits: Arc<Semaphore>,
    read_permits: Arc<Semaphore>,
}

/// Held while a query runs.
struct Admission {
    _any: OwnedSemaphorePermit,
    _read: Option<OwnedSemaphorePermit>,
}

impl Service {
    pub(crate) fn new(account: Account, pool: Arc<Pool>, bounds: Bounds) -> Self {
        let reads = bounds.queries.saturating_sub(PERMITS_KEPT_FOR_INSERTS).max(1);
        let permits = Arc::new(Semaphore::new(bounds.queries));
        Self { account, pool, permits, read_permits: Arc::new(Semaphore::new(reads)), bounds }
    }

    /// The routes of ClickHouse's HTTP interface that exist here.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/", get(query).post(query))
            .route("/ping", get(ping))
            .route("/replicas_status", get(ping))
            .fallback(unknown)
            .with_state(Arc::new(self))
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.account.admits(headers) {
            return Ok(());
        }
        let what = "Authentication failed: the request does not carry this server's user and key (X-ClickHouse-User and X-ClickHouse-Key, or basic authentication). (AUTHENTICATION_FAILED)";
        Err(Failure::coded(code::AUTHENTICATION_FAILED, what))
    }

    fn admit(&self, is_insert: bool) -> Result<Admission, Failure> {
        let full = |limit: usize| {
            let what =
                format!("Too many simultaneous queries. Maximum: {limit}. Try again later. (TOO_MANY_SIMULTANEOUS_QUERIES)");
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, code::TOO_MANY_QUERIES, what)
        };
        let read = match is_insert {
            true => None,
            false => Some(
                Arc::clone(&self.read_permits)
                    .try_acquire_owned()
                    .map_err(|_| full(self.bounds.queries.saturating_sub(PERMITS_KEPT_FOR_INSERTS).max(1)))?,
            ),
        };
        let any = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| full(self.bounds.queries))?;
        Ok(Admission { _any: any, _read: read })
    }

    fn ceilings(&self) -> [(&'static str, u64); 2] {
        [("max_execution_time", self.bounds.query_seconds), ("max_memory_usage", self.bounds.query_memory_bytes)]
    }

    async fn body(&self, body: Body) -> Result<Bytes, Failure> {
        let limited = Limited::new(body, self.bounds.body_bytes).collect();
        match tokio::time::timeout(BODY_TIMEOUT, limited).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(self.too_large()),
            Ok(Err(error)) => Err(Failure::coded(code::BAD_ARGUMENTS, format!("the request's body broke off: {error}"))),
            Err(_) => {
                let what = format!("the request's body did not arrive within {} s", BODY_TIMEOUT.as_secs());
                Err(Failure::coded(code::TIMEOUT_EXCEEDED, what))
            }
        }
    }

    fn too_large(&self) -> Failure {
        let what =
            format!("the request's body is larger than {} bytes; send it in parts (--max-body-bytes)", self.bounds.body_bytes);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_MANY_BYTES, what)
    }

    fn unpack(&self, body: Bytes) -> Result<Bytes, Failure> {
        blocks::unpack(&body, self.bounds.body_bytes).map(Bytes::from).map_err(|error| match error {
            BlockError::TooLarge { .. } => self.too_large(),
            other => Failure::new(StatusCode::BAD_REQUEST, code::CANNOT_DECOMPRESS, other),
        })
    }
}

async fn ping(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response<Body> {
    match service.authenticate(&headers) {
        Ok(()) => reply::plain(StatusCode::OK, "Ok.\n"),
        Err(failure) => failure.into_response(""),
    }
}

async fn unknown(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response<Body> {
    match service.authenticate(&headers) {
        Ok(()) => reply::plain(StatusCode::NOT_FOUND, "There is no handle for this path: use / or /ping\n"),
        Err(failure) => failure.into_response(""),
    }
}

async fn query(
    State(service): State<Arc<Service>>,
    Query(arguments): Query<Vec<(String, String)>>,
    request: Request<Body>,
) -> Response<Body> {
    let started = Instant::now();
    if let Err(failure) = service.authenticate(request.headers()) {
        return failure.into_response("");
    }
    if request.method() == Method::GET && arguments.is_empty() {
        return reply::plain(StatusCode::OK, "Ok.\n");
    }
    let call = match Call::read(request.headers(), arguments, &service.ceilings()) {
        Ok(call) => call,
        Err(failure) => return failure.into_response(""),
    };
    let query_id = call.query_id.clone().unwrap_or_else(new_query_id);
    match answer(&service, call, request, &query_id, started).await {
        Ok(response) => response,
        Err(failure) => {
            tracing::debug!(query_id, code = failure.code, "query failed");
            failure.into_response(&query_id)
        }
    }
}

async fn answer(
    service: &Arc<Service>,
    mut call: Call,
    request: Request<Body>,
    query_id: &str,
    started: Instant,
) -> Result<Response<Body>, Failure> {
    let is_insert = sql::first_word(&call.query).is_some_and(|w| w.eq_ignore_ascii_case("INSERT"));
    let admission = service.admit(is_insert)?;
    let readonly = request.method() == Method::GET;
    let form = request.headers().get("content-type").and_then(|v| v.to_str().ok()).and_then(multipart::boundary);
    let form = form.map(str::to_owned);
    let mut body = service.body(request.into_body()).await?;
    if let Some(boundary) = form {
        let fields = multipart::fields(&body, &boundary).map_err(|what| Failure::coded(code::BAD_ARGUMENTS, what))?;
        for (name, value) in fields {
            call.argument(&name, value, &service.ceilings())?;
        }
        body = Bytes::new();
    }
    if let Some(id) = &call.query_id {
        // The engine's interface has no query id; the comment lets system.processes be searched for it.
        if !call.settings.iter().any(|(name, _)| name == "log_comment") {
            call.settings.push(("log_comment".to_owned(), id.clone()));
        }
    }
    let (packed, service) = (call.compressed_answer, Arc::clone(service));
    let work = move || {
        let _until_done = admission;
        run(&service, call, body, readonly)
    };
    let (output, format) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::coded(code::SYSTEM_ERROR, "the query's thread ended unexpectedly; see the server's log"))??;
    let counts = output.counts();
    let bytes = if packed { Bytes::from(blocks::pack(output.as_ref())) } else { Bytes::from_owner(output) };
    Ok(reply::success(bytes, &format, query_id, counts, started.elapsed().as_nanos()))
}

/// Builds the statement and runs it. Blocks.
fn run(service: &Service, call: Call, body: Bytes, readonly: bool) -> Result<(Output, String), Failure> {
    let body = if call.compressed_body { service.unpack(body)? } else { body };
    let mut statement = Statement {
        format: call.format,
        database: call.database,
        settings: call.settings,
        parameters: call.parameters,
        readonly,
        ..Statement::default()
    };
    // Keeps the rows' descriptor open until the engine has read it.
    let rows = prepare(&mut statement, call.query, &body)?;
    let format = sql::named_format(&statement.sql).unwrap_or(&statement.format).to_owned();
    let output = service.pool.run(&statement)?;
    drop(rows);
    Ok((output, format))
}

/// Sets the statement's text. Rows of an INSERT go to an anonymous file and the text reads them from there: rows
/// inside the text would end at the first empty line for the engine's C interface, also in binary formats.
fn prepare(statement: &mut Statement, query: Vec<u8>, body: &Bytes) -> Result<Option<std::fs::File>, Failure> {
    // The text to look at, and rows that follow it in the body.
    let (text, following) = if query.is_empty() {
        (body.clone(), Bytes::new())
    } else if body.is_empty() || sql::insert_with_data(&query).is_some() {
        (Bytes::from(query), body.clone())
    } else {
        (Bytes::from([query.as_slice(), b"\n", body].concat()), Bytes::new())
    };
    if text.trim_ascii().is_empty() {
        return Err(Failure::coded(code::SYNTAX_ERROR, "Syntax error: empty query"));
    }
    let Some(insert) = sql::insert_with_data(&text) else {
        if sql::has_second_statement(&text) {
            return Err(Failure::coded(code::SYNTAX_ERROR, "Syntax error: Multi-statements are not allowed"));
        }
        statement.sql = text.to_vec();
        return Ok(None);
    };
    let inline = &text[insert.data_start..];
    let inline = if !following.is_empty() && inline.trim_ascii() == b";" { &[] } else { inline };
    let rows = anonymous_file(&[inline, &following])
        .map_err(|e| Failure::coded(code::SYSTEM_ERROR, format!("cannot hand the rows to the engine: {e}")))?;
    statement.sql = insert.reading_from(&format!("/proc/self/fd/{}", rows.as_raw_fd()));
    Ok(Some(rows))
}

fn anonymous_file(pieces: &[&[u8]]) -> std::io::Result<std::fs::File> {
    let mut file = std::fs::File::from(memfd_create(c"rows", MFdFlags::MFD_CLOEXEC)?);
    for piece in pieces {
        file.write_all(piece)?;
    }
    Ok(file)
}

fn new_query_id() -> String {
    let mut bytes = [0; 16];
    // An id only names the query in logs: zeros are a poor name, not a hazard.
    let _named_or_zero = getrandom::fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}
