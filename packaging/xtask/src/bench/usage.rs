//! CPU time and memory of a process and everything it started, from /proc.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// One process at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Process id.
    pub pid: i32,
    /// Its first argument that is a word: what it does, for people.
    pub role: String,
    /// CPU time of all its threads since it began, ended ones included.
    pub cpu: Duration,
    /// Resident memory (bytes); what processes share counts for each.
    pub rss: u64,
    /// Its part of the resident memory (bytes): what processes share is divided among them, so the sum is what is used.
    pub pss: u64,
}

/// The part of `/proc/PID/stat` that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    ticks: u64,
    pages: u64,
}

/// A process and its descendants, sorted by id.
pub fn tree(root: i32) -> Result<Vec<Usage>> {
    let all = running()?;
    let mut wanted = vec![root];
    let mut at = 0;
    while at < wanted.len() {
        let parent = wanted[at];
        wanted.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    let mut usages = all
        .into_iter()
        .filter(|(pid, _)| wanted.contains(pid))
        .map(|(pid, stat)| usage(pid, stat))
        .collect::<Result<Vec<_>>>()?;
    if usages.is_empty() {
        bail!("process {root} has ended");
    }
    usages.sort_by_key(|usage| usage.pid);
    Ok(usages)
}

fn running() -> Result<Vec<(i32, Stat)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").context("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end between listing and reading.
        let Ok(text) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        all.push((pid, parse(&text).with_context(|| format!("/proc/{pid}/stat is not understood"))?));
    }
    Ok(all)
}

/// See proc_pid_stat(5). The name in parentheses may hold anything, so counting begins behind the last one.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks: number(11)? + number(12)?, pages: number(21)? })
}

fn usage(pid: i32, stat: Stat) -> Result<Usage> {
    use nix::unistd::{SysconfVar, sysconf};
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel's clock tick")? as f64;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("the page size")? as u64;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let role = role(&line);
    let cpu = Duration::from_secs_f64(stat.ticks as f64 / per_second);
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Ok(Usage { pid, role, cpu, rss: stat.pages * page, pss: pss(&rollup) })
}

/// The proportional set size in the text of `/proc/PID/smaps_rollup` (bytes); 0 where it may not be read.
fn pss(rollup: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The first argument of letters and dashes that is no option.
fn role(command_line: &[u8]) -> String {
    let word = |argument: &&[u8]| {
        argument.first().is_some_and(u8::is_ascii_lowercase) && argument.iter().all(|b| b.is_ascii_lowercase() || *b == b'-')
    };
    let found = command_line.split(|byte| *byte == 0).skip(1).find(word).unwrap_or(b"?");
    String::from_utf8_lossy(found).into_owned()
}

/// CPU time that the processes of `before` have used since. A process that has ended or come is an error: its share is
/// not known.
pub fn cpu_between(before: &[Usage], after: &[Usage]) -> Result<Duration> {
    if !before.iter().map(|usage| usage.pid).eq(after.iter().map(|usage| usage.pid)) {
        bail!("a process of the agent ended or was replaced while it was measured; see its log");
    }
    let total = |usages: &[Usage]| usages.iter().map(|usage| usage.cpu).sum::<Duration>();
    Ok(total(after).saturating_sub(total(before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_move_the_fields() {
        let text = "42 (a) b (c) S 7 1 1 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 3 0 777 1000000 640 184467 1";
        assert_eq!(parse(text), Some(Stat { parent: 7, ticks: 200, pages: 640 }));
        assert_eq!(parse("42 (a) S 7"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_proportional_part_of_memory_is_read_in_bytes() {
        assert_eq!(
            pss("5581-7ffc ---p 00:00 0 [rollup]\nRss:  9000 kB\nPss:                1234 kB\nPss_Anon: 7 kB\n"),
            1234 << 10
        );
        assert_eq!(pss(""), 0);
    }

    #[test]
    fn a_role_is_the_first_word_that_is_no_option_or_path() {
        assert_eq!(role(b"/usr/bin/beffroi-agent\0--state\0/var/lib/x\0sensor\0--fd\x003\0"), "sensor");
        assert_eq!(role(b"/usr/bin/beffroi-agent\0scan-worker\0{}\0"), "scan-worker");
        assert_eq!(role(b""), "?");
    }

    #[test]
    fn this_process_is_in_its_own_tree() {
        let own = std::process::id() as i32;
        let usages = tree(own).unwrap();
        let usage = usages.iter().find(|usage| usage.pid == own).unwrap();
        assert!(usage.rss > 100_000 && usage.pss > 100_000 && usage.pss <= usage.rss, "{usage:?}");
    }

    #[test]
    fn a_replaced_process_is_no_measurement() {
        let usage = |pid, ms| Usage { pid, role: String::new(), cpu: Duration::from_millis(ms), rss: 0, pss: 0 };
        let before = [usage(1, 10), usage(2, 20)];
        assert_eq!(cpu_between(&before, &[usage(1, 15), usage(2, 40)]).unwrap(), Duration::from_millis(25));
        assert!(cpu_between(&before, &[usage(1, 15), usage(3, 40)]).is_err());
    }
}
