//! The pages. Each asks the API's operations as the visitor, and makes a template's values of the answers.

pub(crate) mod alert;
pub(crate) mod alerts;
pub(crate) mod hosts;
pub(crate) mod scans;
pub(crate) mod status;
mod tree;
mod values;
