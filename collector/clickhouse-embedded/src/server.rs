//! The process `clickhouse-embedded`: from arguments to a drained exit.
//!
//! Owns the order of start, which is a matter of safety: everything that needs rights is opened first, then rights
//! are given up, then the library is loaded, then the process is confined, and only then does a second thread or any SQL
//! exist. Ready means that the engine has answered `SELECT 1`; only then the port is announced.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::boot::{Layout, Limits};
use crate::engine::ffi::Engine;
use crate::engine::pool::Pool;
use crate::http::auth::Account;
use crate::http::prompt::PromptListener;
use crate::http::service::{Bounds, Service};
use crate::{confine, data, dedup_log};

/// How long queries may finish after SIGTERM. Shorter than systemd's 90 s and a container's usual 30 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// How long the engine may take to close its tables after the drain.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// Default share of the machine's memory: the collector, the page cache and the kernel need the rest.
const MEMORY_SHARE: u64 = 4;
/// Below this the engine cannot merge; above it a single-machine default has no use for more.
const MEMORY_RANGE: std::ops::RangeInclusive<u64> = (1 << 30)..=(16 << 30);

/// ClickHouse's HTTP interface on loopback over the embedded engine.
#[derive(Debug, Parser)]
#[command(name = "clickhouse-embedded", version, about)]
pub struct Arguments {
    /// Data folder; created if absent, used by one process at a time.
    #[arg(long)]
    data: PathBuf,
    /// Loopback address and port (0 picks one), or `stdin`: an already listening socket as standard input.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    /// File that receives the bound port as one line, once the engine is ready.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// File with the key every request must carry; mode 0600, at least 16 characters.
    #[arg(long)]
    secret_file: PathBuf,
    /// User name that goes with the key.
    #[arg(long, default_value = "beffroi")]
    http_user: String,
    /// The engine's library; default: libchdb.so in the cache that packaging/setup/setup.sh fills.
    #[arg(long)]
    lib: Option<PathBuf>,
    /// Unprivileged user to become (when started as root).
    #[arg(long)]
    user: Option<String>,
    /// Stop when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
    /// Memory of all queries and caches, in MiB (default: a quarter of the machine's, between 1 and 16 GiB); one query
    /// may use half of it.
    #[arg(long)]
    max_memory_mib: Option<u64>,
    /// Seconds one query may run.
    #[arg(long, default_value_t = 60)]
    max_query_seconds: u64,
    /// Queries at once; more are answered 503. Two of them are kept for INSERTs.
    #[arg(long, default_value_t = 16)]
    max_queries: usize,
    /// Largest request body in bytes, as sent and as unpacked.
    #[arg(long, default_value_t = 128 << 20)]
    max_body_bytes: usize,
    /// Largest query result in bytes.
    #[arg(long, default_value_t = 256 << 20)]
    max_result_bytes: u64,
    /// Acknowledge inserts before they are on the disk: faster, and a power cut may lose the last seconds.
    #[arg(long)]
    no_fsync: bool,
}

/// Runs the server until SIGTERM or SIGINT. Call on the main thread, before any other thread is started.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let parent = nix::unistd::getppid();
    let key = data::secret(&arguments.secret_file)?;
    let listener = listen(&arguments.listen)?;
    let folder = data::folder(&arguments.data)?;
    // Started again by a supervisor, it meets the one before, which drains after its parent's death.
    let patience = if arguments.die_with_parent { DRAIN_DEADLINE + 2 * CLOSE_DEADLINE } else { Duration::ZERO };
    let lock = data::lock(&folder, patience)?;
    if let Some(user) = &arguments.user {
        confine::give_to(user, &folder, &lock)?;
    }
    let port_file = arguments.port_file.as_deref().map(data::port_file).transpose()?;
    let library = arguments.lib.clone().or_else(crate::default_library).context(
        "no cache folder is known (neither BEFFROI_CACHE, XDG_CACHE_HOME nor HOME is set): name the library with --lib",
    )?;
    // Opened now: an unprivileged user may not reach the cache folder by its path.
    let library_file = std::fs::File::open(&library).with_context(|| {
        format!("cannot open the engine's library {}: fetch it with packaging/setup/setup.sh run", library.display())
    })?;

    let mut warnings = confine::drop_privileges(arguments.user.as_deref())?;
    if arguments.die_with_parent {
        confine::end_with_parent(parent)?;
    }
    let limits = arguments.limits();
    let layout = Layout::under(&folder);
    layout.prepare(&limits)?;
    let forgotten = dedup_log::mend(&layout.folder)?;
    if forgotten > 0 {
        tracing::info!(forgotten, "inserts that were cut off after their token was noted will be taken when they are sent again");
    }
    // Relative paths in SQL (`file('x')`) then mean the engine's folder, whatever the starter's folder was.
    std::env::set_current_dir(&layout.folder).with_context(|| format!("cannot enter {}", layout.folder.display()))?;
    let engine = Engine::load(&PathBuf::from(format!("/proc/self/fd/{}", library_file.as_raw_fd())))?;
    ensure!(
        confine::thread_count()? == 1,
        "the engine's library started a thread while loading; it would escape confinement, so this version cannot be used"
    );
    warnings.extend(confine::confine(&layout.folder, &layout.config)?);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(arguments, key, listener, port_file, engine, layout, limits));
    runtime.shutdown_timeout(CLOSE_DEADLINE);
    drop(lock);
    outcome
}

impl Arguments {
    fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.max_memory_mib.map_or_else(default_memory, |mib| mib << 20),
            query_seconds: self.max_query_seconds,
            result_bytes: self.max_result_bytes,
            fsync: !self.no_fsync,
        }
    }

    fn bounds(&self, limits: &Limits) -> Bounds {
        Bounds {
            body_bytes: self.max_body_bytes,
            queries: self.max_queries.max(1),
            query_seconds: limits.query_seconds,
            query_memory_bytes: limits.memory_bytes / 2,
        }
    }
}

fn default_memory() -> u64 {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES);
    let total = match (page, pages) {
        (Ok(Some(page)), Ok(Some(pages))) => u64::try_from(page).unwrap_or(0) * u64::try_from(pages).unwrap_or(0),
        _ => 0,
    };
    (total / MEMORY_SHARE).clamp(*MEMORY_RANGE.start(), *MEMORY_RANGE.end())
}

/// Binds (or takes over) the listening socket; anything but loopback is refused.
fn listen(text: &str) -> anyhow::Result<TcpListener> {
    if text == "stdin" {
        let socket = std::io::stdin().as_fd().try_clone_to_owned().context("cannot take over standard input")?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().context("standard input is not a listening TCP socket")?;
        ensure!(address.ip().is_loopback(), "the socket on standard input listens on {address}; only loopback is allowed");
        return Ok(listener);
    }
    let address: SocketAddr =
        text.parse().with_context(|| format!("--listen {text} is not an address and port such as 127.0.0.1:0"))?;
    if !address.ip().is_loopback() {
        bail!("--listen {text} is refused: this interface is for this machine only, use 127.0.0.1 or [::1]");
    }
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}; is another server using it?"))
}

async fn serve(
    arguments: &Arguments,
    key: String,
    listener: TcpListener,
    port_file: Option<std::fs::File>,
    engine: Engine,
    layout: Layout,
    limits: Limits,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let bounds = arguments.bounds(&limits);
    let idle = bounds.queries;
    let pool = tokio::task::spawn_blocking(move || Pool::boot(engine, layout, &limits, idle)).await??;
    let pool = Arc::new(pool);
    let service = Service::new(Account::new(arguments.http_user.clone(), key), Arc::clone(&pool), bounds);
    announce(address, port_file)?;

    let (drain, draining) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(PromptListener(listener), service.router()).with_graceful_shutdown(async move {
        let _either_way = draining.await;
    });
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        ended = &mut server => bail!("the HTTP server ended by itself: {ended:?}"),
    }
    drop(drain);
    if tokio::time::timeout(DRAIN_DEADLINE, server).await.is_err() {
        tracing::warn!("requests were still running after {} s and are abandoned", DRAIN_DEADLINE.as_secs());
    }
    close(pool).await;
    Ok(())
}

/// Tells the port: one line in the port file, one on standard output.
fn announce(address: SocketAddr, port_file: Option<std::fs::File>) -> anyhow::Result<()> {
    tracing::info!(%address, "ready");
    if let Some(mut file) = port_file {
        writeln!(file, "{}", address.port()).context("cannot write the port file")?;
    }
    let mut out = std::io::stdout().lock();
    // Nobody need listen to standard output.
    let _closed_pipe = writeln!(out, "http://{address}").and_then(|()| out.flush());
    Ok(())
}

/// Closes the engine's tables, if no abandoned query still holds the pool.
async fn close(pool: Arc<Pool>) {
    let Some(pool) = Arc::into_inner(pool) else {
        tracing::warn!("the engine is still busy: exiting without closing it (its files stay consistent)");
        leave_at_once();
    };
    let closed = tokio::task::spawn_blocking(move || drop(pool));
    if tokio::time::timeout(CLOSE_DEADLINE, closed).await.is_err() {
        tracing::warn!("the engine did not close within {} s", CLOSE_DEADLINE.as_secs());
        leave_at_once();
    }
}

/// Ends the process without the engine's destructors, which would wait for (or crash under) its running threads.
fn leave_at_once() -> ! {
    // SAFETY: _exit(2) has no preconditions; nothing of ours is left to flush, and the kernel releases the lock.
    unsafe { libc::_exit(0) }
}
