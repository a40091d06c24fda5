//! Options of `detect`.

use std::path::PathBuf;

use clap::Args;

/// What of `detect` does not fit beside an option, for `--help`.
pub const AFTER_HELP: &str = "Formats: evtx (binary event logs of Windows), evtx-json (their JSON trees), flat-json (flat objects of \
    forwarders and other products), events (NDJSON of `beffroi events search`, stored batches), auditd, lines. \
    `auto` tells them by each file's first bytes. Files may be packed with zstd; folders are walked for names \
    that end in evtx, json, jsonl, ndjson, log, txt or batch.\n\n\
    Exit codes: 0 done, 1 a rule matched (with --fail-on-detection), 2 no rule loaded (with --strict: any was \
    refused), 3 an input could not be read or the command cannot be used, 130 interrupted.";

/// How files of events are read.
#[derive(Debug, Args)]
pub struct Reading {
    /// What the files hold.
    #[arg(long, default_value = "auto", value_parser = ["auto", "evtx", "evtx-json", "flat-json", "events", "auditd", "lines"])]
    pub format: String,
    /// Logsource of all records, whatever they say: product=P,category=C,service=S (any of them).
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub logsource: Option<String>,
}

/// Which files are judged, and by which rules.
#[derive(Debug, Args)]
pub struct Judging {
    /// Rule file or folder; repeat for several.
    #[arg(long = "rules", short = 'r', value_name = "PATH", required = true)]
    pub rules: Vec<PathBuf>,
    /// How the files are read.
    #[command(flatten)]
    pub reading: Reading,
    /// How many threads judge (default: one for each processor).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// Files and folders; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// What of `rules cost` does not fit beside an option, for `--help`.
pub const AFTER_COST: &str = "Every record is measured; nothing is sampled, so this takes longer than `detect`. A rule is looked at in records \
    that have its rarest part. TIME is what its tests then took, put to the record once more and by themselves: \
    neither reading nor the search that all rules share is in it. It is this machine's; BYTES, what the tests were \
    put to (under a regular expression ten times), is the same everywhere and what the collector tells as \
    `beffroi_detect_rule_bytes_total`, there of one event in 1,021. NS/EVENT is the time spread over all records. \
    Formats and exit codes are those of `detect`.";

/// Judge files of events by Sigma rules, without a collector.
#[derive(Debug, Args)]
pub struct Detect {
    /// What is judged by what.
    #[command(flatten)]
    pub judging: Judging,
    /// Only rules of this level or graver.
    #[arg(long, value_parser = ["informational", "low", "medium", "high", "critical"])]
    pub min_level: Option<String>,
    /// Only rules of this status; repeat for several.
    #[arg(long, value_parser = ["stable", "test", "experimental", "deprecated", "unsupported"])]
    pub status: Vec<String>,
    /// Not this rule; repeat for several.
    #[arg(long, value_name = "ID")]
    pub exclude_rule: Vec<String>,
    /// Only events from this time on: back from now (24h, 7d), a date, or RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only events before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Put the event itself, as the rules saw it, into each match.
    #[arg(long)]
    pub include_event: bool,
    /// Exit with 1 when a rule matched.
    #[arg(long)]
    pub fail_on_detection: bool,
    /// Exit with 2 when any rule does not load.
    #[arg(long)]
    pub strict: bool,
}
