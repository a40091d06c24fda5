//! `beffroi-collector`: the roles of the collector in one process or in many. Wiring only; what a role does is in its crate.

#![forbid(unsafe_code)]

mod config;
mod metrics;
mod observe;
mod roles;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};
use crate::roles::{Health, Running};

/// How long roles may drain after a signal before the process gives up on them.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Receives what agents send, detects, stores, and answers. Without options every role runs in this process, with a bus
/// and a ClickHouse of its own.
#[derive(Debug, Parser)]
#[command(name = "beffroi-collector", version)]
struct Arguments {
    /// Configuration (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of everything that the process keeps.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A role of this process; repeat for several. Default: every role.
    #[arg(long = "role", value_enum, value_name = "ROLE")]
    roles: Vec<Role>,
    /// A file or folder of Sigma rules; repeat for several.
    #[arg(long, value_name = "PATH")]
    rules: Vec<PathBuf>,
    /// Read the configuration, say whether it can be used, and end.
    #[arg(long)]
    check_config: bool,
}

impl Arguments {
    fn config(&self) -> Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        if let Some(data) = &self.data {
            config.data = data.clone();
        }
        if !self.roles.is_empty() {
            config.roles = self.roles.clone();
        }
        if !self.rules.is_empty() {
            config.detect.rules = self.rules.clone();
        }
        Ok(config.complete()?)
    }
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&arguments) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("beffroi-collector: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let config = arguments.config()?;
    if arguments.check_config {
        println!("the configuration can be used");
        return Ok(());
    }
    // One TLS provider for the whole process; libraries that could bring another are told here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the async runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let recorder = observe::install()?;
    metrics::declare(&config);
    std::fs::create_dir_all(&config.data).with_context(|| format!("cannot make the data folder {}", config.data.display()))?;
    let addresses = config.data.join("run/addresses.json");
    let _ = std::fs::remove_file(&addresses);
    let stop = CancellationToken::new();
    let health = Health::default();
    let observed = observe::serve(config.observe.listen, recorder.clone(), health.clone(), stop.clone()).await?;
    let mut signals = Signals::new()?;
    let running = tokio::select! {
        running = roles::start(config, &health, recorder.clone(), &stop) => running?,
        () = signals.wait() => return Ok(()),
    };
    write_addresses(&addresses, &running, observed)?;
    tracing::info!(gateway = ?running.gateway_address(), api = ?running.api_address(), observe = %observed, "every role is started");
    signals.wait().await;
    tracing::info!("stopping: roles finish what they hold");
    let _ = std::fs::remove_file(&addresses);
    stop.cancel();
    tokio::select! {
        drained = tokio::time::timeout(DRAIN_LIMIT, running.join(&health)) => {
            if drained.is_err() {
                tracing::error!("not everything was finished within {} s; what is not committed is read again at the next start", DRAIN_LIMIT.as_secs());
            }
        }
        () = signals.wait() => tracing::error!("stopped at once by a second signal"),
    }
    Ok(())
}

/// Tells scripts where this process listens, for ports that were left to the system.
fn write_addresses(path: &Path, running: &Running, observe: std::net::SocketAddr) -> Result<()> {
    let folder = path.parent().context("addresses.json lies in a folder")?;
    std::fs::create_dir_all(folder)?;
    let text = serde_json::json!({
        "gateway": running.gateway_address().map(|address| address.to_string()),
        "api": running.api_address().map(|address| address.to_string()),
        "observe": observe.to_string(),
    });
    let partial = folder.join("addresses.json.new");
    std::fs::write(&partial, text.to_string())?;
    std::fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
