//! Child processes: output in a file, ended by process id, never left behind.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to stop in order before it is killed: the collector drains within 10 s.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of a log that an error shows.
const SHOWN_LINES: usize = 25;

/// A running process; stopped when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command with its output added to `log`.
    ///
    /// # Errors
    /// The log cannot be written or the program not be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let out = OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("{}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn();
        let child = child.with_context(|| format!("cannot start {name} ({:?})", command.get_program()))?;
        Ok(Self { name: name.into(), child, log: log.into() })
    }

    /// Process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// An error with the end of the log if the process has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended with {status}; the end of its log:\n{}", self.name, self.tail()),
            None => Ok(()),
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its output.
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// Waits for its own end.
    ///
    /// # Errors
    /// It runs longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= until {
                bail!("{} did not end within {} s; the end of its log:\n{}", self.name, limit.as_secs(), self.tail());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Ends it in order (SIGTERM), after a deadline by SIGKILL; true when it ended in order.
    pub fn stop(&mut self) -> bool {
        if !self.runs() {
            return true;
        }
        // An error means that it has just ended, which the wait finds out.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let ended = self.wait(STOP_DEADLINE).is_ok();
        if !ended {
            self.kill();
        }
        ended
    }

    /// Ends it at once, as a crash does (SIGKILL).
    pub fn kill(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks `ready` until it says yes; an error of it counts as no, and is told when the time is over.
///
/// # Errors
/// `ready` did not say yes within `limit`.
pub fn wait_for(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + limit;
    loop {
        let last = match ready() {
            Ok(true) => return Ok(()),
            Ok(false) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        if Instant::now() >= until {
            bail!("{what} did not happen within {} s{last}", limit.as_secs());
        }
        std::thread::sleep(LOOK);
    }
}

/// Runs a command to its end and returns its output.
///
/// # Errors
/// It cannot be started or fails; the error holds what it printed.
pub fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name} failed with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// Children of a process whose arguments hold `word`.
pub fn children(parent: Pid, word: &str) -> Vec<Pid> {
    let listed = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let named = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(named).map(Pid::from_raw).collect()
}
