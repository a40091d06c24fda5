//! YARA with limits: the only crate that knows yara-x.
//!
//! A [`RulePack`] is compiled once from rule files (bad ones are reported, the others load), shipped as bytes, and used
//! by a [`Scanner`] that reads from memory only. A scan that was cut short is never called clean: its outcome is
//! [`Outcome::Unknown`] with the reason.
//!
//! Files are read by `pack` (rule files) and [`proof`]; content to scan is handed over as bytes, never mapped, because
//! a mapped file that shrinks kills its reader.

#![forbid(unsafe_code)]

pub mod limits;
mod pack;
pub mod proof;
mod scan;

pub use pack::{PackError, PackProblem, PackRule, RulePack};
pub use scan::{Outcome, ScanLimits, ScanReport, Scanner, StringMatch, Unknown, YaraMatch};
