//! Finds an engine that lives but no longer works, and kills it, so that the supervisor starts it again.
//!
//! Owns one thread for each life of the child, which asks `SELECT 1` over HTTP. An answer that all permits are taken
//! ([`BUSY`]) is no proof of work, but may be honest load: it counts as a sign of life for [`BUSY_FOR`].
//!
//! On failure: a child that is killed here ends with a reason that says so. A child that is asked to stop is left alone:
//! its drain has a deadline of its own.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::supervise::Known;

/// Questions asked within the time after which the engine counts as hung.
const ASKS: u32 = 6;
/// HTTP status of an engine whose permits are all taken.
const BUSY: &[u8] = b" 503";
/// How long "all permits are taken" may be the only answer: more than twice the longest query that a request may ask for.
const BUSY_FOR: Duration = Duration::from_secs(15 * 60);

/// How to ask the child.
pub(crate) struct Watchdog {
    pub(crate) address: SocketAddr,
    pub(crate) user: &'static str,
    pub(crate) key: String,
    pub(crate) hung_after: Duration,
}

/// What the child answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Works,
    IsBusy,
    Nothing,
}

/// Watches one life of the child.
pub(crate) struct Guard {
    over: Arc<AtomicBool>,
    killed: Arc<Mutex<Option<String>>>,
    _end: mpsc::SyncSender<()>,
}

impl Guard {
    /// The child has ended: why, if it was killed for hanging.
    pub(crate) fn end(self) -> Option<String> {
        self.over.store(true, Ordering::Relaxed);
        self.killed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Watchdog {
    /// Starts watching. A thread that cannot be started leaves the child unwatched, which is logged.
    pub(crate) fn guard(&self, pid: Pid, child: Arc<Mutex<Known>>) -> Guard {
        // Nothing is ever sent: only its end is noticed.
        let (end, ended) = mpsc::sync_channel(1);
        let guard = Guard { over: Arc::default(), killed: Arc::default(), _end: end };
        let watch = Watch {
            dog: Self { address: self.address, user: self.user, key: self.key.clone(), hung_after: self.hung_after },
            pid,
            child,
            ended,
            over: Arc::clone(&guard.over),
            killed: Arc::clone(&guard.killed),
        };
        let started = std::thread::Builder::new().name("clickhouse-watch".into()).spawn(move || watch.run());
        if let Err(error) = started {
            tracing::error!(%error, "the engine is not watched for hanging: no thread could be started");
        }
        guard
    }

    fn every(&self) -> Duration {
        self.hung_after / ASKS
    }

    /// Asks once; whatever is no answer of an engine is silence.
    fn ask(&self) -> Said {
        match self.exchange() {
            Ok(line) if line.starts_with(b"HTTP/1.1 200") => Said::Works,
            Ok(line) if line.get(8..12) == Some(BUSY) => Said::IsBusy,
            _ => Said::Nothing,
        }
    }

    fn exchange(&self) -> io::Result<[u8; 12]> {
        let mut stream = TcpStream::connect_timeout(&self.address, self.every())?;
        stream.set_read_timeout(Some(self.every()))?;
        stream.set_write_timeout(Some(self.every()))?;
        let request = format!(
            "GET /?query=SELECT%201 HTTP/1.1\r\nHost: {}\r\nX-ClickHouse-User: {}\r\nX-ClickHouse-Key: {}\r\nConnection: close\r\n\r\n",
            self.address, self.user, self.key
        );
        stream.write_all(request.as_bytes())?;
        let mut line = [0; 12];
        stream.read_exact(&mut line)?;
        Ok(line)
    }
}

struct Watch {
    dog: Watchdog,
    pid: Pid,
    child: Arc<Mutex<Known>>,
    ended: mpsc::Receiver<()>,
    over: Arc<AtomicBool>,
    killed: Arc<Mutex<Option<String>>>,
}

impl Watch {
    fn run(self) {
        let (mut worked, mut spoke) = (Instant::now(), Instant::now());
        while matches!(self.ended.recv_timeout(self.dog.every()), Err(mpsc::RecvTimeoutError::Timeout)) {
            match self.dog.ask() {
                Said::Works => (worked, spoke) = (Instant::now(), Instant::now()),
                Said::IsBusy => spoke = Instant::now(),
                Said::Nothing => {}
            }
            if spoke.elapsed() >= self.dog.hung_after || worked.elapsed() >= self.dog.hung_after.max(BUSY_FOR) {
                return self.kill(worked.elapsed());
            }
        }
    }

    fn kill(&self, silent: Duration) {
        let known = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if known.pid != Some(self.pid) || known.stopping || self.over.load(Ordering::Relaxed) {
            return;
        }
        let why = format!("it ran no statement for {} s and was killed", silent.as_secs());
        *self.killed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        let _already_gone = kill(self.pid, Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn dog(address: SocketAddr) -> Watchdog {
        Watchdog { address, user: "u", key: "k".into(), hung_after: Duration::from_secs(6) }
    }

    fn answering(reply: &'static [u8]) -> Said {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(reply).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let said = dog(address).ask();
        assert!(server.join().unwrap().contains("X-ClickHouse-Key: k"));
        said
    }

    #[test]
    fn only_an_answer_of_the_engine_is_work() {
        assert_eq!(answering(b"HTTP/1.1 200 OK\r\n\r\n1\n"), Said::Works);
        assert_eq!(answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), Said::IsBusy);
        assert_eq!(answering(b"HTTP/1.1 500 Internal Server Error\r\n\r\n"), Said::Nothing);
        assert_eq!(answering(b"SSH-2.0-x\r\n"), Said::Nothing);
        assert_eq!(answering(b""), Said::Nothing);
    }
}
