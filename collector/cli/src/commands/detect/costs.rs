//! `rules cost`: which rules take the time, measured on files of events. Each record is judged whole, as `detect` judges
//! what may match, and the tests of the rules that were looked at are timed; no match is shown.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use beffroi_engine::RuleCost;
use beffroi_sources::find;
use serde_json::{Value, json};

use super::judge::{Judged, Shared};
use super::options::Asked;
use super::pipeline::End;
use super::rules::Rules;
use super::tell::Tell;
use crate::args::Judging;
use crate::errors::{Exit, Failure, Outcome};
use crate::output::{Column, Output, column, rest};

const COLUMNS: [Column; 10] = [
    column("SHARE %", "/share_percent", 0),
    column("TIME MS", "/time_ms", 0),
    column("NS/EVENT", "/ns_per_event", 0),
    column("LOOKED", "/looked", 0),
    column("NS/LOOK", "/ns_per_look", 0),
    column("MATCHES", "/matches", 0),
    column("BYTES", "/bytes", 0),
    column("RULE", "/rule_title", 56),
    rest("FILE", "/rule_path", 80),
    column("RULE ID", "/rule_id", 36),
];

/// Nanoseconds since the first question.
fn nanos() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

/// Measures what rules cost.
pub fn costs(output: &Output, judging: &Judging) -> Outcome {
    let asked = Asked::all(judging)?;
    let inputs = find(&asked.files, asked.reading.format);
    let rules = Rules::load(&judging.rules, false, &asked)?.measuring(nanos);
    let progress = Arc::new(AtomicU64::new(0));
    let mut tell = Tell::new(&inputs.found, inputs.passed_over, Arc::clone(&progress));
    tell.missing(&inputs.missing);
    let shared = Arc::new(Shared { asked, rules });
    let end = super::begin(&shared, inputs.found, &progress)?.each(|judged: Option<Judged>| {
        match judged {
            Some(judged) => tell.judged(&judged),
            None => tell.lost(),
        }
        Ok::<(), Failure>(())
    })?;
    let rules = &shared.rules;
    let costs = rules.costs();
    let sum = costs.iter().map(|(_, cost)| cost.nanos).sum();
    tell.costs((costs.len(), rules.counts().0), sum, rules.panics(), end == End::Interrupted);
    output.rows(&COLUMNS, &rows(costs, rules, (sum, tell.events())))?;
    match end {
        End::Interrupted => Err(Failure::interrupted()),
        End::Done if tell.is_incomplete() => Err(Failure::silent(Exit::Usage)),
        End::Done => Ok(()),
    }
}

/// The dearest first; of the same time, the one that more bytes were put to.
fn rows(mut costs: Vec<(usize, RuleCost)>, rules: &Rules, (nanos, events): (u64, u64)) -> Vec<Value> {
    costs.sort_by_key(|(place, cost)| (std::cmp::Reverse((cost.nanos, cost.bytes)), *place));
    let row = |(place, cost): &(usize, RuleCost)| {
        let (info, path) = rules.rule(*place);
        let per = |many: u64| rounded(cost.nanos as f64 / many.max(1) as f64, 10.0);
        json!({"rule_id": info.id, "rule_title": info.title, "rule_path": path.display().to_string(), "level": info.level.name(),
            "share_percent": rounded(cost.nanos as f64 * 100.0 / nanos.max(1) as f64, 100.0),
            "time_ms": rounded(cost.nanos as f64 / 1e6, 1_000.0), "ns_per_event": per(events), "ns_per_look": per(cost.looked),
            "looked": cost.looked, "matches": rules.matched(*place), "bytes": cost.bytes})
    };
    costs.iter().map(row).collect()
}

/// A figure with as many digits behind the point as `tenths` has zeros.
fn rounded(figure: f64, tenths: f64) -> f64 {
    (figure * tenths).round() / tenths
}
