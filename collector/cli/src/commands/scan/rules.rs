//! The rules of a scan: read once, compiled here first, and sent as the very bytes that were compiled.

use std::path::{Path, PathBuf};

use beffroi_scanner::RulePack;
use beffroi_schema::down::blob_name;
use beffroi_schema::limits::{MAX_BLOB_BYTES, MAX_ORDER_BLOBS};
use walkdir::WalkDir;

use crate::errors::{Failure, Outcome};
use crate::output::say;
use crate::private_file;

/// Deepest folder below a named one; the same as for `rules check`.
const MAX_DEPTH: usize = beffroi_scanner::limits::MAX_DEPTH;

/// Rule texts that load.
pub struct Rules {
    /// One file each, without two of the same content.
    pub texts: Vec<Vec<u8>>,
    /// Rules in them.
    pub count: usize,
}

impl Rules {
    /// SHA-256 of each text, in their order.
    pub fn names(&self) -> Vec<Vec<u8>> {
        self.texts.iter().map(|text| blob_name(text).to_vec()).collect()
    }
}

/// Reads and compiles every rule file under the paths; one that does not load stops everything, with file and line.
pub fn load(paths: &[PathBuf]) -> Outcome<Rules> {
    let files = find(paths)?;
    if files.is_empty() {
        return Err(Failure::rules("there is no .yar or .yara file under what -r names", "name a rule file or a folder of them"));
    }
    if files.len() > MAX_ORDER_BLOBS {
        let what = format!("{} rule files; a scan takes {MAX_ORDER_BLOBS}", files.len());
        return Err(Failure::rules(what, "choose the rules of this hunt: hosts have a budget of time for each file"));
    }
    let read = |path: &PathBuf| Ok((path.clone(), read(path)?));
    let sources = files.iter().map(read).collect::<Outcome<Vec<(PathBuf, String)>>>()?;
    let (pack, problems) = RulePack::compile_texts(sources.iter().map(|(path, text)| (path, text)));
    problems.iter().for_each(|problem| say(&problem.to_string()));
    if !problems.is_empty() {
        let what = format!("{} of the rules do not load: nothing was ordered", problems.len());
        return Err(Failure::rules(what, "file, line and reason stand above"));
    }
    if pack.is_empty() {
        return Err(Failure::rules("no rule stands in what -r names", "a scan without rules finds nothing anywhere"));
    }
    let mut texts: Vec<Vec<u8>> = sources.into_iter().map(|(_, text)| text.into_bytes()).collect();
    texts.sort_unstable();
    texts.dedup();
    Ok(Rules { texts, count: pack.len() })
}

/// A named file whatever its ending; below a folder, rule files only. Links are not followed.
fn find(paths: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for root in paths {
        for entry in WalkDir::new(root).max_depth(MAX_DEPTH) {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(root).display().to_string();
                let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                Failure::usage(format!("{path}: {why}"), "name a rule file or a folder of them with -r")
            })?;
            let is_rule = entry.path().extension().is_some_and(|ending| ending == "yar" || ending == "yara");
            let is_named = entry.depth() == 0 && !entry.file_type().is_dir();
            if is_named || (entry.file_type().is_file() && is_rule) {
                files.push(entry.into_path());
            }
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn read(path: &Path) -> Outcome<String> {
    let bad = |why: &str| Failure::rules(format!("{}: {why}", path.display()), "name rule files and folders of them with -r");
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).is_ok_and(|data| data.is_file()) {
        return Err(bad("this is no regular file"));
    }
    let bytes = private_file::read(path, MAX_BLOB_BYTES as u64, "split it: each rule file travels as one piece")?;
    String::from_utf8(bytes).map_err(|_| bad("it is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "rule a { strings: $a = \"marker\" condition: $a }\n";

    #[test]
    fn rules_of_a_folder_travel_as_they_were_compiled_and_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for (name, text) in
            [("a.yar", RULE), ("sub/copy.yara", RULE), ("readme.md", "rule {"), ("b.yar", &RULE.replace(" a ", " b "))]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let rules = load(&[folder.path().into(), folder.path().join("a.yar")]).unwrap();
        assert_eq!((rules.texts.len(), rules.count), (2, 3));
        assert!(rules.texts.contains(&RULE.as_bytes().to_vec()));
        assert_eq!(rules.names()[0], blob_name(&rules.texts[0]));
    }

    #[test]
    fn a_rule_that_does_not_load_and_no_rule_at_all_stop_everything() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(&[folder.path().into()]).is_err());
        assert!(load(&[folder.path().join("absent.yar")]).is_err());
        std::fs::write(folder.path().join("a.yar"), "// none\n").unwrap();
        assert!(load(&[folder.path().into()]).is_err());
        std::fs::write(folder.path().join("b.yar"), "rule b { condition: nonsense }\n").unwrap();
        let refused = load(&[folder.path().into()]).err().unwrap();
        assert_eq!(refused.exit, crate::errors::Exit::Rules);
    }

    #[test]
    fn a_pipe_a_large_file_and_bad_utf8_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yar");
        std::fs::write(&path, vec![b' '; MAX_BLOB_BYTES + 1]).unwrap();
        assert!(load(std::slice::from_ref(&path)).is_err());
        std::fs::write(&path, [b'/', b'/', 0xff]).unwrap();
        assert!(load(&[path]).is_err());
        assert!(load(&["/dev/null".into()]).is_err());
    }
}
