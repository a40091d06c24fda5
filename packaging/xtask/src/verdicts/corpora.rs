//! The corpora beside the checkout: rules, events, and what other engines say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::compare::{At, Verdict};

/// Other people's verdicts by source and file, then by line and rule.
pub type Verdicts = BTreeMap<(String, String), BTreeMap<At, Verdict>>;

/// Where they lie.
pub struct Corpora {
    folder: PathBuf,
}

impl Corpora {
    /// None where they are not.
    pub fn find() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
        folder.is_dir().then_some(Self { folder })
    }

    /// A file or folder of theirs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Unpacks the rules that the other engines judged by; how many there are.
    pub fn unpack_rules(&self, into: &Path) -> Result<usize> {
        let mut archive = tar::Archive::new(self.open("sigma-rules/sigmahq-rules.tar.zst")?);
        let mut count = 0;
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let is_judged = path.starts_with("rules") || path.starts_with("rules-emerging-threats");
            if is_judged && path.extension().is_some_and(|ending| ending == "yml") && entry.unpack_in(into_folder(into)?)? {
                count += 1;
            }
        }
        Ok(count)
    }

    /// Unpacks the event logs of a collection.
    pub fn unpack_logs(&self, collection: &str, into: &Path) -> Result<()> {
        let mut archive = tar::Archive::new(self.open(&format!("{collection}/raw-evtx.tar.zst"))?);
        archive.unpack(into_folder(into)?).with_context(|| format!("{collection}/raw-evtx.tar.zst"))
    }

    /// The recordings of a collection: first and last line, path.
    pub fn index(&self, collection: &str) -> Result<Vec<(u64, u64, String)>> {
        let path = self.path(collection).join("index.tsv");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let row = |line: &str| {
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |at: usize| cells.get(at).copied().context("a row is too short");
            Ok((cell(0)?.parse()?, cell(1)?.parse()?, cell(4)?.to_string()))
        };
        text.lines().skip(1).map(row).collect()
    }

    /// Rules that both engines can judge, and all that any was asked.
    pub fn evaluated(&self) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
        let path = self.path("expected/sigma/rules-evaluated.tsv");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split('\t').collect()).collect();
        let is_by_both = |row: &&Vec<&str>| row.get(5) == Some(&"yes") && row.get(6) == Some(&"yes");
        let id = |row: &Vec<&str>| row.first().map(ToString::to_string).unwrap_or_default();
        Ok((rows.iter().filter(is_by_both).map(id).collect(), rows.iter().map(id).collect()))
    }

    /// What other engines say of a source's events.
    pub fn verdicts(&self, name: &str) -> Result<Verdicts> {
        let mut all = Verdicts::new();
        for (_, line) in self.lines(&format!("expected/sigma/{name}"))? {
            let text = |field: &str| line.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
            let verdict = match text("verdict").as_str() {
                "agreed" => Verdict::Agreed,
                "one engine" => Verdict::OneEngine,
                _ => Verdict::Disputed(text("why")),
            };
            // Event logs number the lines of their collection; `file` only names the recording there.
            let file = if text("source").starts_with("otrf") { text("file") } else { String::new() };
            let number = line.get("line").and_then(Value::as_u64).context("a verdict without a line")?;
            all.entry((text("source"), file)).or_default().insert((number, text("rule_id")), verdict);
        }
        Ok(all)
    }

    /// JSON objects of a packed file, with their lines.
    pub fn lines(&self, name: &str) -> Result<Vec<(u64, Map<String, Value>)>> {
        let mut lines = Vec::new();
        for (line, number) in BufReader::new(self.open(name)?).lines().zip(1..) {
            if let Ok(Value::Object(object)) = serde_json::from_str(&line?) {
                lines.push((number, object));
            }
        }
        Ok(lines)
    }

    fn open(&self, name: &str) -> Result<impl Read + use<>> {
        let path = self.path(name);
        let mut decoder = zstd::Decoder::new(File::open(&path).with_context(|| path.display().to_string())?)?;
        decoder.window_log_max(27)?;
        Ok(decoder)
    }
}

fn into_folder(folder: &Path) -> Result<&Path> {
    std::fs::create_dir_all(folder)?;
    Ok(folder)
}
