//! Keeps the agent's processes running: starts `sensor` and `uplink`, starts them again when they die, stops them in
//! order.
//!
//! Owns the child processes. A child that dies at once is started again after a growing pause; one that ended in order
//! (the host was enrolled again) is started again as well, and is no death. A stop ends the sensor
//! first (it drains into the spool), then the uplink; what does not end in time is killed and counted. Should this process
//! be killed, its children end with it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stop::Stop;

/// First pause before a dead child is started again; doubles with each death.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A child that lived this long was healthy: the pause begins anew.
const HEALTHY: Duration = Duration::from_secs(60);
/// How often children are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Time for each child to end in order.
const DEADLINE: Duration = Duration::from_secs(15);

/// One process to keep running.
struct Ward {
    name: &'static str,
    child: Option<Child>,
    started: Instant,
    not_before: Instant,
    pause: Duration,
    deaths: u64,
}

/// The supervisor.
pub struct Supervisor {
    program: PathBuf,
    arguments: Vec<OsString>,
    wards: Vec<Ward>,
}

impl Supervisor {
    /// Keeps `names` (subcommands of this program) running, in the order in which they are to be stopped. `arguments` come
    /// before the subcommand.
    ///
    /// # Errors
    /// The path of this program cannot be found out.
    pub fn new(names: &[&'static str], arguments: Vec<OsString>) -> io::Result<Self> {
        let now = Instant::now();
        let ward = |name: &&'static str| Ward { name, child: None, started: now, not_before: now, pause: FIRST_PAUSE, deaths: 0 };
        Ok(Self { program: std::env::current_exe()?, arguments, wards: names.iter().map(ward).collect() })
    }

    /// Runs until `stop`; returns how many children had to be killed at the end.
    pub fn run(mut self, stop: &Stop) -> usize {
        while !stop.is_set() {
            for index in 0..self.wards.len() {
                self.look_after(index);
            }
            thread::sleep(LOOK);
        }
        self.wards.iter_mut().map(|ward| usize::from(!end(ward))).sum()
    }

    fn look_after(&mut self, index: usize) {
        let (program, arguments) = (&self.program, &self.arguments);
        let ward = &mut self.wards[index];
        if let Some(child) = &mut ward.child {
            match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => ward.ended(status),
                Err(error) => tracing::error!(process = ward.name, %error, "a child cannot be looked after"),
            }
        }
        if ward.child.is_none() && Instant::now() >= ward.not_before {
            match start(program, arguments, ward.name) {
                Ok(child) => {
                    tracing::info!(process = ward.name, pid = child.id(), "started");
                    ward.started = Instant::now();
                    ward.child = Some(child);
                }
                Err(error) => {
                    tracing::error!(process = ward.name, %error, "cannot be started");
                    ward.wait_longer();
                }
            }
        }
    }
}

impl Ward {
    fn ended(&mut self, status: ExitStatus) {
        self.child = None;
        if self.started.elapsed() >= HEALTHY {
            self.pause = FIRST_PAUSE;
        }
        let pause_ms = self.pause.as_millis();
        if status.success() {
            tracing::info!(process = self.name, pause_ms, "ended in order; it is started again");
        } else {
            self.deaths += 1;
            tracing::error!(process = self.name, %status, deaths = self.deaths, pause_ms, "died");
        }
        self.wait_longer();
    }

    fn wait_longer(&mut self) {
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

fn start(program: &PathBuf, arguments: &[OsString], name: &str) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).arg(name).arg("--parent").arg(std::process::id().to_string());
    // A group of its own: Ctrl-C on a terminal reaches this process only, which then stops its children in order.
    command.process_group(0).spawn()
}

/// Ends a child; true when it ended by itself.
fn end(ward: &mut Ward) -> bool {
    let Some(mut child) = ward.child.take() else { return true };
    let pid = Pid::from_raw(child.id().cast_signed());
    // An error means that it is gone already, which the wait below finds out.
    let _ = kill(pid, Signal::SIGTERM);
    let until = Instant::now() + DEADLINE;
    while Instant::now() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    tracing::error!(process = ward.name, "did not stop within {} s and is killed", DEADLINE.as_secs());
    let _ = child.kill();
    let _ = child.wait();
    false
}
