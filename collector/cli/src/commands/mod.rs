//! One module for each noun of the command line.

pub mod alert_page;
pub mod alerts;
pub mod enroll;
pub mod events;
pub mod hosts;
pub mod local;
pub mod rules;
pub mod status;
