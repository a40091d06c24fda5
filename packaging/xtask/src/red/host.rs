//! The attacked host: a real agent, and what can be learnt of it from its status and from what it sent up.
//!
//! Owns the agent's process. Nothing is asked of the agent that an operator could not see.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use beffroi_schema::batch::{Envelope, Record};
use beffroi_schema::{AgentId, Category, Event, Field, OrderId};

use super::server::Server;
use crate::line::{Scratch, binary, run};
use crate::process::Running;
use crate::reader::now_us;

/// Enrolling and the first status take a second or two.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The sensor takes over the figures of orders once a second, and writes its status every two.
const STALE_US: i64 = 1_500_000;
const LOOK: Duration = Duration::from_millis(50);

/// How many orders the agent says it has dealt with.
#[derive(Debug, Clone)]
pub struct Counts(serde_json::Value);

impl Counts {
    /// Refused for one reason.
    pub fn code(&self, code: &str) -> u64 {
        self.0["refused"][code].as_u64().unwrap_or(0)
    }

    /// Refused for any reason.
    pub fn refused(&self) -> u64 {
        self.0["refused"].as_object().map_or(0, |codes| codes.values().filter_map(serde_json::Value::as_u64).sum())
    }

    /// Accepted before.
    pub fn repeated(&self) -> u64 {
        self.0["repeated"].as_u64().unwrap_or(0)
    }
}

/// The agent.
pub struct Attacked {
    state: PathBuf,
    log: PathBuf,
    agent: Running,
}

impl Attacked {
    /// Enrols and starts an agent that pins this root.
    pub async fn start(scratch: &Scratch, server: &Server, root: String) -> Result<Self> {
        let (state, token, config) = (scratch.path("agent"), scratch.path("token"), scratch.path("agent.toml"));
        // Seeing programs through /proc needs no privilege, and what it sees plays no part here.
        std::fs::write(&config, "[sensor]\nsource = \"scan\"\n[scan]\nenabled = false\n")?;
        std::fs::write(&token, server.token(root).to_text())?;
        let mut enroll = Command::new(binary("beffroi-agent")?);
        enroll.args(["enroll", "--state"]).arg(&state).arg("--token-file").arg(&token);
        tokio::task::spawn_blocking(move || run(&mut enroll, "beffroi-agent enroll")).await??;
        std::fs::remove_file(&token)?;
        let mut command = Command::new(binary("beffroi-agent")?);
        command.arg("--config").arg(&config).args(["run", "--state"]).arg(&state);
        let log = scratch.path("agent.log");
        let host = Self { agent: Running::start("beffroi-agent", command, &log)?, state, log };
        let deadline = Instant::now() + START_LIMIT;
        let runs = |status: serde_json::Value| status["sensor_alive"] == true && status["uplink_alive"] == true;
        while !host.status().is_ok_and(runs) {
            if Instant::now() > deadline {
                bail!("the agent does not run after {} s; the end of its log:\n{}", START_LIMIT.as_secs(), host.agent.tail());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(host)
    }

    fn status(&self) -> Result<serde_json::Value> {
        let mut command = Command::new(binary("beffroi-agent")?);
        command.args(["status", "--output", "json", "--state"]).arg(&self.state);
        serde_json::from_str(&run(&mut command, "beffroi-agent status")?).context("`beffroi-agent status` gave no JSON")
    }

    /// Its id.
    pub fn agent(&self) -> Result<AgentId> {
        Ok(self.status()?["agent_id"].as_str().context("the agent has no id")?.parse()?)
    }

    /// Fails when the agent has ended.
    pub fn check(&mut self) -> Result<()> {
        self.agent.check()
    }

    /// Its figures as it last wrote them.
    pub fn counts(&self) -> Result<Counts> {
        Ok(Counts(self.status()?["sensor"]["orders"].clone()))
    }

    /// Its figures once they include everything that was handed in until now.
    pub async fn settled(&mut self, limit: Duration) -> Result<Counts> {
        let (since, deadline) = (now_us(), Instant::now() + limit);
        loop {
            self.check()?;
            let status = self.status()?;
            if status["sensor"]["updated_at"].as_i64().unwrap_or(0) > since + STALE_US {
                return Ok(Counts(status["sensor"]["orders"].clone()));
            }
            if Instant::now() > deadline {
                bail!("the sensor has written no status for {} s", limit.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for an answer to an order.
    pub async fn wait_answer(&mut self, server: &Server, order: OrderId, action: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let is_it = |event: &Event| event.text(Field::ACTION) == action && event.text(Field::ORDER_ID) == order.to_string();
            if answers(server)?.iter().any(is_it) {
                return Ok(());
            }
            self.check()?;
            if Instant::now() > deadline {
                bail!("order {order} was not {action} within {} s", limit.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many of the agent's processes died, by its supervisor's account.
    pub fn crashes(&self) -> Result<u64> {
        let log = std::fs::read_to_string(&self.log).context("the agent's log")?;
        Ok(log.lines().filter(|line| line.contains(" died ") || line.contains("panicked at")).count() as u64)
    }

    /// Ends it in order.
    pub fn stop(&mut self) -> bool {
        self.agent.stop()
    }
}

/// Every answer to an order that has come up.
fn answers(server: &Server) -> Result<Vec<Event>> {
    let batches = server.book().batches.clone();
    let mut answers = Vec::new();
    for batch in &batches {
        for record in Envelope::parse(batch)?.decode()?.records {
            if let Record::Event(event) = record
                && event.logsource.category == Category::Scan
            {
                answers.push(event);
            }
        }
    }
    Ok(answers)
}

/// Orders that were accepted.
pub fn accepted(server: &Server) -> Result<Vec<OrderId>> {
    let answers = answers(server)?;
    let accepted = answers.iter().filter(|event| event.text(Field::ACTION) == "accepted");
    accepted.map(|event| event.text(Field::ORDER_ID).parse().context("an answer without an order")).collect()
}

/// Refusals that were told as events.
pub fn refusals_told(server: &Server) -> Result<usize> {
    Ok(answers(server)?.iter().filter(|event| event.text(Field::ACTION) == "refused").count())
}
