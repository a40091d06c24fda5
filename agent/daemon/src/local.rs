//! The one socket between the agent's processes: the uplink has a renewal signed, reports damage, hands in what came down.
//!
//! Owns the protocol (one JSON line each way, one exchange a connection), its limits, and the check of who is asking.
//! The sensor signs nothing but the proof of a renewal, at its own time, and believes nothing of an order but its chain.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use beffroi_schema::Stream;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::users::User;

/// Longest line: the largest envelope (256 KiB) in base64, and its name. Everything else is far below.
const MAX_LINE_BYTES: u64 = 384 * 1024;
/// Longest certificate request that is signed.
const MAX_CSR_BYTES: usize = 8 * 1024;
/// A peer that does not speak or listen is left after this.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Sign the proof of a renewal with this certificate request.
    SignRenewal {
        /// The request (PEM).
        csr: String,
    },
    /// The spool of a stream holds something unreadable.
    Damaged {
        /// Which stream.
        stream: Stream,
        /// Unreadable bytes.
        bytes: u64,
    },
    /// Something came down from the gateway.
    Order {
        /// An encoded `Signed`, base64, as it came.
        envelope: String,
    },
    /// Which rule texts are needed for the orders that were accepted?
    Wants,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The proof.
    Signed {
        /// Time in the proof, microseconds since 1970.
        ts: i64,
        /// Signature, hex.
        proof: String,
    },
    /// It was noted.
    Noted,
    /// Rule texts that are needed and not here.
    Wants {
        /// SHA-256, hex.
        blobs: Vec<String>,
    },
    /// It was not done.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Asks the sensor. Blocks for a few seconds at most.
///
/// # Errors
/// There is no sensor, or it does not answer.
pub fn ask(socket: &Path, ask: &Ask) -> io::Result<Answer> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}; is the sensor running?", socket.display()));
    let exchange = || {
        let stream = UnixStream::connect(socket)?;
        prepare(&stream)?;
        write_line(&stream, ask)?;
        read_line(&stream)
    };
    exchange().map_err(named)
}

/// The sensor's end.
pub struct LocalServer {
    listener: UnixListener,
    allowed: Vec<u32>,
}

impl LocalServer {
    /// Binds the socket, replacing a leftover. Root, this process's user and `uplink` may ask.
    ///
    /// # Errors
    /// The operating system's, with the path.
    pub fn bind(path: &Path, uplink: &User) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()));
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(named)?;
        if nix::unistd::geteuid().is_root() {
            chown(path, None, Some(uplink.gid)).map_err(named)?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(named)?;
        Ok(Self { listener, allowed: vec![0, nix::unistd::geteuid().as_raw(), uplink.uid] })
    }

    /// Answers one connection after the other, for ever. What a peer does wrong ends its connection only.
    pub fn serve(&self, answer: impl Fn(Ask) -> Answer) {
        for stream in self.listener.incoming() {
            let served = stream.and_then(|stream| self.exchange(&stream, &answer));
            if let Err(error) = served {
                tracing::warn!(%error, "a question on the agent's socket was not answered");
            }
        }
    }

    fn exchange(&self, stream: &UnixStream, answer: &impl Fn(Ask) -> Answer) -> io::Result<()> {
        let peer = getsockopt(stream, PeerCredentials)?;
        if !self.allowed.contains(&peer.uid()) {
            return Err(io::Error::other(format!("user {} (process {}) may not ask", peer.uid(), peer.pid())));
        }
        prepare(stream)?;
        let ask: Ask = read_line(stream)?;
        let reply = match &ask {
            Ask::SignRenewal { csr } if !is_request(csr) => Answer::Refused { reason: "this is no certificate request".into() },
            _ => answer(ask),
        };
        write_line(stream, &reply)
    }
}

fn is_request(csr: &str) -> bool {
    csr.len() <= MAX_CSR_BYTES && csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----")
}

fn prepare(stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))
}

fn write_line(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn read_line<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE_BYTES)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_and_nonsense_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let server = LocalServer::bind(&path, &User::current()).unwrap();
        std::thread::spawn(move || server.serve(|_| Answer::Noted));
        UnixStream::connect(&path).unwrap().write_all(b"nonsense\n").unwrap();
        assert_eq!(ask(&path, &Ask::Damaged { stream: Stream::File, bytes: 1 }).unwrap(), Answer::Noted);
        let refused = ask(&path, &Ask::SignRenewal { csr: "anything".into() }).unwrap();
        assert!(matches!(refused, Answer::Refused { .. }));
    }

    #[test]
    fn a_missing_sensor_is_named() {
        let error = ask(Path::new("/nonexistent/s"), &Ask::Damaged { stream: Stream::File, bytes: 1 }).unwrap_err();
        assert!(error.to_string().contains("is the sensor running"), "{error}");
    }
}
