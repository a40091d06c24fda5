//! Verbs and options of `bus`. What they name is checked by clap; what the files hold, by the verbs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Verbs of `bus`.
#[derive(Debug, Subcommand)]
pub enum Bus {
    /// Every topic and how much it holds.
    Topics {
        /// Which bus.
        #[command(flatten)]
        collector: CollectorConfig,
    },
    /// How far each reader of the collector is behind, for every partition that was ever written to.
    Lag {
        /// Which bus.
        #[command(flatten)]
        collector: CollectorConfig,
    },
    /// Records of a topic as NDJSON, until Ctrl-C: batches checked and decoded, JSON as it is.
    Tail {
        /// Which topic.
        #[arg(value_enum)]
        topic: BusTopic,
        /// Which bus.
        #[command(flatten)]
        collector: CollectorConfig,
        /// Where to begin.
        #[arg(long, value_enum, default_value = "now")]
        from: BusStart,
        /// End with what was there at the start.
        #[arg(long)]
        to_end: bool,
        /// How many lines at most.
        #[arg(long)]
        limit: Option<u64>,
    },
}

/// Which bus.
#[derive(Debug, Args)]
pub struct CollectorConfig {
    /// Configuration of the collector; its section `[bus]` names the brokers.
    #[arg(long, value_name = "FILE")]
    pub config_collector: PathBuf,
}

/// A topic, without the configured prefix.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum BusTopic {
    /// What agents sent.
    #[value(alias = "events.v1")]
    Events,
    /// Matches.
    #[value(alias = "alerts.v1")]
    Alerts,
    /// What correlations work on.
    #[value(alias = "detections.v1")]
    Detections,
    /// What could not be processed.
    #[value(alias = "dlq.v1")]
    Dlq,
    /// Signed orders.
    #[value(alias = "orders.v1")]
    Orders,
    /// State that needs one winner.
    #[value(alias = "control.v1")]
    Control,
    /// Who did what.
    #[value(alias = "audit.v1")]
    Audit,
}

/// Where a tail begins.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum BusStart {
    /// With the oldest record there is.
    Beginning,
    /// With the next one.
    Now,
}
