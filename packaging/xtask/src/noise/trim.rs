//! Keeps the events of one throwaway machine: the sensor sees the whole kernel, a recording must tell of the machine alone.
//!
//! An event belongs to the machine when its process descends from the machine's first one, which is known by the folder
//! in its parent's command line. Ancestors above that are cut off, so that a recording names nothing of its host.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value as Json};

use super::baseline::{Step, Story, next_line};

/// Ratio against time: recordings are read often and kept for long.
const COMPRESSION: i32 = 12;

/// What is trimmed and where to.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Name of the recording.
    #[arg(long)]
    activity: String,
    /// Folder of the machine, as it stands in the command line that made it.
    #[arg(long)]
    machine: String,
    /// Host time, seconds.
    #[arg(long)]
    seconds: f64,
    /// What the activity printed: its lines `did: FROM TO WHAT` and `could not: WHAT` are kept.
    #[arg(long)]
    said: PathBuf,
    /// What the sensor printed at its end.
    #[arg(long)]
    sensor: PathBuf,
    /// Folder of the recordings.
    #[arg(long)]
    out: PathBuf,
}

/// Reads events from `input` and writes the recording; the description last, so that one without it is no recording.
///
/// # Errors
/// When something cannot be read or written.
pub fn run(options: &Options, mut input: impl BufRead) -> Result<()> {
    let events = options.out.join(format!("{}.ndjson.zst", options.activity));
    let file = File::create(&events).with_context(|| format!("cannot write {}", events.display()))?;
    let mut out = zstd::Encoder::new(file, COMPRESSION)?;
    let mut machine = Machine::new(&options.machine);
    let mut kept = 0;
    while let Some(line) = next_line(&mut input)? {
        // The sensor was stopped in the middle of its last line.
        let Ok(Json::Object(mut event)) = serde_json::from_slice(&line) else { continue };
        if machine.owns(&event) {
            machine.cut(&mut event);
            serde_json::to_writer(&mut out, &event)?;
            out.write_all(b"\n")?;
            kept += 1;
        }
    }
    out.finish()?;
    let story = story(options, kept)?;
    let path = options.out.join(format!("{}.json", options.activity));
    std::fs::write(&path, serde_json::to_vec_pretty(&story)?).with_context(|| format!("cannot write {}", path.display()))
}

fn story(options: &Options, events: u64) -> Result<Story> {
    let read = |path: &Path| {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let said = read(&options.said)?;
    let with = |prefix| said.lines().filter_map(move |line| line.strip_prefix(prefix));
    let mut done: Vec<Step> = with("did: ").filter_map(step).collect();
    done.sort_by_key(|step| step.from_us);
    Ok(Story {
        activity: options.activity.clone(),
        seconds: options.seconds,
        events,
        lost: lost(&read(&options.sensor)?),
        done,
        not_done: with("could not: ").map(str::to_string).collect(),
    })
}

/// `FROM TO WHAT`, times in seconds since 1970; none where a program of the machine said something that begins alike.
fn step(said: &str) -> Option<Step> {
    let mut parts = said.splitn(3, ' ');
    let mut time = || Some((parts.next()?.parse::<f64>().ok()? * 1e6).round() as i64);
    let (from_us, to_us) = (time()?, time()?);
    Some(Step { what: parts.next()?.into(), from_us, to_us })
}

/// The number before "lost in the kernel" in the sensor's last words.
fn lost(said: &str) -> u64 {
    let before = said.rsplit_once(" lost in the kernel").map_or("", |(before, _)| before);
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Which processes are the machine's.
struct Machine {
    /// In the command line of the process above the machine's first one.
    mark: String,
    processes: HashSet<String>,
}

impl Machine {
    fn new(mark: &str) -> Self {
        Self { mark: mark.into(), processes: HashSet::new() }
    }

    fn owns(&mut self, event: &Map<String, Json>) -> bool {
        let text = |name| event.get(name).and_then(Json::as_str).unwrap_or_default();
        let is_known = |guid: &str| self.processes.contains(guid);
        let owned = is_known(text("ProcessGuid"))
            || is_known(text("ParentProcessGuid"))
            || texts(event, "AncestorGuids").any(is_known)
            || texts(event, "AncestorCommandLines").any(|line| line.contains(&self.mark));
        let guid = text("ProcessGuid");
        // Events of no process at all share no guid.
        if owned && !guid.is_empty() && !is_known(guid) {
            self.processes.insert(guid.into());
        }
        owned
    }

    /// Ancestors from the marked one on are the host's.
    fn cut(&self, event: &mut Map<String, Json>) {
        let Some(above) = texts(event, "AncestorCommandLines").position(|line| line.contains(&self.mark)) else { return };
        for name in ["AncestorGuids", "AncestorImages", "AncestorCommandLines"] {
            if let Some(Json::Array(list)) = event.get_mut(name) {
                list.truncate(above);
            }
        }
        if above == 0 {
            for name in ["ParentImage", "ParentCommandLine", "ParentProcessGuid", "ParentUser"] {
                event.remove(name);
            }
        }
    }
}

fn texts<'a>(event: &'a Map<String, Json>, name: &str) -> impl Iterator<Item = &'a str> {
    event.get(name).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(json: Json) -> Map<String, Json> {
        json.as_object().expect("an object").clone()
    }

    #[test]
    fn a_process_below_the_machine_is_kept_without_the_host_above_it() {
        let mut machine = Machine::new("/tmp/m.1");
        let mut inside = event(json!({
            "ProcessGuid": "b", "ParentProcessGuid": "a", "ParentImage": "/lib/systemd/systemd",
            "AncestorGuids": ["a", "u", "s"], "AncestorImages": ["/lib/systemd/systemd", "/usr/bin/unshare", "/usr/bin/bash"],
            "AncestorCommandLines": ["systemd", "unshare bash boot.sh /tmp/m.1", "bash record.sh"],
        }));
        assert!(machine.owns(&inside));
        machine.cut(&mut inside);
        assert_eq!(inside["AncestorGuids"], json!(["a"]));
        assert_eq!(inside["AncestorImages"], json!(["/lib/systemd/systemd"]));
        assert_eq!(inside["AncestorCommandLines"], json!(["systemd"]));
        assert_eq!(inside["ParentImage"], "/lib/systemd/systemd");
    }

    #[test]
    fn a_process_so_deep_that_the_machine_is_no_longer_among_its_ancestors_is_kept() {
        let mut machine = Machine::new("/tmp/m.1");
        assert!(machine.owns(&event(json!({"ProcessGuid": "b", "AncestorCommandLines": ["x /tmp/m.1"]}))));
        assert!(machine.owns(&event(json!({"ProcessGuid": "c", "ParentProcessGuid": "b"}))));
        assert!(machine.owns(&event(json!({"ProcessGuid": "d", "AncestorGuids": ["c"]}))));
        assert!(machine.owns(&event(json!({"ProcessGuid": "d", "category": "process_termination"}))));
    }

    #[test]
    fn the_host_and_other_machines_are_left_out() {
        let mut machine = Machine::new("/tmp/m.1");
        assert!(!machine.owns(&event(json!({"ProcessGuid": "z", "AncestorCommandLines": ["x /tmp/m.2", "bash"]}))));
        assert!(machine.owns(&event(json!({"Image": "/usr/bin/true", "AncestorCommandLines": ["/tmp/m.1"]}))));
        assert!(!machine.owns(&event(json!({"Image": "/usr/bin/true"}))));
    }

    #[test]
    fn the_first_process_itself_loses_its_parent() {
        let machine = Machine::new("/tmp/m.1");
        let mut first =
            event(json!({"ProcessGuid": "a", "ParentCommandLine": "unshare /tmp/m.1", "ParentImage": "/usr/bin/unshare",
            "AncestorCommandLines": ["unshare /tmp/m.1"], "AncestorGuids": ["u"]}));
        machine.cut(&mut first);
        assert_eq!(first.get("ParentCommandLine"), None);
        assert_eq!(first["AncestorGuids"], json!([]));
    }

    #[test]
    fn losses_are_read_from_the_last_words_of_the_sensor() {
        assert_eq!(lost("164 events in 7.0 s (file_change 25); 12 lost in the kernel\n"), 12);
        assert_eq!(lost("no kernel probes"), 0);
    }

    #[test]
    fn a_recording_holds_its_events_and_says_what_was_not_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("said"), "\u{c}\ndid: 1.25 3.000001 a b\ndid: not\nnoise\ncould not: b (exit status 1)\n")
            .expect("a file");
        std::fs::write(at("sensor"), "2 events in 1.0 s (); 0 lost in the kernel\n").expect("a file");
        let options = Options {
            activity: "test".into(),
            machine: "/tmp/m.1".into(),
            seconds: 2.0,
            said: at("said"),
            sensor: at("sensor"),
            out: folder.path().into(),
        };
        let line = r#"{"category":"process_creation","product":"linux","ProcessGuid":"b","AncestorCommandLines":["/tmp/m.1"]}"#;
        run(&options, format!("{line}\n{{\"ProcessGuid\":\"z\"}}\n{{\"cut").as_bytes()).expect("it is written");
        let found = super::super::baseline::recordings(folder.path()).expect("it is read");
        assert_eq!(found[0].story.done, [Step { what: "a b".into(), from_us: 1_250_000, to_us: 3_000_001 }]);
        assert_eq!(found[0].story.not_done, ["b (exit status 1)"]);
        assert_eq!((found[0].story.events, found[0].story.seconds), (1, 2.0));
        assert_eq!(found[0].each(|_| ()).expect("its events"), 1);
    }
}
