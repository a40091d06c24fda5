//! Detection: Sigma rules compiled once, then `(event) -> matches`, pure. No clock, no async; files are read only by
//! [`loader`] and [`proof`], never while events are judged.
//!
//! ```
//! use beffroi_engine::{compile, Detector, RuleSet};
//! use beffroi_schema::{Category, Event, Field, Product};
//!
//! let text = "title: Shell of a web server\nid: 00000000-0000-4000-8000-000000000001\nlevel: high\n\
//!             logsource: {category: process_creation, product: linux}\n\
//!             detection:\n  parent: {ParentImage|endswith: /nginx}\n  condition: parent\n";
//! let (rules, problems) = RuleSet::from_texts([("web.yml", text)]);
//! assert!(problems.is_empty());
//! let detector = compile(&rules).expect("the set is small");
//! let mut event = Event::new(Category::ProcessCreation, Product::Linux, 0);
//! event.set(Field::PARENT_IMAGE, "/usr/sbin/nginx");
//! assert_eq!(detector.evaluate(&event)[0].rule.title, "Shell of a web server");
//! ```
//!
//! A rule that cannot be used is a [`RuleProblem`] with file, line and reason, and never keeps the others from loading.
//! A rule that panics while it judges an event is counted, and the other rules still judge it.
//!
//! Parsing is `rsigma-parser`; its syntax tree appears in no public type but [`eval::Builder`]. Evaluation is our own, in
//! [`eval`], and held to the verdicts of other engines in `tests/verdicts.rs`.

#![forbid(unsafe_code)]

mod assemble;
pub mod attack;
mod batch;
pub mod correlate;
mod cost;
mod detector;
pub mod eval;
mod filter;
mod inert;
pub mod limits;
mod link;
pub mod loader;
mod locate;
mod logsource;
mod parse;
mod problem;
pub mod proof;
mod records;
mod rule;
mod view;
mod ways;
mod why;
pub mod windows;

pub use cost::{Clock, RuleCost, SAMPLED_EVERY};
pub use detector::{CompileError, Detector, RuleMatch, SigmaDetector, compile};
pub use inert::InertRule;
pub use logsource::RuleLogsource;
pub use problem::RuleProblem;
pub use records::{FlatText, Glance, RecordDetector, RecordJudge, RecordMatch, RecordView};
pub use rule::{Correlation, Rule, RuleSet};
pub use view::field_of as field_of_audit;
pub use why::Why;
