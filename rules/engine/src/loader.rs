//! The only place of this crate that reads rule files. Folders are walked without following links, in sorted order, so
//! that the same folder gives the same set and the same problems.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use beffroi_schema::alert::RuleInfo;

use crate::limits::{MAX_DEPTH, MAX_FILE_BYTES, MAX_FILES};
use crate::parse::{self, FileRules};
use crate::problem::RuleProblem;
use crate::rule::RuleSet;

/// Ending of the file that holds a rule's proof; it is no rule.
pub const PROOF_ENDING: &str = ".proof.yml";

impl RuleSet {
    /// Reads every `.yml` and `.yaml` file under the paths (files or folders), proofs and hidden folders left out.
    ///
    /// All problems are returned with file, line and reason, unreadable paths included; what is not broken is loaded.
    pub fn load(paths: &[impl AsRef<Path>]) -> (Self, Vec<RuleProblem>) {
        let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
        let (mut set, problems) = apart(|| Self::load_here(&paths));
        // What alerts say of rules outlives what they were parsed into. All copies are made before anything is let go, or
        // the allocator would put each into the memory of the one before.
        let infos: Vec<Arc<RuleInfo>> = set.rules.iter().map(|rule| Arc::new(RuleInfo::clone(&rule.info))).collect();
        set.rules.iter_mut().zip(infos).for_each(|(rule, info)| rule.info = info);
        (set, problems)
    }

    fn load_here(paths: &[&Path]) -> (Self, Vec<RuleProblem>) {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for path in paths {
            find_files(path, &is_rule_file, &mut files, &mut problems);
        }
        files.sort();
        files.dedup();
        if files.len() > MAX_FILES {
            let reason = format!("{} rule files, the limit is {MAX_FILES}", files.len());
            problems.push(RuleProblem::new(&files[MAX_FILES], 1, "too_many", reason, "name a smaller folder"));
            files.truncate(MAX_FILES);
        }
        let (rules, found) = parse::assemble(files.iter().map(|path| match read_text(path) {
            Ok(text) => parse::read(path, &text),
            Err(problem) => FileRules::broken(problem),
        }));
        problems.extend(found);
        problems.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        (rules, problems)
    }
}

/// Runs `work` on a thread of its own, whose memory the allocator keeps apart: parsed rules are let go once they are
/// compiled, and the holes that they leave among compiled ones would stay in memory for as long as those (17 MB with all
/// public rules).
fn apart<T: Send>(work: impl Fn() -> T + Sync) -> T {
    std::thread::scope(|scope| match std::thread::Builder::new().name("rules".into()).spawn_scoped(scope, &work) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        // No thread is to be had: the holes are the lesser evil.
        Err(_) => work(),
    })
}

fn is_rule_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (name.ends_with(".yml") || name.ends_with(".yaml")) && !name.ends_with(PROOF_ENDING)
}

/// Collects the files under `root` that `wanted` accepts. A file named outright is taken whatever its name.
pub(crate) fn find_files(root: &Path, wanted: &dyn Fn(&Path) -> bool, files: &mut Vec<PathBuf>, problems: &mut Vec<RuleProblem>) {
    let is_hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    let walk = walkdir::WalkDir::new(root).max_depth(MAX_DEPTH).into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name())) {
        match entry {
            Ok(entry) if entry.depth() == 0 && !entry.file_type().is_dir() => files.push(entry.into_path()),
            Ok(entry) if entry.file_type().is_file() && wanted(entry.path()) => files.push(entry.into_path()),
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(root).to_path_buf();
                let reason = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                problems.push(RuleProblem::new(&path, 1, "unreadable", reason, "check that it exists and may be read"));
            }
        }
    }
}

/// The text of one file, within the size limit.
pub(crate) fn read_text(path: &Path) -> Result<String, RuleProblem> {
    let problem = |code, reason: String, hint| RuleProblem::new(path, 1, code, reason, hint);
    let unreadable = |error: std::io::Error| problem("unreadable", error.to_string(), "check its permissions");
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(problem("unreadable", "this is no regular file".into(), "name a file or a folder"));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file that is too large from one that fits exactly.
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let reason = format!("the file is larger than {MAX_FILE_BYTES} bytes");
        return Err(problem("too_large", reason, "split it, or keep it out of the rule folder"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
        RuleProblem::new(path, line, "encoding", format!("byte {valid} is no UTF-8"), "save the file as UTF-8")
    })
}
