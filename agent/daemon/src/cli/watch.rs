//! `watch`: the events of this machine, as they happen, without server, enrolment or spool.
//!
//! Owns the printing. What cannot be seen (no privilege, no probe) is said on stderr before the first event; losses and a
//! summary follow there. A reader that goes away ends it quietly.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use beffroi_schema::batch::Record;
use beffroi_schema::{AgentId, Event, Field};
use beffroi_sensor::{Sensor, SensorOptions};
use clap::{Args, ValueEnum};

use super::out::{Out, say};
use super::parse_duration;
use crate::config::Config;
use crate::identity::Enrolment;
use crate::layout::Layout;
use crate::stop::Stop;

/// How long one turn waits for events: Ctrl-C is noticed after this.
const TURN: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WatchOutput {
    /// One JSON object a line
    Ndjson,
    /// For people
    Table,
    /// One JSON array
    Json,
}

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// How events are printed
    #[arg(long, value_enum, default_value_t = WatchOutput::Ndjson)]
    output: WatchOutput,
    /// Stop after this time, for example 10s; without it, Ctrl-C stops
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
}

pub(super) fn watch(layout: &Layout, config: &Config, args: &WatchArgs) -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let agent = Enrolment::load(layout).map_or(AgentId::default(), |enrolment| enrolment.agent_id);
    let boot_id = beffroi_sensor::boot_id()?;
    let options = SensorOptions { exclude_tgids: vec![std::process::id()], ..config.sensor.options(agent, &boot_id) };
    let mut sensor = Sensor::start(options)?;
    say_what_is_not_seen(&sensor);
    let mut printer = Printer::new(args.output)?;
    let began = Instant::now();
    let until = args.duration.map(|duration| began + duration);
    while !stop.is_set() && !printer.is_over() {
        let left = until.map_or(TURN, |until| until.saturating_duration_since(Instant::now()).min(TURN));
        if left.is_zero() {
            break;
        }
        sensor.poll(left, &mut |record| printer.take(&record))?;
        printer.flush();
    }
    let dropped: u64 = sensor.hooks().iter().map(|hook| hook.dropped).sum();
    sensor.finish(&mut |record| printer.take(&record))?;
    let printed = printer.end();
    let counts: Vec<String> = printer.counts.iter().map(|(category, count)| format!("{category} {count}")).collect();
    let total: u64 = printer.counts.values().sum();
    let seconds = began.elapsed().as_secs_f64();
    say!("{total} events in {seconds:.1} s ({}); {dropped} lost in the kernel", counts.join(", "));
    printed?;
    Ok(ExitCode::SUCCESS)
}

fn say_what_is_not_seen(sensor: &Sensor) {
    let hooks = sensor.hooks();
    if !sensor.has_probes() {
        for source in hooks.iter().filter(|hook| hook.on) {
            say!("no kernel probes: {} {}", source.name, source.why);
        }
    }
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for hook in hooks.into_iter().filter(|hook| !hook.on) {
        reasons.entry(hook.why).or_default().push(hook.name);
    }
    for (why, hooks) in reasons {
        say!("off: {}: {why}", hooks.join(" "));
    }
}

struct Printer {
    output: WatchOutput,
    out: Out,
    counts: BTreeMap<&'static str, u64>,
    first: bool,
    /// Why nothing more can be printed.
    failed: Option<io::Error>,
}

impl Printer {
    fn new(output: WatchOutput) -> io::Result<Self> {
        let mut out = Out::new();
        match output {
            WatchOutput::Json => write!(out, "[")?,
            WatchOutput::Table => writeln!(out, "{:<15} {:<20} {:>8} {:<12} WHAT", "TIME", "CATEGORY", "PID", "USER")?,
            WatchOutput::Ndjson => {}
        }
        Ok(Self { output, out, counts: BTreeMap::new(), first: true, failed: None })
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Event(event) => {
                *self.counts.entry(event.logsource.category.name()).or_default() += 1;
                let printed = self.print(event);
                self.keep(printed);
            }
            Record::Gap(gap) => {
                let count = gap.count.map_or("some".into(), |count| count.to_string());
                say!("{count} records of {} were lost ({})", gap.hook, gap.reason.name());
            }
            _ => {}
        }
    }

    fn print(&mut self, event: &Event) -> io::Result<()> {
        match self.output {
            WatchOutput::Ndjson => {
                serde_json::to_writer(&mut self.out, &event.to_json())?;
                writeln!(self.out)
            }
            WatchOutput::Json => {
                write!(self.out, "{}", if self.first { "\n" } else { ",\n" })?;
                self.first = false;
                Ok(serde_json::to_writer(&mut self.out, &event.to_json())?)
            }
            WatchOutput::Table => {
                let time = beffroi_schema::json::rfc3339(event.ts);
                let clock = time.get(11..26).unwrap_or(&time);
                let (category, user) = (event.logsource.category.name(), event.text(Field::USER));
                let pid = event.uint(Field::PROCESS_ID).unwrap_or(0);
                writeln!(self.out, "{clock:<15} {category:<20} {pid:>8} {:<12} {}", printable(&user), printable(&what(event)))
            }
        }
    }

    fn flush(&mut self) {
        let flushed = self.out.flush();
        self.keep(flushed);
    }

    /// Whether nobody reads, or nothing takes, what is still printed.
    fn is_over(&self) -> bool {
        self.failed.is_some() || self.out.is_closed()
    }

    fn keep(&mut self, result: io::Result<()>) {
        self.failed = self.failed.take().or(result.err());
    }

    fn end(&mut self) -> io::Result<()> {
        if self.output == WatchOutput::Json {
            let ended = writeln!(self.out, "\n]");
            self.keep(ended);
        }
        self.flush();
        self.failed.take().map_or(Ok(()), Err)
    }
}

fn what(event: &Event) -> String {
    let fields = [Field::COMMAND_LINE, Field::TARGET_FILENAME, Field::DESTINATION_IP, Field::QUERY_NAME, Field::IMAGE];
    let value = fields.into_iter().find(|field| event.get(*field).is_some()).map(|field| event.text(field).into_owned());
    let port = event.uint(Field::DESTINATION_PORT).map(|port| format!(" port {port}")).unwrap_or_default();
    format!("{}{port}", value.unwrap_or_default())
}

/// Text of a hostile program must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
