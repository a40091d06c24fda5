//! `scan`: files of this machine by YARA rules, without server or enrolment, in the same locked workers that the sensor
//! uses.
//!
//! Owns the printing and its own exit codes: 0 nothing matched, 1 something matched, 2 no rule could be loaded, 3 wrong
//! usage or output that cannot be written. Matches go to stdout; what is unknown or left out and the summary go to stderr
//! (with `--output ndjson` everything but the summary goes to stdout). A reader that goes away ends it quietly.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use beffroi_scan::job::{Budgets, CancelFlag, Ended, Found, Job, Observer, Report, Skip, run_many};
use beffroi_scan::{ArchiveLimits, Hit, Identity, Launcher, ScanOptions, Scanner};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::out::{Out, say};
use crate::config::Config;
use crate::stop::Stop;
use crate::users::User;

/// Nothing matched.
const CLEAN: u8 = 0;
/// At least one rule matched.
const MATCHED: u8 = 1;
/// No rule could be loaded, or no worker could be had.
const NO_RULES: u8 = 2;
/// The command line, a configuration or a list that cannot be used; output that cannot be written.
const USAGE: u8 = 3;
/// Unknown files that are named on a terminal; the rest is counted.
const MAX_NAMED: u64 = 1_000;
/// Largest list of paths that is read (bytes).
const MAX_LIST_BYTES: u64 = 64 << 20;
/// A person waits for a local scan and can end it: its time has no other bound.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScanOutput {
    /// `RULE PATH`
    Text,
    /// One JSON object a line
    Ndjson,
}

#[derive(Debug, Args)]
pub(super) struct ScanArgs {
    /// Rule file, or folder with .yar and .yara files; may be repeated
    #[arg(short, long, required = true, value_name = "RULES")]
    rules: Vec<PathBuf>,
    /// Walk the folders below those named, too
    #[arg(long)]
    recursive: bool,
    /// Workers side by side [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Leave out files with more bytes than this, for example 10M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    skip_larger: Option<u64>,
    /// Time for one file with everything in it
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// File with paths to scan, one a line
    #[arg(long, value_name = "FILE")]
    scan_list: Option<PathBuf>,
    /// How deep archives inside archives are opened; 0 leaves all closed
    #[arg(long, value_name = "DEPTH", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=4))]
    archive_depth: u32,
    /// Walk network and FUSE file systems, too
    #[arg(long)]
    network: bool,
    /// Print the metadata of rules that match
    #[arg(long)]
    print_meta: bool,
    /// Print the strings that were found
    #[arg(long)]
    print_strings: bool,
    /// How matches are printed
    #[arg(long, value_enum, default_value_t = ScanOutput::Text)]
    output: ScanOutput,
    /// File or folder to scan
    #[arg(value_name = "PATH", required_unless_present = "scan_list")]
    paths: Vec<PathBuf>,
}

/// Ends this process because of its command line: with this subcommand's own code when it is about this subcommand.
pub(super) fn exit_on_usage(error: &clap::Error) -> ! {
    if error.use_stderr() && is_scan(std::env::args_os().skip(1)) {
        // Nobody is left to tell when stderr is closed.
        let _ = error.print();
        std::process::exit(USAGE.into());
    }
    error.exit()
}

/// Whether `scan` is the subcommand of these arguments.
fn is_scan(mut arguments: impl Iterator<Item = OsString>) -> bool {
    while let Some(argument) = arguments.next() {
        match argument.as_bytes() {
            b"--config" | b"--state" | b"--log-format" => drop(arguments.next()),
            option if option.starts_with(b"-") => {}
            subcommand => return subcommand == b"scan",
        }
    }
    false
}

pub(super) fn scan(config: Option<&Path>, args: &ScanArgs) -> ExitCode {
    match try_scan(config, args) {
        Ok(code) => ExitCode::from(code),
        Err((code, why)) => {
            say!("beffroi-agent: {why}");
            ExitCode::from(code)
        }
    }
}

fn try_scan(config: Option<&Path>, args: &ScanArgs) -> Result<u8, (u8, String)> {
    let usage = |error: &dyn std::fmt::Display| (USAGE, error.to_string());
    let config = Config::load(config).map_err(|error| usage(&error))?;
    let job = job(args).map_err(|error| usage(&error))?;
    let stop = Stop::on_signals().map_err(|error| usage(&error))?;
    let options = options(&config, args).map_err(|error| usage(&error))?;
    let launcher = Launcher { program: program().map_err(|error| usage(&error))?, arguments: vec!["scan-worker".into()] };
    let mut scanners = Vec::new();
    for _ in 0..threads(args) {
        let started = Scanner::start(options.clone(), launcher.clone());
        scanners.push(started.map_err(|error| (NO_RULES, error.to_string()))?);
    }
    if let Some(ready) = scanners.first().and_then(Scanner::ready) {
        ready.warnings.iter().for_each(|warning| say!("warning: {}", shown(warning.as_bytes())));
    }
    let mut printer = Printer::new(args, stop, job.cancel.clone());
    let report = run_many(&mut scanners, &job, &mut printer);
    let printed = printer.end();
    say!("{}", summary(&report));
    printed.map_err(|error| usage(&error))?;
    Ok(if report.counters.files_matched > 0 { MATCHED } else { CLEAN })
}

fn program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

fn threads(args: &ScanArgs) -> u16 {
    let processors = || std::thread::available_parallelism().map_or(1, |count| u16::try_from(count.get()).unwrap_or(64));
    args.threads.unwrap_or_else(processors).clamp(1, 64)
}

fn options(config: &Config, args: &ScanArgs) -> io::Result<ScanOptions> {
    let user = User::for_process(config.scan.user.as_deref(), "beffroi-scan", "scan.user")?;
    let identity = (user != User::current()).then_some(Identity { uid: user.uid, gid: user.gid });
    Ok(ScanOptions { rules: args.rules.clone(), ..config.scan.options(identity) })
}

fn job(args: &ScanArgs) -> io::Result<Job> {
    let mut roots: Vec<Vec<u8>> = args.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
    if let Some(list) = &args.scan_list {
        let wrong = |error: io::Error| io::Error::other(format!("cannot read the list {}: {error}", list.display()));
        let mut bytes = Vec::new();
        File::open(list).and_then(|file| file.take(MAX_LIST_BYTES + 1).read_to_end(&mut bytes)).map_err(wrong)?;
        if bytes.len() as u64 > MAX_LIST_BYTES {
            return Err(wrong(io::Error::other(format!("it has more than {MAX_LIST_BYTES} bytes; split it"))));
        }
        roots.extend(bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
    }
    let archives = ArchiveLimits { depth: args.archive_depth, ..ArchiveLimits::default() };
    let budgets = Budgets {
        files: u64::MAX,
        bytes: u64::MAX,
        time: LONGEST,
        file_time: Duration::from_secs(args.timeout),
        archives: (args.archive_depth > 0).then_some(archives),
    };
    Ok(Job {
        recursive: args.recursive,
        network: args.network,
        skip_larger: args.skip_larger,
        details: args.print_meta || args.print_strings,
        budgets,
        ..Job::new(roots)
    })
}

/// Bytes like `4096`, `10k`, `10M`, `1G`.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write for example 4096, 10k, 10M, 1G");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match text[digits..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

fn summary(report: &Report) -> String {
    let counters = &report.counters;
    let mut text = format!(
        "{} files and {} members of archives scanned ({} bytes), {} matched, {} unknown ({} timed out), {} skipped",
        counters.files_scanned,
        counters.entries_scanned,
        counters.bytes_scanned,
        counters.files_matched,
        counters.files_unknown,
        counters.files_timed_out,
        counters.files_skipped
    );
    let reasons: Vec<String> = report.skipped.iter().map(|(why, count)| format!("{count} {why}")).collect();
    if !reasons.is_empty() {
        text += &format!(" ({})", reasons.join(", "));
    }
    if report.ended != Ended::Finished {
        text += &format!("; not everything was looked at: {}", report.ended);
    }
    text
}

/// Prints what a job finds.
struct Printer {
    output: ScanOutput,
    print_meta: bool,
    print_strings: bool,
    out: Out,
    /// Why nothing more can be printed.
    failed: Option<io::Error>,
    stop: Stop,
    cancel: CancelFlag,
    unnamed: u64,
    named: u64,
}

impl Printer {
    fn new(args: &ScanArgs, stop: Stop, cancel: CancelFlag) -> Self {
        let ScanArgs { output, print_meta, print_strings, .. } = *args;
        let (out, failed) = (Out::new(), None);
        Self { output, print_meta, print_strings, out, failed, stop, cancel, unnamed: 0, named: 0 }
    }

    fn line(&mut self, line: &str) {
        // A match is worth a system call: whoever reads along sees it at once.
        let printed = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        self.failed = self.failed.take().or(printed.err());
        if self.failed.is_some() || self.out.is_closed() {
            self.cancel.set();
        }
    }

    fn aside(&mut self, kind: &str, path: &[u8], reason: &str) {
        if self.output == ScanOutput::Ndjson {
            let value = json!({"kind": kind, "path": shown(path), "reason": shown(reason.as_bytes())});
            return self.line(&value.to_string());
        }
        self.named += 1;
        if self.named > MAX_NAMED {
            self.unnamed += 1;
        } else {
            say!("{kind}: {}: {}", shown(path), shown(reason.as_bytes()));
        }
    }

    fn text(&mut self, path: &str, hit: &Hit) {
        let meta = if self.print_meta {
            let pairs: Vec<String> = hit.meta.iter().map(|(key, value)| format!("{}=\"{}\"", safe(key), safe(value))).collect();
            format!(" [{}]", pairs.join(","))
        } else {
            String::new()
        };
        self.line(&format!("{}{meta} {path}", safe(&hit.rule)));
        if self.print_strings {
            hit.strings.iter().for_each(|string| self.line(&safe(string)));
        }
    }

    fn json(&mut self, path: &str, hit: &Hit, found: &Found) {
        let mut value = json!({
            "kind": "match",
            "rule": safe(&hit.rule),
            "namespace": safe(&hit.namespace),
            "path": path,
            "bytes": found.bytes,
            "sha256": found.sha256,
        });
        if self.print_meta {
            value["meta"] = hit.meta.iter().map(|(key, text)| (safe(key), Value::from(safe(text)))).collect();
        }
        if self.print_strings {
            value["strings"] = hit.strings.iter().map(|string| safe(string)).collect();
        }
        self.line(&value.to_string());
    }

    fn end(self) -> io::Result<()> {
        if self.unnamed > 0 {
            say!("and {} more that are unknown or skipped", self.unnamed);
        }
        self.failed.map_or(Ok(()), Err)
    }
}

impl Observer for Printer {
    fn matched(&mut self, found: &Found) {
        let path = shown(&found.path);
        for hit in &found.hits {
            match self.output {
                ScanOutput::Text => self.text(&path, hit),
                ScanOutput::Ndjson => self.json(&path, hit, found),
            }
        }
    }

    fn unknown(&mut self, path: &[u8], reason: &str) {
        self.aside("unknown", path, reason);
    }

    fn skipped(&mut self, path: &[u8], why: Skip) {
        if why.is_special() {
            self.aside("skipped", path, why.name());
        }
    }

    fn progress(&mut self, _counters: &beffroi_scan::job::Counters) {
        if self.stop.is_set() {
            self.cancel.set();
        }
    }
}

/// Bytes for people and for JSON: what is no UTF-8 as `\xNN`, and nothing that a terminal acts on.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&safe(chunk.valid()));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// Text in which controls and characters that hide or reorder others stand as `\u{..}`.
fn safe(text: &str) -> String {
    let is_dangerous = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_steer_a_terminal_are_shown_as_what_they_are() {
        assert_eq!(shown(b"a\x1b[2J\nb"), "a\\u{1b}[2J\\u{a}b");
        assert_eq!(shown("\u{202e}gpj.exe".as_bytes()), "\\u{202e}gpj.exe");
        assert_eq!(shown(b"\xff\xfe caf\xc3\xa9"), "\\xff\\xfe caf\u{e9}");
    }

    #[test]
    fn sizes_are_read_and_nonsense_is_refused_with_an_example() {
        assert_eq!((parse_size("4096"), parse_size("10k"), parse_size("1G")), (Ok(4096), Ok(10 << 10), Ok(1 << 30)));
        for bad in ["", "M", "1T", "-1", "99999999999999G"] {
            assert!(parse_size(bad).unwrap_err().contains("10M"), "{bad}");
        }
    }

    #[test]
    fn the_subcommand_is_found_behind_global_options() {
        let is = |line: &str| is_scan(line.split(' ').map(OsString::from));
        assert!(is("scan -r x") && is("--config scan scan") && is("--log-format json scan"));
        assert!(!is("status") && !is("--config scan status") && !is("replay scan"));
    }
}
