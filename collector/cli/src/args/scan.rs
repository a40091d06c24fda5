//! Verbs and options of `scan`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::MAX_ROWS;
use super::key::Passphrase;

/// What `scan start --help` says of hosts and keys.
const START_HELP: &str = "\
--hosts SELECTOR, one or more, separated by commas:
    web-01          the host of this name
    web-*           every host whose name fits (* is any text)
    1f2e3d          the host whose agent id begins with this (6 digits or more)
    site=lyon       every host with this label
    tenant:*        every host of the tenant, also those that enrol before the scan expires
The first four are resolved now, and the order names the hosts; revoked hosts are left out.

The rules are compiled here first: a file that does not load stops everything. The order is
signed with your key and names the rules by their SHA-256. No server can change it, and each
host checks it against the root that it pinned when it enrolled.

Exit codes with --wait: 0 every host answered and was scanned, 5 some were not, 1 something
was found (--fail-on-match).";

/// Scans of one list: the API adds up what every host of each answered, and gives no more.
const MAX_SCANS: std::ops::RangeInclusive<u64> = 1..=200;

/// Verbs of `scan`.
#[derive(Debug, Subcommand)]
pub enum Scan {
    /// Order hosts to look through files with YARA rules.
    #[command(after_help = START_HELP)]
    Start(Box<ScanStart>),
    /// Scans, newest first.
    List {
        /// Only this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// How many, 200 at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(MAX_SCANS))]
        limit: u64,
    },
    /// One scan: what was asked, and how far each host is.
    Status {
        /// Id or a prefix of it.
        id: String,
    },
    /// What a scan found, and what it could not look into.
    Results {
        /// Id or a prefix of it.
        id: String,
        /// How many matches and unknown files at most.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(MAX_ROWS))]
        limit: u64,
    },
    /// End a scan on every host that was asked; hosts that have not begun never will.
    Cancel {
        /// Id or a prefix of it.
        id: String,
        /// Who signs.
        #[command(flatten)]
        signer: Signer,
    },
}

/// What `scan start` is told.
#[derive(Debug, Args)]
pub struct ScanStart {
    /// YARA rules: a file, or a folder of .yar and .yara files; repeat for several.
    #[arg(long, short = 'r', required = true, value_name = "RULES")]
    pub rules: Vec<PathBuf>,
    /// Absolute path to look through, with everything below it; repeat for several.
    #[arg(long, required = true, value_name = "PATH")]
    pub path: Vec<PathBuf>,
    /// Which hosts; see below.
    #[arg(long, required = true, value_name = "SELECTOR", value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// Tenant of the hosts (default: the only one that they have).
    #[arg(long)]
    pub tenant: Option<String>,
    /// What it is for, in the order.
    #[command(flatten)]
    pub papers: Papers,
    /// How long hosts may take it up, 7 days at most (default: 15m for named hosts, 7d for tenant:*).
    #[arg(long, value_name = "DURATION")]
    pub expires: Option<String>,
    /// Skip larger files, for example 64M (default: the host's own limit).
    #[arg(long, value_name = "SIZE")]
    pub max_file_size: Option<String>,
    /// Longest scan on one host (default: the host's own limit).
    #[arg(long, value_name = "DURATION")]
    pub max_time: Option<String>,
    /// Stay until every host that can be reached has answered, and show how far each is.
    #[arg(long)]
    pub wait: bool,
    /// Longest wait (default: until the scan expires).
    #[arg(long, value_name = "DURATION", requires = "wait")]
    pub timeout: Option<String>,
    /// Exit with 1 when something was found.
    #[arg(long, requires = "wait")]
    pub fail_on_match: bool,
    /// Only say what would be asked: nothing is signed or sent.
    #[arg(long, conflicts_with_all = ["wait"])]
    pub dry_run: bool,
    /// Who signs.
    #[command(flatten)]
    pub signer: Signer,
}

/// What a scan is for. It stands in the signed order, in the audit, and on each host.
#[derive(Debug, Clone, Default, Args)]
pub struct Papers {
    /// For people: what this scan looks for.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Ticket of the case.
    #[arg(long, value_name = "TEXT")]
    pub ticket: Option<String>,
    /// Purpose, for the record of processing.
    #[arg(long, value_name = "TEXT")]
    pub purpose: Option<String>,
    /// Legal basis, for the record of processing.
    #[arg(long, value_name = "TEXT")]
    pub legal_basis: Option<String>,
    /// Traffic light protocol of what is looked for.
    #[arg(long, value_parser = ["clear", "green", "amber", "amber+strict", "red"])]
    pub tlp: Option<String>,
    /// Permissible actions protocol of what is looked for.
    #[arg(long, value_parser = ["clear", "green", "amber", "red"])]
    pub pap: Option<String>,
}

/// Who signs an order.
#[derive(Debug, Clone, Default, Args)]
pub struct Signer {
    /// Your private key (default: operator_key of the configuration).
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Your certificate under the root (default: operator_cert of the configuration).
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// How to open the key.
    #[command(flatten)]
    pub passphrase: Passphrase,
}
