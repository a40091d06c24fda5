//! What was asked for, checked before anything is read.

use std::path::PathBuf;

use beffroi_schema::alert::Level;
use beffroi_sources::{Format, Options as Reading, View};
use jiff::Timestamp;

use crate::args::{self, Detect, Judging};
use crate::errors::{Failure, Outcome};
use crate::when;

/// What was asked for.
#[derive(Debug)]
pub struct Asked {
    /// How files are read.
    pub reading: Reading,
    /// Only events from this time on, microseconds since 1970.
    pub since: Option<i64>,
    /// Only events before this time.
    pub until: Option<i64>,
    /// Only rules of this level or graver.
    pub min_level: Option<Level>,
    /// Only rules of these statuses; empty is any.
    pub status: Vec<String>,
    /// Not these rules.
    pub excluded: Vec<String>,
    /// Each match carries its event.
    pub include_event: bool,
    /// Threads that judge.
    pub threads: usize,
    /// Files and folders.
    pub files: Vec<PathBuf>,
}

impl Asked {
    /// Reads the command line of `detect`.
    pub fn new(arguments: &Detect) -> Outcome<Self> {
        let moment = |text: &Option<String>| text.as_deref().map(micros).transpose();
        Ok(Self {
            since: moment(&arguments.since)?,
            until: moment(&arguments.until)?,
            min_level: arguments.min_level.as_deref().and_then(Level::from_name),
            status: arguments.status.clone(),
            excluded: arguments.exclude_rule.clone(),
            include_event: arguments.include_event,
            ..Self::all(&arguments.judging)?
        })
    }

    /// All records of the files by all rules.
    pub fn all(judging: &Judging) -> Outcome<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            reading: reading(&judging.reading)?,
            since: None,
            until: None,
            min_level: None,
            status: Vec::new(),
            excluded: Vec::new(),
            include_event: false,
            threads: judging.threads.map_or(cores, usize::from),
            files: judging.files.clone(),
        })
    }

    /// Whether an event of this time is asked for; one without a time is, unless times are.
    pub fn covers(&self, time_us: Option<i64>) -> bool {
        match time_us {
            Some(time) => self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until),
            None => !self.asks_times(),
        }
    }

    /// Whether only events of some time are asked for.
    pub fn asks_times(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }
}

/// How files are read, as the command line says.
pub fn reading(arguments: &args::Reading) -> Outcome<Reading> {
    let logsource = arguments.logsource.as_deref().map(logsource).transpose()?;
    Ok(Reading { format: Format::from_name(&arguments.format), logsource })
}

fn micros(text: &str) -> Outcome<i64> {
    let moment = when::moment(text, Timestamp::now())?;
    let bad = |error: jiff::Error| Failure::usage(format!("{text:?}: {error}"), "write a time such as 2026-11-21T08:00:00Z");
    Ok(moment.parse::<Timestamp>().map_err(bad)?.as_microsecond())
}

fn logsource(text: &str) -> Outcome<View> {
    let bad = |part: &str| {
        let hint = "write product=P,category=C,service=S, or some of them: --logsource product=linux,category=process_creation";
        Failure::usage(format!("--logsource {text:?}: {part:?} is no part of a logsource"), hint)
    };
    let mut view = View::default();
    for part in text.split(',').map(str::trim) {
        let (key, value) = part.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or_else(|| bad(part))?;
        let value = value.trim().to_ascii_lowercase().into();
        match key.trim() {
            "product" => view.product = value,
            "category" => view.category = value,
            "service" => view.service = value,
            _ => return Err(bad(part)),
        }
    }
    Ok(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logsource_is_read_part_by_part() {
        let view = logsource("product=Linux, category=process_creation").unwrap();
        assert_eq!((&*view.product, &*view.category, &*view.service), ("linux", "process_creation", ""));
        for text in ["", "linux", "product=", "host=x", "product=linux,"] {
            assert!(logsource(text).unwrap_err().hint.contains("product="), "{text:?}");
        }
    }
}
