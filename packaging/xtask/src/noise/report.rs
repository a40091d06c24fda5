//! What is printed: what was done and which events it left, the recordings with their host time, then the rules with
//! counts and bounds.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

use super::baseline::Story;
use super::judge::Tally;
use super::rate;
use super::work::{Seen, Work};

/// One step's name in the table: an installation names every package.
const MAX_STEP_CHARS: usize = 60;

/// Prints everything about recordings and rules; the number of rules that fired and are high or critical.
pub fn print(stories: &[&Story], tallies: &BTreeMap<String, Tally>, all: bool) -> usize {
    let seconds: f64 = stories.iter().map(|story| story.seconds).sum();
    recordings(stories, seconds);
    rules(tallies, seconds, all);
    let (silent, fired): (Vec<&Tally>, Vec<&Tally>) = tallies.values().partition(|tally| tally.alerts == 0);
    let (inert, silent): (Vec<&Tally>, Vec<&Tally>) = silent.into_iter().partition(|tally| tally.inert.is_some());
    for tally in &fired {
        println!("\n{} fires on:", tally.title);
        for example in &tally.examples {
            println!("  {example}");
        }
    }
    let grave = fired.iter().filter(|tally| tally.is_grave()).count();
    let bound = rate::per_100_host_days(0, seconds);
    println!("\nhost-hours {:.2}; {} rules fired, {grave} of them high or critical", seconds / 3600.0, fired.len());
    for tally in &inert {
        println!("nothing is known of {}: {}", tally.title, tally.inert.as_deref().unwrap_or_default());
    }
    println!("each of the {} silent rules: at most {bound:.0} alerts in 100 host-days (95 %, no alert seen)", silent.len());
    grave
}

/// Prints the kinds of work with their events; with `steps`, every step of every recording as well.
pub fn work(work: &Work, steps: bool) {
    if !work.kinds.is_empty() {
        let mut table = new_table(&["KIND OF WORK", "RECORDING", "PROGRAM", "PROCESSES", "FILES", "NETWORK"]);
        for kind in &work.kinds {
            let texts = [kind.name.clone(), kind.recording.clone(), kind.program.clone()];
            table.add_row(texts.into_iter().chain(numbers(&kind.seen)));
        }
        println!("{}\n", numbers_right(table, 3..6));
    }
    if steps && !work.steps.is_empty() {
        let mut table = new_table(&["RECORDING", "STEP", "SECONDS", "PROCESSES", "FILES", "NETWORK"]);
        for step in &work.steps {
            let seconds = step.step.to_us.saturating_sub(step.step.from_us) as f64 / 1e6;
            let what = step.step.what.chars().take(MAX_STEP_CHARS).collect();
            table.add_row([step.activity.clone(), what, format!("{seconds:.1}")].into_iter().chain(numbers(&step.seen)));
        }
        println!("{}\n", numbers_right(table, 2..6));
    }
}

fn numbers(seen: &Seen) -> [String; 3] {
    [seen.processes, seen.files, seen.network].map(|number| number.to_string())
}

fn recordings(stories: &[&Story], seconds: f64) {
    let mut table = new_table(&["RECORDING", "MINUTES", "EVENTS", "LOST", "DONE", "NOT DONE"]);
    for story in stories {
        table.add_row([
            story.activity.clone(),
            format!("{:.1}", story.seconds / 60.0),
            story.events.to_string(),
            story.lost.to_string(),
            story.done.len().to_string(),
            story.not_done.len().to_string(),
        ]);
    }
    let events: u64 = stories.iter().map(|story| story.events).sum();
    table.add_row([
        "all".into(),
        format!("{:.1}", seconds / 60.0),
        events.to_string(),
        String::new(),
        String::new(),
        String::new(),
    ]);
    println!("{}", numbers_right(table, 1..6));
    for story in stories {
        for what in &story.not_done {
            println!("not done in {}: {what}", story.activity);
        }
    }
}

fn rules(tallies: &BTreeMap<String, Tally>, seconds: f64, all: bool) {
    let mut shown: Vec<&Tally> = tallies.values().filter(|tally| all || tally.alerts > 0).collect();
    shown.sort_by(|one, other| (other.level, other.alerts, &one.title).cmp(&(one.level, one.alerts, &other.title)));
    let mut table = new_table(&["RULE", "LEVEL", "MATCHES", "ALERTS", "IN 100 HOST-DAYS", "AT MOST (95 %)"]);
    for tally in shown {
        table.add_row([
            tally.title.clone(),
            tally.level.map_or("", |level| level.name()).into(),
            tally.matches.to_string(),
            tally.alerts.to_string(),
            format!("{:.0}", tally.alerts as f64 / seconds * 86_400.0 * 100.0),
            tally
                .inert
                .as_ref()
                .map_or_else(|| format!("{:.0}", rate::per_100_host_days(tally.alerts, seconds)), |_| "unknown".into()),
        ]);
    }
    println!("\n{}", numbers_right(table, 2..6));
}

fn new_table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    table
}

fn numbers_right(mut table: Table, columns: std::ops::Range<usize>) -> Table {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
