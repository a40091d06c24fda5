//! `xtask bench`: figures of the whole line on this machine. Progress goes to stderr, the figures to stdout at the end,
//! one a line: `figure NAME VALUE UNIT [target OP VALUE ok|missed]`. A missed target is a figure, not a failure; exit
//! status 1 says that something could not be measured. Where a run is short, a figure is the median of three.

mod agent;
mod execs;
pub mod figure;
mod fleet;
mod mix;
pub mod random;
mod sender;
mod throughput;
mod usage;
mod wire;

use anyhow::{Result, bail};

use figure::Figure;

/// Runs of which the median is taken.
const RUNS: usize = 3;

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Events per second with the embedded bus.
    #[value(name = "line.embedded")]
    Embedded,
    /// Events per second with Apache Kafka.
    #[value(name = "line.kafka")]
    Kafka,
    /// From a program's start to its readable alert.
    #[value(name = "latency")]
    Latency,
    /// CPU and memory of the agent.
    #[value(name = "agent")]
    Agent,
    /// Bytes per event.
    #[value(name = "wire")]
    Wire,
}

/// Options of the benchmarks.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Measure only this; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// Seconds for which load is made, for each run of it.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

/// What came of one part.
pub enum Outcome {
    /// Its figures.
    Measured(Vec<Figure>),
    /// Why it cannot be measured here.
    Skipped(String),
}

/// Progress, for people.
fn say(text: &str) {
    eprintln!("bench: {text}");
}

/// Measures and prints.
///
/// # Errors
/// When a part failed; the figures of the others are printed all the same.
pub async fn run(options: &Options) -> Result<()> {
    let wanted = |part: Part| options.only.is_empty() || options.only.contains(&part);
    let mut report = Report::default();
    if wanted(Part::Wire) {
        report.add("wire", wire::measure());
    }
    if wanted(Part::Embedded) {
        report.add("line.embedded", throughput::embedded(options.seconds).await);
    }
    if wanted(Part::Kafka) {
        report.add("line.kafka", throughput::kafka(options.seconds).await);
    }
    if wanted(Part::Latency) || wanted(Part::Agent) {
        this_machine(&mut report, wanted(Part::Latency), wanted(Part::Agent).then_some(options.seconds)).await;
    }
    report.print()
}

/// Both parts with the real agent, on one line.
async fn this_machine(report: &mut Report, latency: bool, cost: Option<u64>) {
    let mut bench = match agent::Bench::start() {
        Ok(Ok(bench)) => bench,
        Ok(Err(why)) => return report.add("latency, agent", Ok(Outcome::Skipped(why))),
        Err(error) => return report.add("latency, agent", Err(error)),
    };
    if latency {
        report.add("latency", bench.latency().await);
    }
    if let Some(seconds) = cost {
        report.add("agent", bench.cost(seconds).await);
    }
    bench.end();
}

/// What has been measured so far.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    failed: Vec<&'static str>,
}

impl Report {
    fn add(&mut self, part: &'static str, outcome: Result<Outcome>) {
        match outcome {
            Ok(Outcome::Measured(figures)) => self.lines.extend(figures.iter().map(Figure::to_string)),
            Ok(Outcome::Skipped(why)) => self.lines.push(format!("skipped {part}: {why}")),
            Err(error) => {
                say(&format!("{part} could not be measured: {error:#}"));
                self.failed.push(part);
            }
        }
    }

    fn print(self) -> Result<()> {
        for line in self.lines {
            println!("{line}");
        }
        if self.failed.is_empty() { Ok(()) } else { bail!("could not be measured: {}", self.failed.join(", ")) }
    }
}
