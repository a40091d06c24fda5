//! Before the engine starts: its deduplication logs forget inserts whose rows never came to stand.
//!
//! ClickHouse's MergeTree writes an insert's token into `deduplication_logs/deduplication_log_N.txt` first and gives the
//! part its final name after. A process killed in between leaves a token without rows: the insert, sent again under the
//! same token as it must be, would be acknowledged and thrown away. So records of parts that no part folder covers are
//! taken out, which makes the repeated insert an ordinary one. This has to happen before anything is inserted: the engine
//! gives the lost part's number to the next one, which would then seem to cover it.
//!
//! Form of a record (seen in 26.5): operation (1 adds, 2 drops), part name and block id, separated by tabs. Lines of
//! another form are kept as they are: they may only cost a repeated insert a row that is merged away, never lose one.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Folder of the logs, beside the parts of its table.
const LOGS: &str = "deduplication_logs";
/// The operation that adds a block.
const ADD: &str = "1";
/// Where a new log is written before it takes the old one's place: outside the table, where the engine does not look.
const DRAFT: &str = "deduplication_log.draft";

/// Takes out of all logs under `folder` (the engine's) the records of parts that do not stand, and returns how many.
///
/// # Errors
/// A folder or log that cannot be read or replaced, by its path.
pub(crate) fn mend(folder: &Path) -> anyhow::Result<usize> {
    let mut forgotten = 0;
    // <folder>/store/<first three digits>/<uuid of the table>/
    for prefix in folders(&folder.join("store"))? {
        for table in folders(&prefix)? {
            let logs = table.join(LOGS);
            if logs.is_dir() {
                let parts = Parts::of(&table)?;
                for log in entries(&logs)? {
                    forgotten += mend_log(&log, &parts, &folder.join(DRAFT))?;
                }
            }
        }
    }
    Ok(forgotten)
}

fn mend_log(log: &Path, parts: &Parts, draft: &Path) -> anyhow::Result<usize> {
    let text = std::fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut kept = Vec::with_capacity(text.len());
    let mut forgotten = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match std::str::from_utf8(line).ok().and_then(added) {
            Some(part) if !parts.cover(&part) => forgotten += 1,
            _ => kept.extend_from_slice(line),
        }
    }
    if forgotten > 0 {
        replace(log, &kept, draft).with_context(|| format!("cannot rewrite {}", log.display()))?;
    }
    Ok(forgotten)
}

/// The new text is on the disk before the old one goes: a power cut leaves one or the other.
fn replace(log: &Path, text: &[u8], draft: &Path) -> std::io::Result<()> {
    let mut file = File::create(draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(draft, log)?;
    log.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// The part that a record adds a block to.
fn added(line: &str) -> Option<Part> {
    let mut fields = line.trim_end_matches('\n').split('\t');
    match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(ADD), Some(part), Some(_block), None) => Part::parse(part),
        _ => None,
    }
}

/// What a part's name says: `<partition>_<first block>_<last block>_<level>`, with `_<mutation>` after a mutation.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    partition: String,
    first: i64,
    last: i64,
}

impl Part {
    fn parse(name: &str) -> Option<Self> {
        let fields: Vec<&str> = name.split('_').collect();
        let (partition, numbers) = fields.split_first()?;
        if partition.is_empty() || !(3..=4).contains(&numbers.len()) {
            return None;
        }
        let numbers = numbers.iter().map(|number| number.parse().ok()).collect::<Option<Vec<i64>>>()?;
        Some(Self { partition: (*partition).to_owned(), first: *numbers.first()?, last: *numbers.get(1)? })
    }
}

/// The parts that stand in a table's folder. What is still being written begins with `tmp`, which is no part's name.
struct Parts(Vec<Part>);

impl Parts {
    fn of(table: &Path) -> anyhow::Result<Self> {
        let names = folders(table)?.into_iter().filter_map(|path| Part::parse(path.file_name()?.to_str()?));
        let mut parts: Vec<Part> = names.collect();
        parts.sort_by(|a, b| (&a.partition, a.first, a.last).cmp(&(&b.partition, b.first, b.last)));
        Ok(Self(parts))
    }

    /// Whether a part, or one that it was merged into, stands.
    fn cover(&self, part: &Part) -> bool {
        let from = self.0.partition_point(|stands| stands.partition < part.partition);
        let of_partition = self.0[from..].iter().take_while(|stands| stands.partition == part.partition);
        of_partition.take_while(|stands| stands.first <= part.first).any(|stands| stands.last >= part.last)
    }
}

fn folders(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Ok(entries(path)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What stands in a folder; nothing where it is absent, as before the first start.
fn entries(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || match std::fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    read().with_context(|| format!("cannot read the folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with these part folders and this log; returns the engine's folder and the log's path.
    fn table(parts: &[&str], log: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("store/430/43058832-0000-4000-8000-000000000000");
        for part in parts {
            std::fs::create_dir_all(table.join(part)).unwrap();
        }
        std::fs::create_dir_all(table.join(LOGS)).unwrap();
        let path = table.join(LOGS).join("deduplication_log_1.txt");
        std::fs::write(&path, log).unwrap();
        (folder, path)
    }

    #[test]
    fn a_record_whose_part_does_not_stand_is_forgotten_and_the_others_stay() {
        let log = "1\t0_1_1_0\tb1\n1\t0_2_2_0\tb2\n1\t1_2_2_0\tb3\n2\t0_1_1_0\tb1\n";
        let (folder, path) = table(&["0_1_1_0", "1_2_2_0", "tmp_insert_0_2_2_0", "detached"], log);
        assert_eq!(mend(folder.path()).unwrap(), 1);
        assert_eq!(std::fs::read_to_string(path).unwrap(), log.replace("1\t0_2_2_0\tb2\n", ""));
        assert_eq!(mend(folder.path()).unwrap(), 0, "nothing is left to forget");
        assert!(!folder.path().join(DRAFT).exists());
    }

    #[test]
    fn a_part_that_was_merged_or_mutated_stands() {
        let log = "1\t20261122_3_3_0\tb\n1\tall_7_7_0\tb\n";
        let (folder, path) = table(&["20261122_1_2_1", "20261122_1_9_3", "all_7_7_0_12"], log);
        assert_eq!(mend(folder.path()).unwrap(), 0);
        assert_eq!(std::fs::read_to_string(path).unwrap(), log);
    }

    #[test]
    fn lines_of_another_form_are_kept() {
        let log = "3\t0_1_1_0\tb\nformat 2\n1\tno part\tb\n1\t0_1_1_0\tb\tmore\n1\t0_1";
        let (folder, path) = table(&[], log);
        assert_eq!(mend(folder.path()).unwrap(), 0);
        assert_eq!(std::fs::read_to_string(path).unwrap(), log);
    }

    #[test]
    fn a_folder_before_its_first_start_has_nothing_to_mend() {
        assert_eq!(mend(tempfile::tempdir().unwrap().path()).unwrap(), 0);
    }
}
