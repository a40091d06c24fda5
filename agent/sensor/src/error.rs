//! Why a sensor cannot work.

/// An error of the sensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SensorError {
    /// An option is outside of its range.
    #[error("sensor option {option} is {got}: {why}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        got: String,
        /// What it must be.
        why: &'static str,
    },
    /// The kernel probes cannot be used at all.
    #[error("kernel probes cannot be used: {0}")]
    Kernel(String),
    /// A file of the system cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Waiting for records failed.
    #[error("waiting for kernel records failed: {0}")]
    Wait(#[from] nix::Error),
}
