//! A collector with its own data folder and addresses, asked through the analyst's terminal.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;

use crate::place::{Scratch, binary, tree};
use crate::process::{Process, run, wait_for};

/// The engine needs some seconds for its first start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Until everything that was accepted is evaluated and stored, after outages of any part.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
/// Groups and rows asked for in one answer: the API's limit.
const MAX_ROWS: &str = "10000";

#[derive(Debug, Clone, Deserialize)]
struct Addresses {
    gateway: String,
    api: String,
    observe: String,
}

impl Addresses {
    fn any() -> Self {
        let any = || "127.0.0.1:0".to_owned();
        Self { gateway: any(), api: any(), observe: any() }
    }
}

/// One alert of the list.
#[derive(Debug, Clone, Deserialize)]
pub struct Alert {
    /// Id.
    pub alert_id: String,
    /// Tenant.
    pub tenant: String,
    /// Rule.
    pub rule_id: String,
    /// Host name.
    pub hostname: String,
    /// Distinct matches.
    pub count: u64,
}

/// One line of `beffroi gaps list`.
#[derive(Debug, Clone, Deserialize)]
pub struct Gap {
    /// Agent.
    pub agent_id: String,
    /// Why.
    pub reason: String,
    /// From when.
    pub from: jiff::Timestamp,
    /// To when.
    pub to: jiff::Timestamp,
}

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    addresses: Addresses,
    extra: String,
    folder: PathBuf,
}

impl Collector {
    /// Starts a collector below `scratch` and waits until every role is ready. `extra` is added to its configuration.
    ///
    /// # Errors
    /// It does not start; the error holds the end of its log.
    pub fn start(scratch: &Scratch, extra: &str) -> Result<Self> {
        let collector = Self::start_unready(scratch, extra)?;
        collector.wait_ready()?;
        Ok(collector)
    }

    /// As [`Collector::start`], without waiting for more than its addresses.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_unready(scratch: &Scratch, extra: &str) -> Result<Self> {
        let folder = scratch.path("");
        let (process, addresses) = launch(&folder, &Addresses::any(), extra)?;
        Ok(Self { process, addresses, extra: extra.into(), folder })
    }

    /// Kills it, and with it the engine that it owns.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same data and addresses and waits until every role is ready.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.process.stop();
        (self.process, self.addresses) = launch(&self.folder, &self.addresses, &self.extra)?;
        self.wait_ready()
    }

    /// Stops it; true when it drained in time.
    pub fn stop(&mut self) -> bool {
        self.process.stop()
    }

    /// Folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("collector")
    }

    /// Where agents connect: host and port.
    pub fn gateway(&self) -> &str {
        &self.addresses.gateway
    }

    /// Where the API and the console listen: host and port.
    pub fn api(&self) -> &str {
        &self.addresses.api
    }

    /// Value of a counter of `/metrics`, summed over its labels.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.metrics()?;
        let ours = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        Ok(text.lines().filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// The whole text of `/metrics`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn metrics(&self) -> Result<String> {
        read_metrics(&self.addresses.observe, "")
    }

    /// The same text as the API gives it to whoever sees every tenant.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn metrics_of_api(&self) -> Result<String> {
        let token = std::fs::read_to_string(self.data().join("api/admin.token")).context("the admin token")?;
        read_metrics(&self.addresses.api, &format!("Authorization: Bearer {}\r\n", token.trim()))
    }

    /// The server CA (PEM).
    ///
    /// # Errors
    /// It cannot be read.
    pub fn ca(&self) -> Result<String> {
        std::fs::read_to_string(self.data().join("pki/ca.pem")).context("the server CA")
    }

    /// `beffroi`, set up for this collector.
    ///
    /// # Errors
    /// The binary is not built, or the terminal's configuration cannot be written.
    pub fn cli(&self) -> Result<Command> {
        let config = self.folder.join("cli.toml");
        let text = format!(
            "api = \"http://{}\"\ntoken_file = {:?}\ngateway = \"https://{}\"\nca_file = {:?}\n",
            self.addresses.api,
            self.data().join("api/admin.token"),
            self.addresses.gateway,
            self.data().join("pki/ca.pem"),
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(binary("beffroi")?);
        command.arg("--config").arg(config).args(["--output", "json"]);
        Ok(command)
    }

    /// One question of the terminal, as JSON.
    ///
    /// # Errors
    /// The terminal fails; the error holds what it says.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let output = run(self.cli()?.args(arguments))?;
        serde_json::from_slice(&output.stdout).with_context(|| format!("`beffroi {}` gave no JSON", arguments.join(" ")))
    }

    /// `beffroi status`, which fails where a role is not ready but answers all the same.
    ///
    /// # Errors
    /// There is no answer.
    pub fn status(&self) -> Result<Value> {
        let Output { stdout, stderr, .. } = self.cli()?.arg("status").stdin(Stdio::null()).output()?;
        serde_json::from_slice(&stdout).with_context(|| String::from_utf8_lossy(&stderr).into_owned())
    }

    /// The state of one role.
    ///
    /// # Errors
    /// There is no such role, or no answer.
    pub fn role(&self, name: &str) -> Result<Value> {
        let status = self.status()?;
        let roles = status["roles"].as_array().context("no roles")?;
        roles.iter().find(|role| role["role"] == name).cloned().with_context(|| format!("no role {name} in {status}"))
    }

    /// Process id of the embedded engine.
    ///
    /// # Errors
    /// It is not running.
    pub fn engine_pid(&self) -> Result<Pid> {
        let role = self.role("clickhouse")?;
        let figures = role["figures"].as_array().context("no figures")?;
        let pid = figures.iter().find(|figure| figure[0] == "pid").context("the engine has no pid now")?;
        let pid = pid[1].as_str().map_or_else(|| pid[1].to_string(), str::to_owned);
        Ok(Pid::from_raw(pid.parse().context("the engine's pid")?))
    }

    /// Waits until every role is ready.
    ///
    /// # Errors
    /// One is not within the limit; the error holds the last state and the end of the log.
    pub fn wait_ready(&self) -> Result<()> {
        let ready = || {
            let status = self.status()?;
            let roles = status["roles"].as_array().context("no roles")?;
            ensure!(!roles.is_empty() && roles.iter().all(|role| role["ready"] == true), "{}", status["roles"]);
            Ok(true)
        };
        wait_for("readiness of every role", START_LIMIT, ready).with_context(|| self.process.tail())
    }

    /// Waits until every consumer has read everything that the bus holds.
    ///
    /// # Errors
    /// Something stays unread; the error holds the lags and the end of the log.
    pub fn wait_settled(&self) -> Result<()> {
        let settled = || {
            let status = self.status()?;
            let lags = status["lag"].as_array().context("no lags")?;
            ensure!(!lags.is_empty() && status["bus_error"].is_null(), "{status}");
            ensure!(lags.iter().all(|lag| lag["records"] == 0), "{}", status["lag"]);
            Ok(true)
        };
        // Twice: what the first consumer publishes is the next one's input.
        wait_for("the end of all lags", SETTLE_LIMIT, settled).with_context(|| self.process.tail())?;
        wait_for("the end of all lags", SETTLE_LIMIT, settled).with_context(|| self.process.tail())
    }

    /// `beffroi events search --count` of the process starts that `filter` holds.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn count(&self, tenant: &str, filter: &str) -> Result<u64> {
        let answer = self.ask(&["events", "search", "category=process_creation", filter, "--tenant", tenant, "--count"])?;
        answer["total"].as_u64().with_context(|| format!("no total in {answer}"))
    }

    /// `beffroi events search --by FIELD`: how often each value stands among the process starts that `filter` holds.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn groups(&self, tenant: &str, field: &str, filter: &str) -> Result<BTreeMap<String, u64>> {
        let started = "category=process_creation";
        let arguments = ["events", "search", started, filter, "--tenant", tenant, "--by", field, "--limit", MAX_ROWS];
        let answer = self.ask(&arguments)?;
        let rows = answer.as_array().with_context(|| format!("no groups in {answer}"))?;
        let group = |row: &Value| Some((row["value"].as_str()?.to_owned(), row["count"].as_u64()?));
        rows.iter().map(|row| group(row).with_context(|| format!("{row} is no group"))).collect()
    }

    /// `beffroi alerts list` for a tenant.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn alerts(&self, tenant: &str) -> Result<Vec<Alert>> {
        let answer = self.ask(&["alerts", "list", "--tenant", tenant, "--limit", "500"])?;
        serde_json::from_value(answer).context("the list of alerts")
    }

    /// `beffroi gaps list`.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn gaps(&self) -> Result<Vec<Gap>> {
        serde_json::from_value(self.ask(&["gaps", "list", "--since", "24h"])?).context("the list of gaps")
    }
}

fn read_metrics(address: &str, header: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).context("/metrics")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{header}\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("/metrics")?;
    let (head, body) = text.split_once("\r\n\r\n").context("/metrics gave no HTTP answer")?;
    ensure!(head.contains(" 200 "), "/metrics: {head}");
    Ok(body.to_owned())
}

fn launch(folder: &std::path::Path, at: &Addresses, extra: &str) -> Result<(Process, Addresses)> {
    let data = folder.join("collector");
    let config = folder.join("collector.toml");
    // A test with rules of its own names them in `extra`.
    let detect = match extra.contains("[detect]") {
        true => String::new(),
        false => format!("[detect]\nrules = [{:?}]", tree().join("rules/sigma")),
    };
    let Addresses { gateway, api, observe } = at;
    let text = format!(
        "data = {data:?}\n\n[gateway]\nlisten = \"{gateway}\"\n\n[api]\nlisten = \"{api}\"\n\n[observe]\nlisten = \"{observe}\"\n\n\
         {detect}\n\n{extra}\n"
    );
    std::fs::write(&config, text)?;
    let known = data.join("run/addresses.json");
    // A killed collector leaves its addresses behind; these would be taken for the new one's.
    let _ = std::fs::remove_file(&known);
    let mut command = Command::new(binary("beffroi-collector")?);
    command.arg("--config").arg(&config);
    let mut process = Process::start("beffroi-collector", &mut command, &folder.join("collector.log"))?;
    wait_for("the collector's start", START_LIMIT, || Ok(known.exists() || !process.runs()))?;
    process.check()?;
    let addresses = serde_json::from_slice(&std::fs::read(&known)?).context("the collector's addresses")?;
    Ok((process, addresses))
}
