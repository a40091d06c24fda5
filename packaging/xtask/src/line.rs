//! The line on this machine: one collector with everything embedded, its addresses, and the operator's files.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{Running, wait_for};

/// The embedded engine needs some seconds for its first start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Where everything of one run lives; removed when it is dropped.
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// A new folder that other users can enter: parts of the agent run unprivileged.
    pub fn new() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new().prefix("beffroi-run-").tempdir().context("cannot make a scratch folder")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A binary that was built beside this one.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.parent().context("this program lies in a folder")?.join(name);
    if !path.exists() {
        bail!("{} does not exist; build it with `make build`", path.display());
    }
    Ok(path)
}

/// Root of the source tree, for rules and recorded events.
pub fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the root").to_path_buf()
}

/// Addresses that a collector writes down when it listens.
#[derive(Debug, Clone, Deserialize)]
pub struct Addresses {
    /// Gateway (TLS).
    pub gateway: String,
    /// API.
    pub api: String,
}

/// A running collector.
pub struct Line {
    collector: Running,
    /// Where it listens.
    pub addresses: Addresses,
    cli_config: PathBuf,
    ca: PathBuf,
    /// The API token.
    pub token: String,
    /// Where it stands.
    pub token_file: PathBuf,
}

impl Line {
    /// Starts a collector below `scratch` and waits until every role is ready. `config` is added to its configuration.
    pub fn start(scratch: &Scratch, config: &str) -> Result<Self> {
        let data = scratch.path("collector");
        let file = scratch.path("collector.toml");
        let rules = tree().join("rules/sigma");
        let text = format!(
            "data = {data:?}\n\n[gateway]\nlisten = \"127.0.0.1:0\"\n\n[api]\nlisten = \"127.0.0.1:0\"\n\n[observe]\nlisten = \"127.0.0.1:0\"\n\n[detect]\nrules = [{rules:?}]\n\n{config}\n"
        );
        std::fs::write(&file, text)?;
        let mut command = Command::new(binary("beffroi-collector")?);
        command.arg("--config").arg(&file);
        let mut collector = Running::start("beffroi-collector", command, &scratch.path("collector.log"))?;
        let at = data.join("run/addresses.json");
        wait_for("the collector's start", START_LIMIT, &mut [&mut collector], || Ok(at.exists()))?;
        let addresses: Addresses = serde_json::from_slice(&std::fs::read(&at)?).context("the collector's addresses")?;
        let token_file = data.join("api/admin.token");
        let token = std::fs::read_to_string(&token_file).with_context(|| format!("{}", token_file.display()))?.trim().to_string();
        let ca = data.join("pki/ca.pem");
        let cli_config = scratch.path("cli.toml");
        let cli = format!(
            "api = \"http://{}\"\ntoken_file = {token_file:?}\ngateway = \"https://{}\"\nca_file = {ca:?}\n",
            addresses.api, addresses.gateway,
        );
        std::fs::write(&cli_config, cli)?;
        let mut line = Self { collector, addresses, cli_config, ca, token, token_file };
        line.wait_ready()?;
        Ok(line)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let status = |config: &Path| -> Result<bool> {
            let output = beffroi(config)?.args(["status", "--output", "json"]).output()?;
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).context("`beffroi status` gave no JSON")?;
            let roles = status["roles"].as_array().context("no roles")?;
            Ok(!roles.is_empty() && roles.iter().all(|role| role["ready"] == true))
        };
        let config = self.cli_config.clone();
        wait_for("readiness of every role", START_LIMIT, &mut [&mut self.collector], || status(&config))
    }

    /// The CLI, set up for this collector.
    pub fn cli(&self) -> Result<Command> {
        beffroi(&self.cli_config)
    }

    /// Adds lines to the operator's configuration.
    pub fn configure(&self, lines: &str) -> Result<()> {
        let text = std::fs::read_to_string(&self.cli_config)? + lines;
        std::fs::write(&self.cli_config, text).with_context(|| format!("{}", self.cli_config.display()))
    }

    /// The CLI of somebody else: the configuration as it is now with other lines, in a file of its own.
    pub fn cli_of(&self, name: &str, lines: &str) -> Result<Command> {
        let file = self.cli_config.with_file_name(format!("{name}.toml"));
        let own = std::fs::read_to_string(&self.cli_config)?;
        let others = own.lines().filter(|line| !line.starts_with("root_cert") && !line.starts_with("operator_"));
        let text: String = others.map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, text + lines).with_context(|| format!("{}", file.display()))?;
        beffroi(&file)
    }

    /// Fails with the end of its log when the collector has ended.
    pub fn check(&mut self) -> Result<()> {
        self.collector.check()
    }

    /// Stops the collector; says whether it drained in time.
    pub fn stop(&mut self) -> bool {
        self.collector.stop()
    }

    /// The server CA (PEM).
    pub fn ca(&self) -> Result<String> {
        std::fs::read_to_string(&self.ca).with_context(|| format!("{}", self.ca.display()))
    }

    /// An enrolment token for so many hosts, in a file.
    pub fn token(&self, scratch: &Scratch, tenant: &str, labels: &[&str], hosts: u32) -> Result<PathBuf> {
        let file = scratch.path(format!("{tenant}.token"));
        let mut command = self.cli()?;
        command
            .args(["enroll", "token", "--tenant", tenant, "--expires", "1h", "--uses"])
            .arg(hosts.to_string())
            .arg("--out")
            .arg(&file);
        for label in labels {
            command.args(["--label", label]);
        }
        run(&mut command, "beffroi enroll token")?;
        Ok(file)
    }
}

fn beffroi(config: &Path) -> Result<Command> {
    let mut command = Command::new(binary("beffroi")?);
    command.arg("--config").arg(config);
    Ok(command)
}

/// Runs a command to its end; a failure says what it printed.
pub fn run(command: &mut Command, name: &str) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name} failed with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Id of one of our rules, read from its file.
pub fn rule_id(name: &str) -> Result<String> {
    let folder = tree().join("rules/sigma");
    let mut folders = vec![folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|file| file == format!("{name}.yml").as_str()) {
                let text = std::fs::read_to_string(&path)?;
                let id = text.lines().find_map(|line| line.strip_prefix("id:"));
                return Ok(id.with_context(|| format!("{} has no id", path.display()))?.trim().to_string());
            }
        }
    }
    bail!("no rule file {name}.yml below {}", folder.display())
}
