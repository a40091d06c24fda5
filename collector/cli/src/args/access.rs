//! Verbs and options of `token` and `audit`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{MAX_ROWS, Span};

/// Verbs of `token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a personal token; its text goes to stdout or into a file once, and is kept nowhere.
    Create {
        /// Whose it is; this name stands in the audit.
        #[arg(long)]
        name: String,
        /// What it may do: analyst reads, csirt also orders scans, admin also gives out tokens and reads the audit.
        #[arg(long, value_parser = ["analyst", "csirt", "admin"])]
        scope: String,
        /// Tenant that it may see, or '*' for every one; repeat for several.
        #[arg(long, required = true)]
        tenant: Vec<String>,
        /// For how long.
        #[arg(long, default_value = "30d", value_name = "DURATION")]
        expires: String,
        /// Write the token into this new file (mode 0600) instead of stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Every token, without its secret.
    List,
    /// A token can no longer be used.
    Revoke {
        /// Public name of the token, as `token list` shows it.
        token_id: String,
    },
}

/// Verbs of `audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Calls of the API, newest first: who, from where, what, how many rows, and why.
    List {
        /// Which time.
        #[command(flatten)]
        span: Span,
        /// Only calls of this name.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(MAX_ROWS))]
        limit: u64,
    },
}
