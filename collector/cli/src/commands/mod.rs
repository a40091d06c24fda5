//! One module for each noun of the command line, and what their pages have in common.

pub mod access;
pub mod alert_page;
pub mod alerts;
pub mod bus;
pub mod detect;
pub mod enroll;
pub mod events;
pub mod hosts;
pub mod key;
pub mod key_show;
pub mod local;
pub mod page;
pub mod records;
pub mod rules;
pub mod scan;
pub mod status;
pub mod tree;
