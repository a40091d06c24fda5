//! Hosts of the story: the agent on this machine, and hosts whose recorded events are replayed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::line::{Line, Scratch, binary, run};
use crate::process::{Running, wait_for};

/// Loading the probes and enrolling takes one to three seconds here.
const START_LIMIT: Duration = Duration::from_secs(30);

/// An enrolled agent of this machine.
pub struct Host {
    state: PathBuf,
    log: PathBuf,
    config: PathBuf,
    agent: Option<Running>,
}

fn enroll(line: &Line, scratch: &Scratch, tenant: &str, labels: &[&str]) -> Result<PathBuf> {
    enroll_into(line, scratch, tenant, labels, scratch.path(format!("agent-{tenant}")), |_| {})
}

/// Enrols a host that is never switched on. As root it gets a name of its own, else it has this machine's.
pub fn absent(line: &Line, scratch: &Scratch, tenant: &str, hostname: &'static str) -> Result<()> {
    let state = scratch.path(format!("agent-{tenant}-{hostname}"));
    enroll_into(line, scratch, tenant, &["site=demo"], state, |command| named(command, hostname)).map(drop)
}

/// Lets a command see another host name.
fn named(command: &mut Command, hostname: &'static str) {
    use std::os::unix::process::CommandExt;
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    // SAFETY: both calls are single system calls on memory that outlives the process's start; nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS)?;
            nix::unistd::sethostname(hostname)?;
            Ok(())
        });
    }
}

fn enroll_into(
    line: &Line,
    scratch: &Scratch,
    tenant: &str,
    labels: &[&str],
    state: PathBuf,
    prepare: impl FnOnce(&mut Command),
) -> Result<PathBuf> {
    let token = line.token(scratch, tenant, labels, 1)?;
    let mut command = Command::new(binary("beffroi-agent")?);
    command.args(["enroll", "--state"]).arg(&state).arg("--token-file").arg(&token);
    prepare(&mut command);
    run(&mut command, "beffroi-agent enroll")?;
    std::fs::remove_file(&token)?;
    Ok(state)
}

impl Host {
    /// Enrols this machine for a tenant.
    pub fn enroll(line: &Line, scratch: &Scratch, tenant: &str) -> Result<Self> {
        let state = enroll(line, scratch, tenant, &["site=demo"])?;
        let config = scratch.path("agent.toml");
        std::fs::write(&config, format!("[scan]\nrules = [{:?}]\n", crate::line::tree().join("rules/yara")))?;
        Ok(Self { state, log: scratch.path("agent.log"), config, agent: None })
    }

    /// Starts the agent and waits until its first batch is acknowledged.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(binary("beffroi-agent")?);
        command.arg("--config").arg(&self.config).args(["run", "--state"]).arg(&self.state);
        let (before, _) = acknowledged(&self.state).unwrap_or_default();
        let mut agent = Running::start("beffroi-agent", command, &self.log)?;
        wait_for("the agent's first acknowledged batch", START_LIMIT, &mut [&mut agent], || {
            let (uplink, batches) = acknowledged(&self.state)?;
            Ok(uplink != before && batches > 0)
        })?;
        wait_for("the agent's word on its probes", START_LIMIT, &mut [&mut agent], || {
            let hooks = status(&self.state)?["sensor"]["hooks"].as_array().map_or(0, Vec::len);
            Ok(hooks > 0)
        })?;
        self.agent = Some(agent);
        Ok(())
    }

    /// The agent's own view, as JSON.
    pub fn status(&self) -> Result<serde_json::Value> {
        status(&self.state)
    }

    /// Whether a probe whose name holds `wanted` is attached.
    pub fn sees(&self, wanted: &str) -> bool {
        self.hooks(wanted).is_ok_and(|hooks| hooks.iter().any(|hook| hook["on"] == true))
    }

    /// Records that probes whose name holds `wanted` have made since the agent started.
    pub fn seen(&self, wanted: &str) -> Result<u64> {
        Ok(self.hooks(wanted)?.iter().filter_map(|hook| hook["seen"].as_u64()).sum())
    }

    /// Records that its probes have lost since it started.
    pub fn lost(&self) -> Result<u64> {
        Ok(self.hooks("")?.iter().filter_map(|hook| hook["dropped"].as_u64()).sum())
    }

    fn hooks(&self, wanted: &str) -> Result<Vec<serde_json::Value>> {
        let status = self.status()?;
        let hooks = status["sensor"]["hooks"].as_array().context("the agent says nothing of its probes")?;
        let named = |hook: &&serde_json::Value| hook["name"].as_str().is_some_and(|name| name.contains(wanted));
        Ok(hooks.iter().filter(named).cloned().collect())
    }

    /// Process id of the agent that runs.
    pub fn pid(&self) -> Result<i32> {
        Ok(self.agent.as_ref().context("the agent does not run")?.pid().as_raw())
    }

    /// Kills the agent as a crash or an attacker would; its children die with it.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill();
        }
    }

    /// Stops it in order.
    pub fn stop(&mut self) -> bool {
        self.agent.take().is_none_or(|mut agent| agent.stop())
    }

    /// The agent's process, to be watched.
    pub fn check(&mut self) -> Result<()> {
        self.agent.as_mut().map_or(Ok(()), Running::check)
    }
}

fn status(state: &Path) -> Result<serde_json::Value> {
    let mut command = Command::new(binary("beffroi-agent")?);
    command.args(["status", "--output", "json", "--state"]).arg(state);
    serde_json::from_str(&run(&mut command, "beffroi-agent status")?).context("`beffroi-agent status` gave no JSON")
}

/// Process id of the uplink and how many batches it has had acknowledged, as the agent's status says it.
fn acknowledged(state: &Path) -> Result<(u64, u64)> {
    let uplink = &status(state)?["uplink"];
    Ok((uplink["pid"].as_u64().unwrap_or_default(), uplink["batches"].as_u64().unwrap_or_default()))
}

/// Enrols a host of another tenant and sends its recorded events, marked as replayed.
pub fn replay(line: &Line, scratch: &Scratch, tenant: &str, hostname: &str, file: &Path) -> Result<()> {
    let state = enroll(line, scratch, tenant, &["site=replay"])?;
    let mut command = Command::new(binary("beffroi-agent")?);
    command.args(["replay", "--format", "jsonl", "--product", "linux", "--host", hostname, "--state"]).arg(&state).arg(file);
    run(&mut command, "beffroi-agent replay").map(drop)
}
