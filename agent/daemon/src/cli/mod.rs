//! The command line: names, options, and the way from a subcommand to its module.
//!
//! Owns exit codes: 0 done, 1 failed (the reason is on stderr), 2 wrong usage, 3 done but not everything (bad lines,
//! failed checks), 4 not acknowledged; `scan` has its own. Data goes to stdout, everything else to stderr, through `out`.

// A macro that panics when its reader is gone is no way to print.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod doctor;
mod out;
mod processes;
mod replay;
mod scan;
mod status;
mod watch;

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{Config, DEFAULT_STATE};
use crate::enroll::{MAX_TOKEN_BYTES, enroll};
use crate::identity::Enrolment;
use crate::layout::Layout;
use crate::users::User;
use out::{print, say};

/// Done, but not everything.
const INCOMPLETE: u8 = 3;
/// Not acknowledged by the gateway.
const NOT_ACKNOWLEDGED: u8 = 4;

/// Records what happens on this host and sends it to the collector.
#[derive(Debug, Parser)]
#[command(name = "beffroi-agent", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Configuration file [default: /etc/beffroi/agent.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of identity, spool and status
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_STATE)]
    state: PathBuf,
    /// How the log on stderr is written; RUST_LOG chooses what
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// One JSON document
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent: sensor, uplink and scan worker, restarted when they die
    Run,
    /// Run only the sensor process (it starts the scan worker)
    Sensor(Child),
    /// Run only the uplink process
    Uplink(Child),
    /// Enrol this host with a token from `beffroi enroll token`
    Enroll(EnrollArgs),
    /// Print the events of this machine, without server or enrolment
    Watch(watch::WatchArgs),
    /// Show how the agent stands; works offline
    Status(ReportArgs),
    /// Check everything that can be wrong, and say what to do about it
    Doctor(ReportArgs),
    /// Send recorded events through spool and uplink
    Replay(replay::ReplayArgs),
    /// Scan files of this machine with YARA rules, without server or enrolment
    Scan(scan::ScanArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Judge files handed over by the sensor
    #[command(hide = true)]
    ScanWorker {
        /// Options as JSON
        options: String,
    },
}

#[derive(Debug, Args)]
struct Child {
    /// End when this process ends
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<i32>,
}

#[derive(Debug, Args)]
struct EnrollArgs {
    #[command(flatten)]
    token: TokenSource,
    /// Enrol although this host is enrolled; its agent id stays
    #[arg(long)]
    again: bool,
}

// Never as an argument: every user of the host can read every process's arguments.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TokenSource {
    /// File that holds the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Read the token from standard input
    #[arg(long)]
    token_stdin: bool,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| scan::exit_on_usage(&error));
    start_log(&cli);
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            say!("beffroi-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let layout = Layout::new(cli.state.clone());
    let config = || Config::load(cli.config.as_deref());
    match &cli.command {
        Command::Run => processes::run(&layout, &config()?, cli.config.as_deref()),
        Command::Sensor(child) => processes::sensor(&layout, &config()?, child.parent),
        Command::Uplink(child) => processes::uplink(&layout, &config()?, child.parent),
        Command::Enroll(args) => enrol(&layout, &config()?, args),
        Command::Watch(args) => watch::watch(&layout, &config()?, args),
        Command::Status(args) => status::status(&layout, args.output),
        Command::Doctor(args) => doctor::doctor(&layout, &config()?, args.output),
        Command::Replay(args) => replay::replay(&layout, &config()?, args),
        Command::Scan(args) => Ok(scan::scan(cli.config.as_deref(), args)),
        Command::Completions { shell } => {
            // The generator panics when its writer fails, so it gets one that cannot.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "beffroi-agent", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            print(&String::from_utf8_lossy(&page))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::ScanWorker { options } => processes::scan_worker(options),
    }
}

fn start_log(cli: &Cli) {
    use tracing_subscriber::EnvFilter;
    // What a person runs by hand speaks up only when something is wrong.
    let serves = matches!(cli.command, Command::Run | Command::Sensor(_) | Command::Uplink(_));
    let level = if serves { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

fn enrol(layout: &Layout, config: &Config, args: &EnrollArgs) -> Result<ExitCode> {
    if !args.again
        && let Ok(known) = Enrolment::load(layout)
    {
        anyhow::bail!(
            "this host is enrolled already as {} of tenant {}; to enrol it again use --again",
            known.agent_id,
            known.tenant
        );
    }
    let token = read_token(&args.token)?;
    let uplink = User::for_process(config.uplink.user.as_deref(), "beffroi-uplink", "uplink.user")?;
    let enrolment = runtime()?.block_on(enroll(layout, &token, &config.uplink, &uplink))?;
    print(&format!("enrolled: agent {} of tenant {} at {}", enrolment.agent_id, enrolment.tenant, enrolment.gateway))?;
    Ok(ExitCode::SUCCESS)
}

fn read_token(source: &TokenSource) -> Result<String> {
    let mut text = String::new();
    match &source.token_file {
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| format!("cannot read the token file {}", path.display()))?;
            file.take(MAX_TOKEN_BYTES).read_to_string(&mut text).context("the token file is no text")?;
        }
        None => {
            std::io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut text).context("the token is no text")?;
        }
    }
    Ok(text)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")
}

/// A duration like `10s`, `5m`, `2h`, `1d`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write for example 10s, 5m, 2h");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_and_nonsense_is_refused_with_an_example() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "10", "s", "1w", "99999999999999999999s"] {
            assert!(parse_duration(bad).unwrap_err().contains("10s, 5m"), "{bad}");
        }
    }

    #[test]
    fn a_token_cannot_be_given_as_an_argument() {
        assert!(Cli::try_parse_from(["beffroi-agent", "enroll", "--token", "x"]).is_err());
        assert!(Cli::try_parse_from(["beffroi-agent", "enroll"]).is_err());
        assert!(Cli::try_parse_from(["beffroi-agent", "enroll", "--token-stdin"]).is_ok());
    }
}
