//! A recording: `NAME.ndjson.zst` with events and `NAME.json` beside it, which says how long and what was done. Also the
//! corpus of process starts of a package build, which lies beside the checkout where there is one.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use beffroi_schema::Event;
use serde::{Deserialize, Serialize};

/// One event on one line; a longer line is no event of ours (128 KiB is the longest text of one field).
pub const MAX_LINE_BYTES: u64 = 8 * 1024 * 1024;
/// Window of the compressed corpora (`zstd --long=27`).
const MAX_WINDOW_LOG: u32 = 27;

/// What `NAME.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// Activity.
    pub activity: String,
    /// Host time, seconds.
    pub seconds: f64,
    /// Events of the machine.
    pub events: u64,
    /// Events that the sensor lost meanwhile, of all machines.
    pub lost: u64,
    /// What was done, in order.
    pub done: Vec<Step>,
    /// What could not be done, each with its reason.
    pub not_done: Vec<String>,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub what: String,
    /// Its begin, microseconds since 1970.
    pub from_us: i64,
    /// Its end, microseconds since 1970.
    pub to_us: i64,
}

/// A recording on disk.
#[derive(Debug)]
pub struct Baseline {
    /// What was done.
    pub story: Story,
    events: PathBuf,
    /// Lines without a logsource are process starts (the corpus).
    is_bare: bool,
}

/// The recordings of a folder, in the order of their names.
///
/// # Errors
/// When the folder or one of its descriptions cannot be read.
pub fn recordings(folder: &Path) -> Result<Vec<Baseline>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    paths.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Result<Baseline> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let story =
        serde_json::from_str(&text).with_context(|| format!("{} describes no recording; record it again", path.display()))?;
    Ok(Baseline { story, events: path.with_extension("ndjson.zst"), is_bare: false })
}

/// The process starts of a package build; none where the corpora are not beside the checkout.
///
/// # Errors
/// When the corpus is there and cannot be read.
pub fn package_build(corpora: &Path) -> Result<Option<Baseline>> {
    let events = corpora.join("linux/benign-exec/build.jsonl.zst");
    if !events.exists() {
        return Ok(None);
    }
    let story = Story {
        activity: "corpus: package build (process starts only)".into(),
        seconds: 0.0,
        events: 0,
        lost: 0,
        done: Vec::new(),
        not_done: Vec::new(),
    };
    let mut baseline = Baseline { story, events, is_bare: true };
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    baseline.story.events = baseline.each(|event| {
        first = first.min(event.ts);
        last = last.max(event.ts);
    })?;
    baseline.story.seconds = last.saturating_sub(first).max(0) as f64 / 1e6;
    Ok(Some(baseline))
}

impl Baseline {
    /// Calls `judge` with every event, in order; the number of events.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is no event: a recording is ours, so a broken one is recorded again.
    pub fn each(&self, mut judge: impl FnMut(&Event)) -> Result<u64> {
        let show = self.events.display();
        let file = File::open(&self.events).with_context(|| format!("cannot open {show}; record it again"))?;
        let mut decoder = zstd::Decoder::new(file)?;
        decoder.window_log_max(MAX_WINDOW_LOG)?;
        let mut lines = BufReader::new(decoder);
        let mut count = 0;
        while let Some(line) = next_line(&mut lines).with_context(|| format!("{show}, line {}", count + 1))? {
            let event = self.event(&line).with_context(|| format!("{show}, line {}", count + 1))?;
            judge(&event);
            count += 1;
        }
        Ok(count)
    }

    fn event(&self, line: &[u8]) -> Result<Event> {
        let mut json: serde_json::Value = serde_json::from_slice(line)?;
        if !json.is_object() {
            bail!("it is no event");
        }
        if self.is_bare {
            json["category"] = "process_creation".into();
            json["product"] = "linux".into();
        }
        // The detector names the host by its agent; here every recording is a host.
        json["Computer"] = self.story.activity.as_str().into();
        Ok(Event::from_json(&json, 0)?)
    }
}

/// The next line without its end; none at the end of the input.
pub fn next_line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() as u64 == MAX_LINE_BYTES {
        bail!("a line of more than {MAX_LINE_BYTES} bytes");
    }
    Ok(Some(line))
}
