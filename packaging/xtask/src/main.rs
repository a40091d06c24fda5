//! What `make` calls for more than a plain command: the story (`run`, `demo`), the benchmarks, the attacks (`red`), the
//! rules' noise, and verdicts against other engines'.
//!
//! Everything lives in a scratch folder that is removed at the end; servers listen on loopback only.

mod acts;
mod bench;
mod host;
mod hunt;
mod line;
mod noise;
mod process;
mod reader;
mod red;
mod show;
mod story;
mod verdicts;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::story::{Outcome, Story};

#[derive(Parser)]
#[command(name = "xtask", about = "Tasks behind the Makefile")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Tell the story and stay until Ctrl-C.
    Run,
    /// Tell the story and end: exit 0 once every expected alert, the hunt, the refusal and the gap were read back.
    Demo,
    /// Measure the whole line and print figures.
    Bench(bench::Options),
    /// Send forged, altered, replayed and foreign orders to a real agent: exit 0 when none was accepted.
    Red,
    /// What our rules say of machines that nobody attacks.
    #[command(subcommand)]
    Noise(noise::Step),
    /// Compare what the terminal says of recorded events with what other people's engines say.
    Verdicts,
}

fn main() -> ExitCode {
    match tell() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tell() -> Result<()> {
    let arguments = Arguments::parse();
    // The HTTP client is built without a TLS provider of its own; the API is plain HTTP on loopback.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.task {
        Task::Run => runtime.block_on(run()),
        Task::Demo => runtime.block_on(demo()),
        Task::Bench(options) => measuring()?.block_on(bench::run(&options)),
        Task::Red => measuring()?.block_on(red::run()),
        Task::Noise(step) => noise::run(&step),
        Task::Verdicts => verdicts::run(),
    }
}

/// The load generator uses every core that it gets.
fn measuring() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

async fn run() -> Result<()> {
    let mut story = Story::begin().await?;
    let told = tokio::select! {
        told = story.tell() => Some(told?),
        _ = tokio::signal::ctrl_c() => None,
    };
    if let Some(outcome) = told {
        complain(&outcome);
        show::step("the line stays up until Ctrl-C; in another terminal:");
        show::say(&format!("{} alerts list", story.command()?));
        tokio::select! {
            ended = story.keep_watching() => ended?,
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    show::step("stopping");
    if story.end() { Ok(()) } else { bail!("a process did not stop in time and was killed") }
}

fn complain(outcome: &Outcome) -> bool {
    for missing in &outcome.missing {
        eprintln!("missing alert: {missing}");
    }
    if outcome.gap == Some(false) {
        eprintln!("missing: the gap of the killed agent");
    }
    if !outcome.hunt {
        eprintln!("missing: the hunt's match inside the war");
    }
    if !outcome.refusal {
        eprintln!("missing: the refusal of the forged order");
    }
    outcome.missing.is_empty() && outcome.gap != Some(false) && outcome.hunt && outcome.refusal
}

async fn demo() -> Result<()> {
    let mut story = Story::begin().await?;
    let outcome = story.tell().await;
    let drained = story.end();
    let complete = complain(&outcome?);
    match (complete, drained) {
        (true, true) => {
            show::step("every expected alert, the hunt, the refusal and the gap were read back");
            Ok(())
        }
        (true, false) => bail!("the story is whole, but a process did not stop in time and was killed"),
        (false, _) => bail!("the story is not whole: see above"),
    }
}
