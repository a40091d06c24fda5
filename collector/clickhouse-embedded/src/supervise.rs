//! Starts `clickhouse-embedded` for the collector, keeps it running, and tells its state.
//!
//! Owns: the listening socket (bound once and handed to each child as standard input, so the URL outlives restarts
//! and requests made meanwhile wait in its backlog), the child process, and one thread that lives as long as the
//! child does. The thread matters: the kernel's parent-death signal follows the *thread* that started a child.
//!
//! A child that lives but runs no statement for [`Config::hung_after`] is killed by the watchdog and started again.
//!
//! On failure: the first start's failure is returned to the caller; later ones are logged, shown as
//! [`State::Restarting`], and answered with a restart after a back-off that doubles from [`BACKOFF_FIRST`] to
//! [`BACKOFF_LAST`] and starts over once the child stayed up for a while.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::watch;

use crate::data;
use crate::launch::{BINARY, HTTP_USER, Launch, announced};
use crate::watchdog::{Guard, Watchdog};

/// First wait before a restart: long enough not to spin, short enough to be one slow insert for `store`.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest wait before a restart.
pub const BACKOFF_LAST: Duration = Duration::from_secs(30);
/// A child that was ready this long did not fail because of its start.
const STEADY: Duration = Duration::from_secs(60);
/// After SIGTERM the child drains for 20 s and closes for 5 s; then it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// An engine that ran no statement for so long hangs: a start of its own takes less, and a merge of large parts never
/// holds up `SELECT 1`.
const HUNG_AFTER: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The engine's data folder; created if absent.
    pub data: PathBuf,
    /// File with the key; created with a random one if absent. Default: the data folder's path + `.secret`, outside
    /// of what SQL can read.
    pub secret_file: Option<PathBuf>,
    /// The engine's library. Default: [`crate::default_library`].
    pub library: Option<PathBuf>,
    /// The program. Default: `clickhouse-embedded` beside the running program.
    pub binary: Option<PathBuf>,
    /// Unprivileged user for the engine when the collector runs as root.
    pub user: Option<String>,
    /// Memory of the engine in MiB. Default: a quarter of the machine's, between 1 and 16 GiB.
    pub max_memory_mib: Option<u64>,
    /// More arguments for the program, such as `--max-query-seconds 300`.
    pub arguments: Vec<String>,
    /// An engine that ran no statement for so long is killed and started again. Default: 60 s.
    pub hung_after: Duration,
}

impl Config {
    /// The defaults for a data folder.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            secret_file: None,
            library: None,
            binary: None,
            user: None,
            max_memory_mib: None,
            arguments: Vec::new(),
            hung_after: HUNG_AFTER,
        }
    }
}

/// Why the first start failed.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program is not where it should be.
    #[error("there is no {path}: build it (cargo build -p beffroi-clickhouse-embedded) or install it beside the collector")]
    NoBinary {
        /// Where we looked.
        path: PathBuf,
    },
    /// The engine's library is not in the cache.
    #[error(
        "the ClickHouse engine's library {path} is missing: fetch it with packaging/setup/setup.sh run, or configure another path"
    )]
    NoLibrary {
        /// Where we looked.
        path: PathBuf,
    },
    /// The secret could not be read or made.
    #[error("{reason}")]
    Secret {
        /// What and where.
        reason: String,
    },
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The reason.
        source: std::io::Error,
    },
    /// The process ended, or did not become ready, at its first start.
    #[error("clickhouse-embedded did not start: {reason}; its own words are on stderr above")]
    NotReady {
        /// Exit status or deadline.
        reason: String,
    },
}

/// What the process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Started, the engine has not answered yet.
    Starting,
    /// Serving.
    Ready {
        /// Its process id.
        pid: i32,
        /// How often it was restarted since [`Embedded::spawn`].
        restarts: u64,
    },
    /// It ended and will be started again.
    Restarting {
        /// Why it ended.
        reason: String,
        /// Restarts so far.
        restarts: u64,
    },
    /// Stopped on request, or never started.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// A running, supervised engine. Dropping it stops the process without waiting; [`Embedded::stop`] waits.
pub struct Embedded {
    address: SocketAddr,
    key: String,
    state: watch::Receiver<State>,
    control: Control,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("address", &self.address).field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts the process and returns once the engine answers.
    ///
    /// # Errors
    /// [`SpawnError`] when anything of the first start fails; nothing keeps running then.
    pub async fn spawn(config: Config) -> Result<Self, SpawnError> {
        let secret_file = config.secret_file.clone().unwrap_or_else(|| beside(&config.data));
        let secret = |e: anyhow::Error| SpawnError::Secret { reason: format!("{e:#}") };
        if let Some(parent) = secret_file.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|source| SpawnError::System { what: "create the secret's folder", source })?;
        }
        let key = data::secret_or_new(&secret_file).map_err(secret)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map_err(|source| SpawnError::System { what: "listen on 127.0.0.1", source })?;
        let address =
            listener.local_addr().map_err(|source| SpawnError::System { what: "read the listening address", source })?;
        let launch = Launch::new(&config, secret_file, listener)?;

        let (tell, mut state) = watch::channel(State::Starting);
        let (stop, stopped) = mpsc::sync_channel(1);
        let control = Control { child: Arc::default(), stop };
        let watchdog = Watchdog { address, user: HTTP_USER, key: key.clone(), hung_after: config.hung_after };
        let keeper = Keeper { launch, watchdog, tell, stopped, child: Arc::clone(&control.child) };
        std::thread::Builder::new()
            .name(BINARY.to_owned())
            .spawn(move || keeper.run())
            .map_err(|source| SpawnError::System { what: "start the supervising thread", source })?;
        // The sender lives in the thread, which says Stopped before it ends: an error cannot be earlier than that.
        let first = state.wait_for(|s| *s != State::Starting).await.map(|s| s.clone());
        match first {
            Ok(State::Ready { .. }) => Ok(Self { address, key, state, control }),
            Ok(State::Stopped { reason } | State::Restarting { reason, .. }) => Err(SpawnError::NotReady { reason }),
            Ok(State::Starting) | Err(_) => Err(SpawnError::NotReady { reason: "the supervising thread ended".to_owned() }),
        }
    }

    /// Base URL, the same across restarts.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// User name for the `X-ClickHouse-User` header.
    #[must_use]
    pub fn user(&self) -> &str {
        HTTP_USER
    }

    /// Key for the `X-ClickHouse-Key` header. A secret: keep it out of logs.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Follows the state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Drains and stops the process; kills it after 30 s. Returns when it is gone.
    pub async fn stop(self) {
        self.control.ask_to_stop();
        let mut state = self.state.clone();
        let gone = state.wait_for(|s| matches!(s, State::Stopped { .. }));
        if tokio::time::timeout(STOP_DEADLINE, gone).await.is_err() {
            tracing::warn!("clickhouse-embedded did not stop within {} s: killing it", STOP_DEADLINE.as_secs());
            self.control.signal(Signal::SIGKILL);
            let _ended_thread = state.wait_for(|s| matches!(s, State::Stopped { .. })).await;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

/// The default secret file: `data` with `.secret` appended.
fn beside(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".secret");
    PathBuf::from(name)
}

/// What handle and thread know of the child, under one lock so that a request to stop cannot fall between a start and
/// its notice.
#[derive(Default)]
pub(crate) struct Known {
    /// The live child; `None` as soon as it has ended, before its id can be reused.
    pub(crate) pid: Option<Pid>,
    /// It shall end and not be started again.
    pub(crate) stopping: bool,
}

/// The handle's side of the thread. Dropping it asks to stop.
struct Control {
    child: Arc<Mutex<Known>>,
    /// Cuts a back-off short.
    stop: mpsc::SyncSender<()>,
}

impl Control {
    fn ask_to_stop(&self) {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
        // Full: it was asked before. Closed: the thread has ended.
        let _known = self.stop.try_send(());
        self.signal(Signal::SIGTERM);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.lock().unwrap_or_else(PoisonError::into_inner).pid {
            let _already_gone = kill(pid, signal);
        }
    }
}

/// The supervising thread.
struct Keeper {
    launch: Launch,
    watchdog: Watchdog,
    tell: watch::Sender<State>,
    stopped: mpsc::Receiver<()>,
    child: Arc<Mutex<Known>>,
}

impl Keeper {
    fn run(self) {
        let mut restarts = 0;
        let mut backoff = BACKOFF_FIRST;
        loop {
            let (steady_for, reason) = self.once(restarts);
            if self.asked_to_stop(Duration::ZERO) {
                return self.say(State::Stopped { reason: "stopped on request".to_owned() });
            }
            if restarts == 0 && steady_for.is_none() {
                return self.say(State::Stopped { reason });
            }
            if steady_for.is_some_and(|up| up >= STEADY) {
                backoff = BACKOFF_FIRST;
            }
            restarts += 1;
            tracing::error!(%reason, restarts, wait_ms = backoff.as_millis(), "clickhouse-embedded ended: starting it again");
            self.say(State::Restarting { reason, restarts });
            if self.asked_to_stop(backoff) {
                return self.say(State::Stopped { reason: "stopped on request".to_owned() });
            }
            backoff = (backoff * 2).min(BACKOFF_LAST);
        }
    }

    /// One life of the child: how long it was ready (`None`: never) and why it ended.
    fn once(&self, restarts: u64) -> (Option<Duration>, String) {
        let mut child = match self.launch.start() {
            Ok(child) => child,
            Err(error) => return (None, format!("cannot run {}: {error}", self.launch.binary.display())),
        };
        let pid = Pid::from_raw(child.id().cast_signed());
        self.remember(Some(pid));
        let ready = announced(&mut child);
        let since = match &ready {
            Ok(()) => {
                self.say(State::Ready { pid: pid.as_raw(), restarts });
                Some(Instant::now())
            }
            Err(_) => {
                let _already_gone = kill(pid, Signal::SIGKILL);
                None
            }
        };
        // Wait without reaping, forget the id, then reap: so no signal can reach a stranger with the same id.
        let guard = ready.is_ok().then(|| self.watchdog.guard(pid, Arc::clone(&self.child)));
        while let Err(Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
        self.remember(None);
        let hung = guard.and_then(Guard::end);
        let status = child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
        let reason = match (ready, hung) {
            (Ok(()), None) => status,
            (Err(why), _) | (Ok(()), Some(why)) => format!("{why} ({status})"),
        };
        (since.map(|s| s.elapsed()), reason)
    }

    /// Notes the child's id; a request to stop that came before it is passed on now.
    fn remember(&self, pid: Option<Pid>) {
        let mut known = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        known.pid = pid;
        if let (Some(pid), true) = (pid, known.stopping) {
            let _already_gone = kill(pid, Signal::SIGTERM);
        }
    }

    fn say(&self, state: State) {
        self.tell.send_replace(state);
    }

    /// Waits up to `wait` for the request to stop (also when every handle is gone).
    fn asked_to_stop(&self, wait: Duration) -> bool {
        !matches!(self.stopped.recv_timeout(wait), Err(mpsc::RecvTimeoutError::Timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_lies_outside_the_data_folder() {
        assert_eq!(beside(Path::new("/var/lib/beffroi/clickhouse")), Path::new("/var/lib/beffroi/clickhouse.secret"));
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_an_error_and_not_a_loop() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("data"));
        config.binary = Some("/bin/false".into());
        config.library = Some("/bin/false".into());
        let error = Embedded::spawn(config).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 1"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_program_or_library_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("data"));
        config.binary = Some(dir.path().join("absent"));
        let error = Embedded::spawn(config.clone()).await.unwrap_err().to_string();
        assert!(error.contains("absent") && error.contains("build it"), "{error}");
        config.binary = Some("/bin/false".into());
        config.library = Some(dir.path().join("libabsent.so"));
        let error = Embedded::spawn(config).await.unwrap_err().to_string();
        assert!(error.contains("libabsent.so") && error.contains("setup.sh"), "{error}");
    }
}
