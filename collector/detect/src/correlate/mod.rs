//! Correlations over `detections.v1`: every partition is a lane with a correlator of its own, whose state stands beside its
//! detections and is named by the commit that it covers.
//!
//! On failure: what was not committed is read again by whoever has the partition then, from the state of the last commit;
//! the matches that are made again have the same ids. A state that cannot be read means that windows begin anew, which is
//! said.

mod alert;
mod detection;
mod lane;
mod service;
mod state;

pub use detection::Detection;
pub use lane::Lane;
pub(crate) use service::{Handle, start};
