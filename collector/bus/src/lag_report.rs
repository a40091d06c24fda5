//! Tells the metrics how far each group of this process is behind: `beffroi_bus_lag_records{topic, group}`.
//!
//! Owns one task for each consumer, which ends with it. While the bus cannot be asked the gauge is not a number, so that a
//! graph shows a hole and not yesterday's lag. Processes that share a group report the same figure: take the largest.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::topic::Topic;
use crate::transport::Transport;

/// Between two looks. Each costs a broker one question for the group and one for each partition.
const EVERY: Duration = Duration::from_secs(10);

/// The task of one consumer; dropping it ends the task.
pub(crate) struct LagReport(JoinHandle<()>);

impl LagReport {
    /// Starts reporting. The transport is not kept alive by it.
    pub(crate) fn start(transport: &Arc<dyn Transport>, topic: Topic, group: &str) -> Self {
        Self(tokio::spawn(report(Arc::downgrade(transport), topic, group.to_owned())))
    }
}

impl Drop for LagReport {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn report(transport: Weak<dyn Transport>, topic: Topic, group: String) {
    let gauge = metrics::gauge!("beffroi_bus_lag_records", "topic" => topic.name(), "group" => group.clone());
    loop {
        let Some(transport) = transport.upgrade() else { return };
        match transport.lag(topic, &group).await {
            Ok(partitions) => gauge.set(partitions.iter().map(|partition| partition.records()).sum::<i64>() as f64),
            Err(error) => {
                tracing::debug!(%error, %topic, group, "the lag cannot be asked now");
                gauge.set(f64::NAN);
            }
        }
        drop(transport);
        tokio::time::sleep(EVERY).await;
    }
}
