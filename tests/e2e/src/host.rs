//! A host: an enrolled state folder and the agent's processes on it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beffroi_log::{LogReader, Read};
use beffroi_schema::batch::{Envelope, Record};
use beffroi_schema::{Field, Stream};
use serde_json::Value;

use crate::collector::Collector;
use crate::place::{Scratch, binary};
use crate::process::{Process, run, wait_for};

/// An enrolled host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    state: PathBuf,
}

impl Host {
    /// Enrols a new host with a token of its own.
    ///
    /// # Errors
    /// What terminal or agent say.
    pub fn enroll(collector: &Collector, scratch: &Scratch, tenant: &str, name: &str) -> Result<Self> {
        let token = scratch.path(format!("{name}.token"));
        run(collector
            .cli()?
            .args(["enroll", "token", "--tenant", tenant, "--uses", "1", "--expires", "1h", "--out"])
            .arg(&token))?;
        let host = Self { name: name.into(), tenant: tenant.into(), state: scratch.path(format!("host-{name}")) };
        run(host.agent()?.arg("enroll").arg("--token-file").arg(&token))?;
        Ok(host)
    }

    /// The agent's program for this state folder; a subcommand follows.
    ///
    /// # Errors
    /// The binary is not built.
    pub fn agent(&self) -> Result<Command> {
        let mut command = Command::new(binary("beffroi-agent")?);
        command.arg("--state").arg(&self.state);
        Ok(command)
    }

    /// The state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Starts `replay` of a file with more arguments.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_replay(&self, file: &Path, more: &[&str]) -> Result<Process> {
        let mut command = self.agent()?;
        command.args(["replay", "--format", "jsonl", "--host", &self.name]).args(more).arg(file);
        Process::start("beffroi-agent replay", &mut command, &self.state.with_extension("replay.log"))
    }

    /// Replays a file to its end.
    ///
    /// # Errors
    /// Not everything was acknowledged; the error holds what the agent says.
    pub fn replay(&self, file: &Path, more: &[&str]) -> Result<()> {
        let mut command = self.agent()?;
        command.args(["replay", "--format", "jsonl", "--timeout", "90s", "--host", &self.name]).args(more).arg(file);
        run(&mut command).map(drop)
    }

    /// Starts a process of the agent: `uplink`, `run`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, subcommand: &str, config: Option<&Path>) -> Result<Process> {
        let mut command = self.agent()?;
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        command.arg(subcommand);
        Process::start(&format!("beffroi-agent {subcommand}"), &mut command, &self.state.with_extension("log"))
    }

    /// `beffroi-agent status`.
    ///
    /// # Errors
    /// What the agent says.
    pub fn status(&self) -> Result<Value> {
        let output = run(self.agent()?.args(["status", "--output", "json"]))?;
        serde_json::from_slice(&output.stdout).context("`beffroi-agent status` gave no JSON")
    }

    /// Batches on the spool that are not acknowledged.
    ///
    /// # Errors
    /// What the agent says.
    pub fn waiting(&self) -> Result<u64> {
        let status = self.status()?;
        let streams = status["spool"].as_array().with_context(|| format!("no spool in {status}"))?;
        let batches: Option<u64> = streams.iter().map(|stream| stream["batches"].as_u64()).sum();
        batches.with_context(|| format!("no batches in {status}"))
    }

    /// Runs an uplink until nothing of the spool is left to send.
    ///
    /// # Errors
    /// It ends before, or takes longer than `limit`.
    pub fn send_spool(&self, limit: Duration) -> Result<()> {
        let mut uplink = self.start("uplink", None)?;
        wait_for("an empty spool", limit, || {
            uplink.check()?;
            Ok(self.waiting()? == 0)
        })?;
        ensure!(uplink.stop(), "the uplink did not stop in time");
        Ok(())
    }

    /// A copy of the whole host with owners and modes, as a restored disk image would be: identity, spool, cursors.
    ///
    /// # Errors
    /// What `cp` says.
    pub fn clone_disk(&self) -> Result<Self> {
        let state = self.state.with_extension("copy");
        run(Command::new("cp").arg("-a").arg(&self.state).arg(&state))?;
        Ok(Self { state, ..self.clone() })
    }
}

/// Command lines of the process starts on a host's spool, read from the disk: what the agent has promised to deliver.
///
/// # Errors
/// The spool cannot be read.
pub fn spooled_command_lines(host: &Host) -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    let mut reader = LogReader::open(host.state().join("spool").join(Stream::Exec.name()))?;
    while let Some(read) = reader.next()? {
        let Read::Record(record) = read else { continue };
        let batch = Envelope::parse(&record.payload)?;
        batch.verify()?;
        for record in batch.decode()?.records {
            if let Record::Event(event) = record {
                lines.insert(event.text(Field::COMMAND_LINE).into_owned());
            }
        }
    }
    Ok(lines)
}
