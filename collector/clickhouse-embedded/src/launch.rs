//! How `clickhouse-embedded` is started: its arguments, its environment, the listening socket it inherits, and the line
//! by which it says that it serves.
//!
//! On failure: what is missing is named before anything is started; a child that does not announce itself within
//! [`START_DEADLINE`] is an error that says so.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::supervise::{Config, SpawnError};

/// Loading 560 MB of library from a cold disk and opening many tables takes a while.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// The user name that goes with the key.
pub(crate) const HTTP_USER: &str = "beffroi";
/// Name of the binary, looked for beside the running one.
pub(crate) const BINARY: &str = "clickhouse-embedded";

/// How to start the child.
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    arguments: Vec<std::ffi::OsString>,
    listener: TcpListener,
}

impl Launch {
    pub(crate) fn new(config: &Config, secret_file: PathBuf, listener: TcpListener) -> Result<Self, SpawnError> {
        let binary = match &config.binary {
            Some(binary) => binary.clone(),
            None => beside_current_exe()?,
        };
        if !binary.is_file() {
            return Err(SpawnError::NoBinary { path: binary });
        }
        let library = config.library.clone().or_else(crate::default_library).unwrap_or_else(|| "libchdb.so".into());
        if !library.is_file() {
            return Err(SpawnError::NoLibrary { path: library });
        }
        let mut arguments: Vec<std::ffi::OsString> = vec!["--listen".into(), "stdin".into(), "--die-with-parent".into()];
        arguments.extend(["--http-user".into(), HTTP_USER.into()]);
        arguments.extend(["--data".into(), config.data.clone().into_os_string()]);
        arguments.extend(["--secret-file".into(), secret_file.into_os_string()]);
        arguments.extend(["--lib".into(), library.into_os_string()]);
        if let Some(user) = &config.user {
            arguments.extend(["--user".into(), user.into()]);
        }
        if let Some(mib) = config.max_memory_mib {
            arguments.extend(["--max-memory-mib".into(), mib.to_string().into()]);
        }
        arguments.extend(config.arguments.iter().map(Into::into));
        Ok(Self { binary, arguments, listener })
    }

    pub(crate) fn start(&self) -> std::io::Result<Child> {
        let socket: OwnedFd = self.listener.as_fd().try_clone_to_owned()?;
        let mut command = Command::new(&self.binary);
        // A clean environment: SQL must find nothing of the collector's in it.
        command.args(&self.arguments).env_clear().stdin(Stdio::from(socket)).stdout(Stdio::piped());
        for kept in ["RUST_LOG", "TZ", "LANG"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command.spawn()
    }
}

fn beside_current_exe() -> Result<PathBuf, SpawnError> {
    let current = std::env::current_exe().map_err(|source| SpawnError::System { what: "find the running program", source })?;
    let folder = current.parent().unwrap_or(Path::new("."));
    // Test programs live one folder below the binaries.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.join(BINARY))
}

/// Waits until the child has written its URL line to standard output.
pub(crate) fn announced(child: &mut Child) -> Result<(), String> {
    let mut out = child.stdout.take().ok_or("its standard output is not a pipe")?;
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(out.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => return Err(format!("it was not ready within {} s", START_DEADLINE.as_secs())),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("waiting for it failed: {error}")),
        }
    }
    let mut line = [0; 128];
    match out.read(&mut line) {
        Ok(length) if line[..length].ends_with(b"\n") => Ok(()),
        Ok(_) => Err("it ended before it was ready".to_owned()),
        Err(error) => Err(format!("reading its standard output failed: {error}")),
    }
}
