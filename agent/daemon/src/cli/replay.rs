//! `replay`: recorded events through the same spool and uplink, in an epoch of their own, marked as replayed.
//!
//! Owns the run: it writes the spool of an enrolled state folder (which no sensor may be using), sends it itself unless an
//! uplink is running already, and waits until the gateway has acknowledged everything.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use beffroi_log::{LogReader, read_cursor};
use beffroi_schema::batch::{HostInfo, Record};
use beffroi_schema::{Product, SigningKey, Stream};
use beffroi_sensor::replay::{ReplayOptions, ReplayReport, replay_jsonl};
use clap::{Args, ValueEnum};
use tokio::sync::watch;

use super::out::say;
use super::{INCOMPLETE, NOT_ACKNOWLEDGED, parse_duration, runtime};
use crate::clock::now_us;
use crate::config::{Config, UplinkConfig};
use crate::identity::{Enrolment, load_enrolled_key};
use crate::layout::{Layout, read_json};
use crate::spool::{Author, Role, Spool};
use crate::stop::Stop;
use crate::uplink::{Signer, Uplink, UplinkState, UplinkStatus};

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);
/// Pause between looks at the cursors.
const LOOK: Duration = Duration::from_millis(20);
/// Bad lines that are shown; the others are counted.
const SHOWN_LINES: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One flat JSON object a line, Sigma field names
    Jsonl,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// File with the events; `-` is standard input
    file: PathBuf,
    /// Format of the file
    #[arg(long, value_enum)]
    format: Format,
    /// Events a second; as fast as possible without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Product of events that name none: linux, windows, macos
    #[arg(long, default_value = "linux", value_parser = parse_product)]
    product: Product,
    /// Host name to report instead of this machine's
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Return when everything is spooled; a running agent sends it
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after this time, for example 5m
    #[arg(long, value_parser = parse_duration)]
    timeout: Option<Duration>,
}

fn parse_product(text: &str) -> Result<Product, String> {
    Product::from_name(text)
        .filter(|product| *product != Product::None)
        .ok_or_else(|| format!("{text:?} is no product; write linux, windows or macos"))
}

pub(super) fn replay(layout: &Layout, config: &Config, args: &ReplayArgs) -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let enrolment = Enrolment::load(layout)?;
    let key = load_enrolled_key(layout, &enrolment)?;
    let mut spool = open_spool(layout, config, &enrolment, &key, args.host.as_deref())?;
    let sender = if args.no_wait { None } else { Sender::start(layout, &config.uplink, enrolment, key)? };
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let report = feed(&mut spool, config, args, &stop)?;
    say_bad_lines(&report);
    let ends = end_spool(spool, layout)?;
    let acknowledged = args.no_wait || wait(layout, &ends, &stop, deadline);
    if let Some(sender) = sender {
        sender.stop();
    }
    say!(
        "{} events {}, {} bad lines",
        report.events,
        if args.no_wait {
            "spooled"
        } else if acknowledged {
            "acknowledged"
        } else {
            "spooled but NOT all acknowledged"
        },
        report.bad
    );
    Ok(match (acknowledged, report.bad) {
        (false, _) => ExitCode::from(NOT_ACKNOWLEDGED),
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::from(INCOMPLETE),
    })
}

fn open_spool(layout: &Layout, config: &Config, enrolment: &Enrolment, key: &SigningKey, host: Option<&str>) -> Result<Spool> {
    let mut info = crate::host::info();
    if let Some(name) = host {
        info = HostInfo { hostname: name.into(), addresses: Vec::new(), ..info };
    }
    let epoch = Author::new_epoch(now_us())?;
    let author = Author { tenant: enrolment.tenant.clone(), agent: enrolment.agent_id, epoch, key: key.clone(), host: info };
    Spool::open(layout, author, &config.spool, Role::Replay).map_err(|error| match error.is_locked() {
        true => anyhow::anyhow!(
            "{error}: a sensor or another replay is using {}; enrol a second --state folder for replays",
            layout.root().display()
        ),
        false => error.into(),
    })
}

fn feed(spool: &mut Spool, config: &Config, args: &ReplayArgs, stop: &Stop) -> Result<ReplayReport> {
    let options = ReplayOptions { product: args.product, ..ReplayOptions::default() };
    let input: Box<dyn BufRead> = match args.file.to_str() {
        Some("-") => Box::new(std::io::stdin().lock()),
        _ => Box::new(BufReader::new(File::open(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?)),
    };
    let mut feeder = Feeder {
        limit: config.spool.max_bytes / 4 * 3,
        rate: args.rate,
        sent: 0,
        began: Instant::now(),
        no_wait: args.no_wait,
        stuck: false,
    };
    let report = replay_jsonl(input, &options, &mut |event| {
        if !stop.is_set() && !feeder.stuck {
            feeder.make_way(spool, stop);
            spool.push(event.stream(), Record::Event(event));
            feeder.sent += 1;
        }
    })?;
    if feeder.stuck {
        bail!("the spool is nearly full after {} events and nobody empties it; replay without --no-wait", feeder.sent);
    }
    Ok(ReplayReport { events: feeder.sent, ..report })
}

/// Keeps the pace and never lets a replay evict anything from the spool.
struct Feeder {
    limit: u64,
    rate: Option<u64>,
    sent: u64,
    began: Instant,
    no_wait: bool,
    stuck: bool,
}

impl Feeder {
    fn make_way(&mut self, spool: &mut Spool, stop: &Stop) {
        if let Some(rate) = self.rate {
            let due = self.began + Duration::from_secs_f64(self.sent as f64 / rate as f64);
            loop {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() || stop.is_set() {
                    break;
                }
                tick_if_due(spool);
                thread::sleep(left.min(Duration::from_millis(5)));
            }
        }
        tick_if_due(spool);
        while spool.bytes() > self.limit && !stop.is_set() {
            if self.no_wait {
                self.stuck = true;
                return;
            }
            spool.tick();
            thread::sleep(LOOK);
        }
    }
}

fn tick_if_due(spool: &mut Spool) {
    if spool.next_deadline().is_some_and(|due| due <= Instant::now()) {
        spool.tick();
    }
}

/// Closes the epoch and returns where each stream's log ends.
fn end_spool(mut spool: Spool, layout: &Layout) -> Result<Vec<(Stream, u64)>> {
    spool.flush();
    spool.last_heartbeat();
    let abandoned = spool.close();
    if abandoned > 0 {
        bail!("{abandoned} records could not be written to the spool; is the disk full?");
    }
    let mut ends = Vec::new();
    for stream in Stream::ALL {
        ends.push((stream, LogReader::open(layout.spool(stream))?.end_offset()?.unwrap_or(0)));
    }
    Ok(ends)
}

fn wait(layout: &Layout, ends: &[(Stream, u64)], stop: &Stop, deadline: Option<Instant>) -> bool {
    let mut shown = Instant::now();
    loop {
        let left: u64 = ends.iter().map(|(stream, end)| end.saturating_sub(cursor(layout, *stream))).sum();
        if left == 0 {
            return true;
        }
        if stop.is_set() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            say!("{left} batches are on the spool and not acknowledged; a running agent sends them");
            return false;
        }
        if shown.elapsed() >= PROGRESS {
            shown = Instant::now();
            let status = read_json::<UplinkStatus>(&layout.uplink_status()).ok().flatten();
            let detail = status.as_ref().map(|status| status.detail.as_str()).unwrap_or_default();
            say!("{left} batches to go {detail}");
            if status.is_some_and(|status| status.state == UplinkState::Stopped && now_us() - status.updated_at < 60_000_000) {
                return false;
            }
        }
        thread::sleep(LOOK);
    }
}

fn cursor(layout: &Layout, stream: Stream) -> u64 {
    read_cursor(layout.cursor(stream)).ok().flatten().map_or(0, |cursor| cursor.offset)
}

fn say_bad_lines(report: &ReplayReport) {
    for bad in report.bad_lines.iter().take(SHOWN_LINES) {
        say!("line {}: {}", bad.line, bad.why);
    }
    if report.bad > SHOWN_LINES as u64 {
        say!("and {} more bad lines", report.bad - SHOWN_LINES as u64);
    }
}

/// An uplink in a thread of this process.
struct Sender {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Sender {
    /// Starts sending; `None` when another process does so already.
    fn start(layout: &Layout, config: &UplinkConfig, enrolment: Enrolment, key: SigningKey) -> Result<Option<Self>> {
        let runtime = runtime()?;
        let opened = {
            let _context = runtime.enter();
            Uplink::open(layout, config, enrolment, Signer::Key(Box::new(key)))
        };
        let uplink = match opened {
            Err(error) if error.is_locked() => return Ok(None),
            opened => opened?,
        };
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new().name("uplink".into()).spawn(move || runtime.block_on(uplink.run(stopped)))?;
        Ok(Some(Self { stop, thread }))
    }

    fn stop(self) {
        // The receiver lives in the thread; if that has ended there is nobody to tell.
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}
