//! What is judged: SigmaHQ's rules, and five lanes of events from the corpora that lie beside the checkout. Every event
//! is one flat JSON object in one logsource, for both engines the same text and the same logsource.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use beffroi_engine::windows::{flatten, views};
use beffroi_schema::{Category, Product};
use serde_json::{Map, Value as Json, json};

/// Names of the lanes, in the order of the figures.
pub const LANES: [&str; 5] = ["structured_windows", "sysmon_mix", "linux_exec", "linux_file", "raw_lines"];
/// Events of one lane at most; lanes are taken evenly from what the corpora have.
const MAX_EVENTS: usize = 3_000;
/// Bytes of one event at most: a few recorded scripts are megabytes and would be all that a mean shows.
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// Logsource of an event; empty is unset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Source {
    /// `product`.
    pub product: String,
    /// `category`.
    pub category: String,
    /// `service`.
    pub service: String,
}

/// One event.
#[derive(Clone)]
pub struct Item {
    /// A flat object.
    pub text: String,
    /// Its logsource.
    pub source: Source,
}

/// The corpora, if they are there; says loudly that nothing is measured where they are not.
pub fn corpora() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: ../shared/corpora is not beside this checkout, nothing is measured");
    None
}

fn open(path: &Path) -> impl Read + use<> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut decoder = zstd::Decoder::new(file).expect("a zstd frame");
    decoder.window_log_max(27).expect("a window that zstd knows");
    decoder
}

fn objects(path: &Path) -> impl Iterator<Item = Map<String, Json>> + use<> {
    let lines = BufReader::new(open(path)).lines();
    lines.filter_map(|line| match serde_json::from_str(&line.ok()?) {
        Ok(Json::Object(object)) => Some(object),
        _ => None,
    })
}

fn archive(path: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<(PathBuf, String)> {
    let mut archive = tar::Archive::new(open(path));
    let mut files = Vec::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a name").into_owned();
        let mut text = String::new();
        if wanted(&path) && entry.read_to_string(&mut text).is_ok() {
            files.push((path, text));
        }
    }
    files
}

/// SigmaHQ's rules by path.
pub fn rules(folder: &Path) -> Vec<(PathBuf, String)> {
    let is_rule =
        |path: &Path| path.extension().is_some_and(|extension| extension == "yml") && path.to_string_lossy().starts_with("rules");
    archive(&folder.join("sigma-rules/sigmahq-rules.tar.zst"), is_rule)
}

/// The events of one lane.
pub fn lane(folder: &Path, name: &str) -> Vec<Item> {
    let mut items = match name {
        "structured_windows" => structured_windows(folder),
        "sysmon_mix" => sysmon_mix(folder),
        "linux_exec" => linux_exec(folder),
        "linux_file" => linux_file(folder),
        _ => raw_lines(folder),
    };
    items.retain(|item| item.text.len() <= MAX_EVENT_BYTES && in_contract(&item.source));
    let step = items.len().div_ceil(MAX_EVENTS).max(1);
    items.into_iter().step_by(step).collect()
}

/// Whether our own batches have numbers for the logsource, so that every side judges the same events.
fn in_contract(source: &Source) -> bool {
    (source.category.is_empty() || Category::from_name(&source.category).is_some())
        && Product::from_name(&source.product).is_some()
}

fn windows_items(events: impl Iterator<Item = Map<String, Json>>) -> Vec<Item> {
    let mut items = Vec::new();
    for event in events {
        let flat = flatten(&event);
        for view in views(&flat) {
            let mut seen = flat.clone();
            for (new, existing) in view.renamed {
                if let Some(value) = flat.get(*existing).cloned() {
                    seen.entry(*new).or_insert(value);
                }
            }
            let text = |name: Option<&str>| name.unwrap_or_default().to_string();
            let source = Source { product: "windows".into(), category: text(view.category), service: text(view.service) };
            items.push(Item { text: Json::Object(seen).to_string(), source });
        }
    }
    items
}

/// Event logs as trees, flattened: the rules' own regression events and recorded attacks.
fn structured_windows(folder: &Path) -> Vec<Item> {
    let files = ["sigma-regression", "evtx/evtx-attack-samples", "evtx/evtx-to-mitre-attack", "evtx/yamato"];
    windows_items(files.iter().flat_map(|file| objects(&folder.join(file).join("events.jsonl.zst"))))
}

/// Sysmon and its neighbours as a log forwarder sends them, mostly ordinary activity.
fn sysmon_mix(folder: &Path) -> Vec<Item> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("otrf-security-datasets/events"))
        .expect("the recordings")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let mut items = windows_items(files.iter().flat_map(|file| objects(file).take(4_000)));
    items.retain(|item| item.source.service == "sysmon" && !item.source.category.is_empty());
    items
}

fn starts(folder: &Path) -> Vec<Map<String, Json>> {
    let mut starts: Vec<Map<String, Json>> = objects(&folder.join("linux/benign-exec/build.jsonl.zst")).collect();
    for event in objects(&folder.join("linux/kunai/events.jsonl.zst")).map(Json::Object) {
        let names = [
            ("Image", "/data/exe/path"),
            ("CommandLine", "/data/command_line"),
            ("ParentImage", "/data/parent_exe"),
            ("User", "/info/task/user"),
        ];
        if event.pointer("/data/command_line").is_some() {
            starts.push(names.iter().filter_map(|(name, at)| Some(((*name).into(), event.pointer(at)?.clone()))).collect());
        }
    }
    starts
}

fn linux(event: Map<String, Json>, category: &str) -> Item {
    let source = Source { product: "linux".into(), category: category.into(), service: String::new() };
    Item { text: Json::Object(event).to_string(), source }
}

fn linux_exec(folder: &Path) -> Vec<Item> {
    starts(folder).into_iter().map(|event| linux(event, "process_creation")).collect()
}

/// The files that the recorded programs name in their arguments, as if each had been written: real paths and programs.
fn linux_file(folder: &Path) -> Vec<Item> {
    let mut items = Vec::new();
    for start in starts(folder) {
        let text = |name: &str| start.get(name).and_then(Json::as_str).unwrap_or_default().to_string();
        let line = text("CommandLine");
        for word in line.split_whitespace().filter(|word| word.contains('/') || word.contains(".o")).take(2) {
            let target = if word.starts_with('/') { word.to_string() } else { format!("{}/{word}", text("CurrentDirectory")) };
            let event = json!({
                "EventTime": text("EventTime"), "ProcessId": start.get("ProcessId"), "Image": text("Image"),
                "TargetFilename": target, "CommandLine": line, "User": "root",
            });
            if let Json::Object(event) = event {
                items.push(linux(event, "file_event"));
            }
        }
    }
    items
}

/// Lines of audit logs and whole Windows events as text, in turn.
fn raw_lines(folder: &Path) -> Vec<Item> {
    let audit = archive(&folder.join("linux/auditd-go-libaudit/go-libaudit-testdata.tar.zst"), |path| {
        path.extension().is_some_and(|extension| extension == "log")
    });
    let line = |product: &str, text: &str| Item {
        text: json!({ "message": text }).to_string(),
        source: Source { product: product.into(), ..Source::default() },
    };
    let audit = audit.iter().flat_map(|(_, text)| text.lines()).map(|text| line("linux", text));
    let windows = objects(&folder.join("evtx/evtx-attack-samples/events.jsonl.zst"));
    let windows = windows.map(|event| line("windows", &Json::Object(event).to_string())).filter(|item| item.text.len() < 2_000);
    audit.zip(windows).flat_map(|(a, b)| [a, b]).collect()
}
