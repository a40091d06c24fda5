//! The detector: reads `events.v1`, verifies and decodes every batch, evaluates the rules, publishes matches to
//! `alerts.v1`, and only then commits. What is broken goes to `dlq.v1` whole, and the partition goes on.
//!
//! Correlations work behind `detections.v1`: an event that one refers to goes there by tenant, so that one detector sees
//! all of a tenant's, and several detectors say what one would say.
//!
//! Ids are deterministic, so that evaluating a batch twice (a restart, a rebalance, a resend) publishes the same records.
//! On failure: without the bus nothing is committed and work resumes where it stood; a rule set that does not load leaves
//! the old one in force.

#![forbid(unsafe_code)]

mod back_off;
mod chains;
mod correlate;
mod evidence;
mod judge;
mod options;
mod reload;
mod service;

pub use chains::{Chains, Link};
pub use correlate::{Detection, Lane};
pub use evidence::{Scene, chain, what};
pub use judge::{Judged, Opened, Refusal, RulesInForce, dead_letter, evaluate, open};
pub use options::DetectOptions;
pub use reload::{RulesError, load_rules, watch};
pub use service::{DetectError, DetectHandle, start};
