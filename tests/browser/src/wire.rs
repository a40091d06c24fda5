//! JSON over HTTP/1.1 to a server on loopback: what WebDriver needs, and no more.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Longest answer to a command: a page may wait for the engine, axe-core takes seconds on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Largest answer: a screenshot of a page in base64.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Status line and headers as they came.
    pub head: String,
    /// Body; bad UTF-8 replaced.
    pub body: String,
}

impl Answer {
    /// Every value of a header.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// A request and its answer. `headers` are whole lines, each with its end.
///
/// # Errors
/// No connection, no answer in time.
pub fn send(address: &str, method: &str, path: &str, headers: &str, body: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    answer(&mut stream).with_context(|| format!("{method} {path} at {address}"))
}

/// A WebDriver command; the answer's status and JSON.
///
/// # Errors
/// As [`send`].
pub(crate) fn call(address: &str, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let answer = send(address, method, path, "Content-Type: application/json\r\n", &body)?;
    Ok((answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null)))
}

/// Reads an answer with a known length; chromedriver and the collector both say theirs.
fn answer(stream: &mut TcpStream) -> Result<Answer> {
    let mut head = Vec::new();
    let mut byte = [0u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 64 * 1024, "the head of the answer does not end");
        if stream.read(&mut byte)? == 0 {
            bail!("the answer broke off in its head");
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let lowered = head.to_ascii_lowercase();
    let length = lowered.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<u64>().ok());
    let mut body = Vec::new();
    stream.take(length.unwrap_or(0).min(MAX_ANSWER)).read_to_end(&mut body)?;
    Ok(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
}
