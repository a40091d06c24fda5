//! Verbs and options. Options that repeat take one value each.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Form;

pub use access::{Audit, Token};
pub use bus::{Bus, BusStart, BusTopic};
pub use detect::{Detect, Judging, Reading};
pub use key::{Algorithm, Key, KeyOperator, KeyRoot, KeyWork, NewPassphrase, Passphrase};
pub use rules::Rules;
pub use scan::{Papers, Scan, ScanStart, Signer};

mod access;
mod bus;
mod detect;
mod key;
mod rules;
mod scan;

/// What every verb has in common, for `--help`.
const AFTER_HELP: &str = "Data goes to stdout, talk to stderr. Ids may be cut to 6 digits or more.\n\
    Exit codes: 0 done, 1 found (--fail-on-match, --fail-on-detection), 2 rules are broken, 3 usage or \
    configuration, 4 server or network, 5 not every host was scanned, 130 interrupted.";
/// Head under which every verb shows the options that all have.
const EVERYWHERE: &str = "Everywhere";
/// Rows that the API gives at most.
const MAX_ROWS: std::ops::RangeInclusive<u64> = 1..=10_000;

/// The analyst's terminal: query and triage what the agents of Beffroi report.
#[derive(Debug, Parser)]
#[command(name = "beffroi", version, propagate_version = true, color = clap::ColorChoice::Never, after_help = AFTER_HELP)]
pub struct Arguments {
    /// Configuration file (default: ~/.config/beffroi/config.toml, or BEFFROI_CONFIG).
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    pub config: Option<PathBuf>,
    /// Base URL of the API.
    #[arg(long, global = true, value_name = "URL", help_heading = EVERYWHERE)]
    pub api: Option<String>,
    /// File with the API token.
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    pub token_file: Option<PathBuf>,
    /// Form of the answer (default: a table on a terminal, NDJSON in a pipe).
    #[arg(long, short = 'o', global = true, value_enum, help_heading = EVERYWHERE)]
    pub output: Option<Form>,
    /// Time zone of what is shown, for example Europe/Paris (default: UTC).
    #[arg(long, global = true, value_name = "ZONE", help_heading = EVERYWHERE)]
    pub tz: Option<String>,
    /// Why this is asked; it stands in the audit beside the call.
    #[arg(long, global = true, value_name = "TEXT", help_heading = EVERYWHERE)]
    pub reason: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// What the rules found.
    #[command(subcommand)]
    Alerts(Alerts),
    /// What hosts reported.
    #[command(subcommand)]
    Events(Events),
    /// Enrolled hosts.
    #[command(subcommand)]
    Hosts(Hosts),
    /// Enrolment tokens.
    #[command(subcommand)]
    Enroll(Enroll),
    /// Times and numbers that are missing.
    #[command(subcommand)]
    Gaps(Gaps),
    /// Signed scans of hosts: files against YARA rules, on the hosts themselves.
    #[command(subcommand)]
    Scan(Scan),
    /// Keys that sign orders: the root, operators, their certificates.
    #[command(subcommand)]
    Key(Key),
    /// Personal tokens for the API.
    #[command(subcommand)]
    Token(Token),
    /// Who asked for what.
    #[command(subcommand)]
    Audit(Audit),
    /// Who the API takes you for, and what you may do.
    Whoami,
    /// Topics of Kafka, decoded. For the embedded bus, whose process owns it, see `status`.
    #[command(subcommand)]
    Bus(Bus),
    /// Detection rules on this disk.
    #[command(subcommand)]
    Rules(Rules),
    /// Judge files of events by Sigma rules, without a collector.
    #[command(visible_alias = "eval", after_help = detect::AFTER_HELP)]
    Detect(Box<Detect>),
    /// How the collector is: roles, lag, disk.
    Status,
    /// Completions for a shell, on stdout.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Manual pages, into a folder.
    Man {
        /// Where to.
        folder: PathBuf,
    },
}

/// Which time.
#[derive(Debug, Args)]
pub struct Span {
    /// From when: back from now (24h, 7d), a date, or RFC 3339.
    #[arg(long, default_value = "24h", value_name = "TIME")]
    pub since: String,
    /// Until when.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// Verbs of `alerts`.
#[derive(Debug, Subcommand)]
pub enum Alerts {
    /// Newest first.
    List {
        /// Which time.
        #[command(flatten)]
        span: Span,
        /// Which alerts.
        #[command(flatten)]
        filter: AlertFilter,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(MAX_ROWS))]
        limit: u64,
    },
    /// One alert whole: what happened, the process chain, the rule, gaps.
    Show {
        /// Id or a prefix of it.
        id: String,
    },
    /// As they arrive, until Ctrl-C; an alert comes again when its count has grown.
    Tail {
        /// Which alerts.
        #[command(flatten)]
        filter: AlertFilter,
    },
}

/// Which alerts.
#[derive(Debug, Args)]
pub struct AlertFilter {
    /// Only this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only this host: name, agent id or a prefix of it.
    #[arg(long)]
    pub host: Option<String>,
    /// This level or graver.
    #[arg(long, value_parser = ["informational", "low", "medium", "high", "critical"])]
    pub level: Option<String>,
    /// Only this rule: its id.
    #[arg(long)]
    pub rule: Option<String>,
}

/// Verbs of `events`.
#[derive(Debug, Subcommand)]
pub enum Events {
    /// Events that hold every filter.
    #[command(after_help = crate::filter::HELP)]
    Search {
        /// FIELD=VALUE or FIELD~TEXT; see below.
        filters: Vec<String>,
        /// Which time (the gateway's clock).
        #[command(flatten)]
        span: Span,
        /// Only this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// Only this host.
        #[arg(long)]
        host: Option<String>,
        /// Count by the values of this field.
        #[arg(long, value_name = "FIELD")]
        by: Option<String>,
        /// Only count.
        #[arg(long)]
        count: bool,
        /// How many at most.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(MAX_ROWS))]
        limit: u64,
    },
    /// A process with its ancestors and descendants.
    Tree {
        /// ProcessGuid.
        guid: String,
    },
    /// What the host of an alert did around it.
    Around {
        /// Id of the alert or a prefix of it.
        alert: String,
        /// How far before and after.
        #[arg(long, default_value = "10m")]
        window: String,
        /// How many at most.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(MAX_ROWS))]
        limit: u64,
    },
}

/// Verbs of `hosts`.
#[derive(Debug, Subcommand)]
pub enum Hosts {
    /// Every enrolled host.
    List {
        /// Only this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(MAX_ROWS))]
        limit: u64,
    },
    /// One host: its state, probes and gaps.
    Show {
        /// Host name, agent id or a prefix of it.
        id: String,
    },
    /// Cut a host off: its sessions end within seconds, it cannot renew. Needs --reason.
    Revoke {
        /// Agent id or a prefix of it.
        id: String,
    },
}

/// Verbs of `enroll`.
#[derive(Debug, Subcommand)]
pub enum Enroll {
    /// Make a token that hosts enrol with; its text goes to stdout or into a file, and nowhere else.
    Token {
        /// Tenant of the hosts.
        #[arg(long)]
        tenant: String,
        /// How many hosts may use it.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// For how long.
        #[arg(long, default_value = "24h")]
        expires: String,
        /// Network that may use it; repeat for several.
        #[arg(long, value_name = "CIDR")]
        cidr: Vec<String>,
        /// Label that its hosts get, as key=value; repeat for several.
        #[arg(long, value_name = "KEY=VALUE")]
        label: Vec<String>,
        /// Base URL of the gateway (default: from the configuration).
        #[arg(long, value_name = "URL")]
        gateway: Option<String>,
        /// Certificate (PEM) of the server CA (default: from the configuration).
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// Certificate of the root whose orders these hosts take (default: root_cert of the configuration). Without one
        /// they take no orders.
        #[arg(long, value_name = "FILE")]
        root_cert: Option<PathBuf>,
        /// Write the token into this file (mode 0600) instead of stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Every token, without its secret.
    List,
    /// A token can no longer be used.
    Revoke {
        /// Public name of the token.
        token_id: String,
    },
}

/// Verbs of `gaps`.
#[derive(Debug, Subcommand)]
pub enum Gaps {
    /// Declared gaps and undeclared holes, newest first.
    List {
        /// Which time.
        #[command(flatten)]
        span: Span,
        /// Only this host.
        #[arg(long)]
        host: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(MAX_ROWS))]
        limit: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_that_repeat_take_one_value_each() {
        let parsed = Arguments::try_parse_from([
            "beffroi",
            "enroll",
            "token",
            "--tenant",
            "t",
            "--cidr",
            "10.0.0.0/8",
            "--cidr",
            "192.0.2.0/24",
        ]);
        match parsed.unwrap().verb {
            Verb::Enroll(Enroll::Token { cidr, .. }) => assert_eq!(cidr, ["10.0.0.0/8", "192.0.2.0/24"]),
            other => panic!("{other:?}"),
        }
        assert!(
            Arguments::try_parse_from(["beffroi", "enroll", "token", "--tenant", "t", "--cidr", "10.0.0.0/8", "192.0.2.0/24"])
                .is_err()
        );
    }

    #[test]
    fn filters_and_options_of_a_search_mix_as_people_write_them() {
        let line = "beffroi events search Image=*/java CommandLine~base64 --since 7d --tenant T --host H --by Image --limit 200 User=root";
        match Arguments::try_parse_from(line.split(' ')).unwrap().verb {
            Verb::Events(Events::Search { filters, limit, .. }) => {
                assert_eq!(filters, ["Image=*/java", "CommandLine~base64", "User=root"]);
                assert_eq!(limit, 200);
            }
            other => panic!("{other:?}"),
        }
        for limit in ["0", "10001", "-1", "x"] {
            assert!(Arguments::try_parse_from(["beffroi", "alerts", "list", "--limit", limit]).is_err(), "{limit}");
        }
    }
}
