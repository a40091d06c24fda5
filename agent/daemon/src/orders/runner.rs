//! The runner: one thread, one order at a time, the oldest first, at the lowest priority.
//!
//! Owns the scan workers of orders and the translation of an order into a job: what the operator asks for, within what
//! this host allows. A worker that cannot be had ends the order as `failed` with the reason, never as `done`;
//! nothing is retried for ever.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use beffroi_scan::job::{self, Budgets, CancelFlag, Ended, Job};
use beffroi_scan::{ArchiveLimits, Launcher, RuleText, ScanError, ScanOptions, Scanner};
use beffroi_schema::OrderId;

use super::answers::Action;
use super::book::Pending;
use super::desk::{Next, OrderDesk};
use super::priority::lower_this_thread;
use super::watcher::Watcher;
use crate::clock::now_us;
use crate::config::OrdersConfig;

/// Carries out what the desk accepts.
pub struct Runner {
    desk: Arc<OrderDesk>,
    config: OrdersConfig,
    /// Memory and user of the workers.
    options: ScanOptions,
    launcher: Launcher,
}

impl Runner {
    /// A runner whose workers are started by `launcher` with the memory and user of `options`.
    pub fn new(desk: Arc<OrderDesk>, config: OrdersConfig, options: ScanOptions, launcher: Launcher) -> Self {
        Self { desk, config, options, launcher }
    }

    /// Starts the thread. It ends after [`OrderDesk::stop`], within about a second.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(self) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("orders".into()).spawn(move || self.run())
    }

    fn run(self) {
        lower_this_thread();
        self.desk.answer_unanswered();
        loop {
            match self.desk.next() {
                Next::Stop => return,
                Next::End(order, action, reason) => self.desk.finish(order, action, &reason, &job::Counters::default()),
                Next::Run(order, texts, cancel) => self.carry_out(&order, texts, cancel),
            }
        }
    }

    fn carry_out(&self, order: &Pending, texts: Vec<RuleText>, cancel: CancelFlag) {
        tracing::info!(order = %order.id, operator = order.operator, "a scan begins");
        let mut watcher = Watcher::new(&self.desk, order.id);
        let options =
            ScanOptions { rules: Vec::new(), texts, max_file_bytes: self.config.max_file_bytes, ..self.options.clone() };
        let ended = match Scanner::start(options, self.launcher.clone()) {
            Ok(mut scanner) => self.scan(&mut scanner, order, cancel, &mut watcher),
            Err(error) => self.without_worker(&order.id, &error),
        };
        if let Some((action, reason)) = ended {
            self.desk.finish(order.id, action, &reason, &watcher.counters);
        }
        self.desk.end_running();
    }

    /// How an order ended for which no worker could be had.
    fn without_worker(&self, order: &OrderId, error: &ScanError) -> Option<(Action, String)> {
        match self.desk.cancelled(order) {
            Some(why) => Some((Action::Cancelled, why)),
            None if self.desk.is_stopping() => None,
            None => Some((Action::Failed, format!("nothing was scanned: {error}"))),
        }
    }

    /// How the order ended; `None` when the process is stopping and it goes on in the next one.
    fn scan(
        &self,
        scanner: &mut Scanner,
        order: &Pending,
        cancel: CancelFlag,
        watcher: &mut Watcher<'_>,
    ) -> Option<(Action, String)> {
        self.desk.note_worker(scanner.pid());
        let warnings = scanner.ready().map(|ready| ready.warnings.clone()).unwrap_or_default();
        let report = job::run(scanner, &job_of(order, &self.config, cancel, now_us()), watcher);
        watcher.counters = report.counters;
        if let Some(why) = self.desk.cancelled(&order.id) {
            return Some((Action::Cancelled, why));
        }
        match report.ended {
            Ended::Cancelled if self.desk.is_stopping() => None,
            Ended::Budget(_) if now_us() >= order.expires => Some((Action::Expired, "it expired while it ran".into())),
            ended => Some((Action::Done, reason_of(&ended, &warnings))),
        }
    }
}

/// What is missing in a finished scan, in words; empty when nothing is.
fn reason_of(ended: &Ended, warnings: &[String]) -> String {
    let budget = ended.to_string();
    let rules = warnings.first().map(|first| match warnings.len() {
        1 => first.clone(),
        more => format!("{first} (and {} more warnings)", more - 1),
    });
    [Some(budget).filter(|text| !text.is_empty()), rules].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The job of an order: what it asks for, within what this host allows and before it expires.
fn job_of(order: &Pending, config: &OrdersConfig, cancel: CancelFlag, now_us: i64) -> Job {
    let asked = &order.scan;
    let within = |asked: u64, own: u64| if asked == 0 { own } else { asked.min(own) };
    let left = Duration::from_micros(u64::try_from(order.expires.saturating_sub(now_us)).unwrap_or(0));
    let depth = within(asked.archive_depth.into(), beffroi_schema::limits::MAX_ARCHIVE_DEPTH.into());
    Job {
        recursive: asked.recursive,
        skip_larger: (asked.max_file_bytes > 0).then_some(asked.max_file_bytes),
        budgets: Budgets {
            bytes: within(asked.max_total_bytes, config.max_total_bytes),
            time: Duration::from_secs(within(asked.max_seconds.into(), config.max_seconds)).min(left),
            archives: Some(ArchiveLimits { depth: u32::try_from(depth).unwrap_or(1), ..ArchiveLimits::default() }),
            ..Budgets::default()
        },
        cancel,
        ..Job::new(asked.roots())
    }
}

#[cfg(test)]
mod tests {
    use beffroi_schema::down::ScanOrder;

    use super::super::book::ScanTask;
    use super::*;

    fn order(scan: ScanOrder) -> Pending {
        Pending {
            id: OrderId([1; 16]),
            operator: "Alice".into(),
            keys: vec![],
            received: 0,
            expires: 60_000_000,
            answered: true,
            scan: ScanTask::of(&scan),
        }
    }

    #[test]
    fn an_order_gets_what_it_asks_for_within_what_the_host_allows_and_before_it_expires() {
        let config = OrdersConfig { max_seconds: 100, max_total_bytes: 1_000, ..OrdersConfig::default() };
        let job = |scan| job_of(&order(scan), &config, CancelFlag::default(), 0);
        let own = job(ScanOrder { paths: vec![b"/srv".to_vec()], ..Default::default() });
        assert_eq!((own.budgets.bytes, own.budgets.time, own.skip_larger), (1_000, Duration::from_secs(60), None));
        assert_eq!((own.roots, own.recursive), (vec![b"/srv".to_vec()], false));
        assert_eq!(own.budgets.archives.unwrap().depth, 4);
        let less = job(ScanOrder {
            max_total_bytes: 10,
            max_seconds: 5,
            max_file_bytes: 7,
            archive_depth: 1,
            recursive: true,
            ..Default::default()
        });
        assert_eq!((less.budgets.bytes, less.budgets.time, less.skip_larger), (10, Duration::from_secs(5), Some(7)));
        assert!(less.recursive && less.budgets.archives.unwrap().depth == 1);
        let more = job(ScanOrder { max_total_bytes: u64::MAX, max_seconds: u32::MAX, ..Default::default() });
        assert_eq!((more.budgets.bytes, more.budgets.time), (1_000, Duration::from_secs(60)));
    }

    #[test]
    fn a_finished_scan_says_what_is_missing() {
        assert_eq!(reason_of(&Ended::Finished, &[]), "");
        assert_eq!(reason_of(&Ended::Budget(job::Spent::Bytes), &[]), "budget of bytes reached");
        let warnings = ["a: line 3".to_owned(), "b".to_owned()];
        assert_eq!(
            reason_of(&Ended::Budget(job::Spent::Time), &warnings),
            "budget of time reached; a: line 3 (and 1 more warnings)"
        );
    }
}
