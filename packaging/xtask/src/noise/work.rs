//! Whether a recording holds what it is said to hold. A step that ended well may have done nothing, so the events within
//! its time are counted; and every kind of work that the baselines must know stands in a file with the program that does
//! it and what that leaves behind.

use std::path::Path;

use anyhow::{Context, Result, bail};
use beffroi_schema::{Event, Field, Stream};

use super::baseline::{Step, Story};

/// Events by what they tell of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Starts and ends of processes.
    pub processes: u64,
    /// Files made, changed, renamed and removed.
    pub files: u64,
    /// Sockets.
    pub network: u64,
}

impl Seen {
    fn note(&mut self, event: &Event) {
        match event.logsource.category.stream() {
            Stream::Exec => self.processes += 1,
            Stream::File => self.files += 1,
            Stream::Network => self.network += 1,
            _ => {}
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What one step left.
#[derive(Debug, Clone)]
pub struct StepSeen {
    /// Recording.
    pub activity: String,
    /// The step.
    pub step: Step,
    /// Events within its time.
    pub seen: Seen,
}

/// A kind of work that must be in the recordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// What people call it.
    pub name: String,
    /// Recording, without the number of its seed.
    pub recording: String,
    /// End of the `Image` or part of the `CommandLine` of those who do it.
    pub program: String,
    /// Whether it must start processes, change files, open sockets.
    pub leaves: Vec<String>,
    /// What there was.
    pub seen: Seen,
}

impl Kind {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split('|').map(str::trim);
        let mut next = || parts.next().filter(|part| !part.is_empty()).map(str::to_string);
        let (name, recording, program, leaves) = (next()?, next()?, next()?, next()?);
        let leaves: Vec<String> = leaves.split_whitespace().map(str::to_string).collect();
        let known = leaves.iter().all(|what| matches!(what.as_str(), "processes" | "files" | "network"));
        known.then_some(Self { name, recording, program, leaves, seen: Seen::default() })
    }

    fn is_in(&self, activity: &str) -> bool {
        activity.strip_prefix(&self.recording).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    fn did(&self, event: &Event) -> bool {
        event.text(Field::IMAGE).ends_with(&self.program) || event.text(Field::COMMAND_LINE).contains(&self.program)
    }

    /// What it should have left and did not.
    pub fn lacks(&self) -> Vec<&str> {
        let count = |what: &str| match what {
            "processes" => self.seen.processes,
            "files" => self.seen.files,
            _ => self.seen.network,
        };
        self.leaves.iter().map(String::as_str).filter(|what| count(what) == 0).collect()
    }
}

/// What was seen of steps and kinds of work.
#[derive(Debug, Default)]
pub struct Work {
    /// Every step of every recording.
    pub steps: Vec<StepSeen>,
    /// Every kind of work that is asked for.
    pub kinds: Vec<Kind>,
}

impl Work {
    /// The kinds in a file, `KIND | RECORDING | PROGRAM | LEAVES` on a line; none without a file.
    ///
    /// # Errors
    /// When it cannot be read or a line is no such thing.
    pub fn read(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut work = Self::default();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            let Some(kind) = Kind::parse(line) else {
                bail!("{}, line {}: write KIND | RECORDING | PROGRAM | processes files network", file.display(), at + 1);
            };
            work.kinds.push(kind);
        }
        Ok(work)
    }

    /// Makes room for the steps of a recording, whose events come next.
    pub fn begin(&mut self, story: &Story) -> usize {
        let first = self.steps.len();
        let seen = |step: &Step| StepSeen { activity: story.activity.clone(), step: step.clone(), seen: Seen::default() };
        self.steps.extend(story.done.iter().map(seen));
        first
    }

    /// Counts one event of the recording whose steps begin at `first`.
    pub fn note(&mut self, first: usize, activity: &str, event: &Event) {
        let steps = self.steps.get_mut(first..).unwrap_or_default();
        // Steps follow one another.
        let after = steps.partition_point(|step| step.step.from_us <= event.ts);
        if let Some(step) = after.checked_sub(1).and_then(|at| steps.get_mut(at))
            && event.ts <= step.step.to_us
        {
            step.seen.note(event);
        }
        for kind in self.kinds.iter_mut().filter(|kind| kind.is_in(activity) && kind.did(event)) {
            kind.seen.note(event);
        }
    }

    /// What is not as it should be, one sentence each.
    pub fn faults(&self, stories: &[&Story]) -> Vec<String> {
        let undone = |story: &&Story| {
            let activity = story.activity.clone();
            story.not_done.iter().map(move |what| format!("{activity} could not do: {what}")).collect::<Vec<_>>()
        };
        let empty = self.steps.iter().filter(|step| step.seen.is_empty());
        let lacking = self.kinds.iter().filter(|kind| !kind.lacks().is_empty());
        let mut faults: Vec<String> = stories.iter().flat_map(undone).collect();
        faults.extend(empty.map(|step| format!("{} left no event: {}", step.activity, step.step.what)));
        faults.extend(lacking.map(|kind| {
            format!("{} is missing: no {} of {} in {}", kind.name, kind.lacks().join(", "), kind.program, kind.recording)
        }));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn story(not_done: &[&str]) -> Story {
        let step = |what: &str, from_us, to_us| Step { what: what.into(), from_us, to_us };
        Story {
            activity: "day-2".into(),
            seconds: 60.0,
            events: 0,
            lost: 0,
            done: vec![step("write", 10, 20), step("print", 30, 40)],
            not_done: not_done.iter().map(|what| (*what).into()).collect(),
        }
    }

    fn event(category: &str, image: &str, ts: i64) -> Event {
        let mut event =
            Event::from_json(&json!({"category": category, "product": "linux", "Image": image}), 0).expect("an event");
        event.ts = ts;
        event
    }

    fn work(lines: &str) -> Result<Work> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("work");
        std::fs::write(&file, lines).expect("a file");
        Work::read(Some(&file))
    }

    #[test]
    fn a_step_that_left_no_event_is_a_fault() {
        let (mut work, story) = (Work::default(), story(&[]));
        let first = work.begin(&story);
        for ts in [10, 20, 25] {
            work.note(first, "day-2", &event("process_creation", "/usr/bin/soffice", ts));
        }
        assert_eq!(work.steps[0].seen, Seen { processes: 2, files: 0, network: 0 });
        assert_eq!(work.faults(&[&story]), ["day-2 left no event: print"]);
    }

    #[test]
    fn work_without_what_it_must_leave_is_missing() {
        let mut work =
            work("# kinds\noffice | day | /soffice | processes files\nother | days | /soffice | processes\n").expect("kinds");
        work.note(0, "day-2", &event("process_creation", "/usr/bin/soffice", 1));
        work.note(0, "idle", &event("file_event", "/usr/bin/soffice", 1));
        let faults = ["office is missing: no files of /soffice in day", "other is missing: no processes of /soffice in days"];
        assert_eq!(work.faults(&[]), faults);
        work.note(0, "day-2", &event("file_event", "/usr/bin/soffice", 1));
        assert_eq!(work.faults(&[]), faults[1..]);
    }

    #[test]
    fn what_could_not_be_done_is_a_fault() {
        let story = story(&["print (exit status 1)"]);
        assert_eq!(Work::default().faults(&[&story]), ["day-2 could not do: print (exit status 1)"]);
    }

    #[test]
    fn a_line_that_asks_for_something_else_is_refused_with_its_number() {
        let error = work("\noffice | day | /soffice | sound\n").expect_err("no such event").to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(work("office | day\n").is_err());
    }
}
