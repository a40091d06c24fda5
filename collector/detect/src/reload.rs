//! Loading rules, and loading them again when their files change. The new set is compiled beside the old one and swapped
//! in whole; a set in which nothing compiles leaves the old one in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use beffroi_engine::correlate::{CorrelateOptions, Correlator};
use beffroi_engine::{Detector, RuleSet, compile};
use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::judge::RulesInForce;

/// Editors write a file in several steps, a checkout writes thousands: wait until nothing changed for this long.
const SETTLE: Duration = Duration::from_millis(500);

/// Rules cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// Nothing to load.
    #[error("no rule loads from {paths:?}: {first}; check them with `beffroi rules check PATH`")]
    None {
        /// Where they were looked for.
        paths: Vec<PathBuf>,
        /// The first problem, or that there was no rule file.
        first: String,
    },
    /// The engine refuses the set.
    #[error("the rules do not compile: {0}")]
    Compile(String),
}

/// Loads and compiles every rule below `paths`. Rules with problems are logged with file, line and reason.
///
/// # Errors
/// [`RulesError`] when nothing is left to evaluate.
pub fn load_rules(paths: &[PathBuf]) -> Result<RulesInForce, RulesError> {
    let (set, problems) = RuleSet::load(paths);
    let (warnings, refused): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.loaded);
    for problem in &refused {
        tracing::warn!(path = %problem.path.display(), line = problem.line, code = problem.code, reason = %problem.reason, "rule left out");
    }
    for problem in &warnings {
        tracing::info!(path = %problem.path.display(), line = problem.line, code = problem.code, reason = %problem.reason, "rule loaded with a warning");
    }
    metrics::gauge!("beffroi_detect_rules_refused").set(refused.len() as f64);
    if set.rules().is_empty() {
        let first = problems.first().map_or_else(|| "no rule file was found".to_string(), |problem| problem.reason.clone());
        return Err(RulesError::None { paths: paths.to_vec(), first });
    }
    let detector = compile(&set).map_err(|error| RulesError::Compile(error.to_string()))?;
    metrics::gauge!("beffroi_detect_rules").set(set.rules().len() as f64);
    let correlations =
        Correlator::new(&set, CorrelateOptions::default()).map_err(|error| RulesError::Compile(error.to_string()))?;
    metrics::gauge!("beffroi_detect_correlations").set(set.correlations().len() as f64);
    let engine = Arc::from(detector.name());
    Ok(RulesInForce { detector: Box::new(detector), ruleset: set.hash().into(), engine, correlations })
}

/// Lets a rule set go once nobody judges with it any more. Thousands of rules take milliseconds to free, which must not
/// fall to whoever judges the next event.
async fn retire(rules: Arc<RulesInForce>) {
    while Arc::strong_count(&rules) > 1 {
        tokio::time::sleep(SETTLE).await;
    }
    drop(tokio::task::spawn_blocking(move || drop(rules)).await);
}

/// Watches `paths` and swaps a changed rule set in until `shutdown`.
pub async fn watch(paths: Vec<PathBuf>, rules: Arc<ArcSwap<RulesInForce>>, shutdown: CancellationToken) {
    // One pending change is enough: a reload reads everything.
    let (changed, mut changes) = mpsc::channel::<()>(1);
    let mut watcher = match notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = changed.try_send(());
        }
    }) {
        Ok(watcher) => watcher,
        Err(error) => return tracing::error!(%error, "rule files cannot be watched: restart the detector after changing them"),
    };
    for path in &paths {
        if let Err(error) = watcher.watch(path, RecursiveMode::Recursive) {
            tracing::error!(path = %path.display(), %error, "this path cannot be watched: restart the detector after changing it");
        }
    }
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.recv() => if change.is_none() { return },
        }
        while tokio::time::timeout(SETTLE, changes.recv()).await.is_ok_and(|change| change.is_some()) {}
        let paths = paths.clone();
        match tokio::task::spawn_blocking(move || load_rules(&paths)).await {
            Ok(Ok(fresh)) => {
                tracing::info!(ruleset = %fresh.ruleset, "rules reloaded");
                tokio::spawn(retire(rules.swap(Arc::new(fresh))));
            }
            Ok(Err(error)) => tracing::error!(%error, "the changed rules are not used: the rules before stay in force"),
            Err(error) => tracing::error!(%error, "reloading rules failed: the rules before stay in force"),
        }
    }
}
