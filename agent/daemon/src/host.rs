//! What this host says of itself, and what its processes cost.
//!
//! Owns nothing; reads /proc. What cannot be read counts as nothing: these figures are for people.

use std::fs;

use beffroi_schema::batch::HostInfo;

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Describes this host.
pub fn info() -> HostInfo {
    HostInfo { agent_version: VERSION.into(), ..beffroi_sensor::host_info() }
}

/// CPU time and resident memory of some processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cost {
    /// CPU time since each process began, with its ended children (microseconds).
    pub cpu_us: u64,
    /// Resident memory now (bytes).
    pub rss_bytes: u64,
}

/// The cost of the processes with these ids; one that is gone costs nothing.
pub fn cost(pids: impl IntoIterator<Item = u32>) -> Cost {
    pids.into_iter()
        .filter_map(cost_of)
        .fold(Cost::default(), |sum, one| Cost { cpu_us: sum.cpu_us + one.cpu_us, rss_bytes: sum.rss_bytes + one.rss_bytes })
}

fn cost_of(pid: u32) -> Option<Cost> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything: fields are counted from its end (proc_pid_stat(5), field 3 on).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    let ticks = field(14)? + field(15)? + field(16)? + field(17)?;
    // USER_HZ is 100 on every architecture that Linux still supports; pages are asked for.
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    Some(Cost { cpu_us: ticks * 10_000, rss_bytes: field(24)? * page.cast_unsigned() })
}

/// Whether a process with this id runs this program.
pub fn is_ours(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with("beffroi-agent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_and_a_process_that_is_gone_takes_none() {
        assert!(cost([std::process::id()]).rss_bytes > 1 << 20);
        assert_eq!(cost([u32::MAX]), Cost::default());
    }
}
