//! Reads the dashboards of `dashboards/grafana` as Grafana and its data sources would, so that tests can run every question in
//! them: [`board`] finds panels and variables, [`sql`] fills in variables and macros, [`promql`] says which metrics and labels
//! an expression needs.
//!
//! Owns nothing. A file that is not what it should be makes the test that reads it fail, with the file's name.

#![forbid(unsafe_code)]

pub mod board;
pub mod promql;
pub mod sql;
