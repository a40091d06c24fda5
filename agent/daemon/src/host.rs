//! What this host says of itself, and what its processes cost.
//!
//! Owns nothing; reads /etc/os-release, /proc and the system's own calls. What cannot be read is left empty: the host's
//! description is for people and never an identity.

use std::fs;

use beffroi_schema::batch::HostInfo;

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Addresses that are reported: a host with hundreds of interfaces is no more recognisable by all of them.
const MAX_ADDRESSES: usize = 16;

/// Describes this host.
pub fn info() -> HostInfo {
    let names = nix::sys::utsname::uname().ok();
    let text = |value: Option<&std::ffi::OsStr>| value.map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    HostInfo {
        hostname: text(names.as_ref().map(|names| names.nodename())),
        os: os_name().unwrap_or_else(|| "Linux".into()),
        kernel: text(names.as_ref().map(|names| names.release())),
        architecture: text(names.as_ref().map(|names| names.machine())),
        agent_version: VERSION.into(),
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into(),
        addresses: addresses(),
    }
}

fn os_name() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_string())
}

fn addresses() -> Vec<String> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let one = |address: nix::sys::socket::SockaddrStorage| -> Option<std::net::IpAddr> {
        let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
    };
    let found = all.filter_map(|interface| one(interface.address?)).filter(|ip| !ip.is_loopback());
    found.take(MAX_ADDRESSES).map(|ip| ip.to_string()).collect()
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
    fn a_host_knows_its_name_kernel_and_boot() {
        let host = info();
        assert!(!host.hostname.is_empty() && !host.kernel.is_empty() && host.boot_id.len() == 36, "{host:?}");
    }

    #[test]
    fn this_process_takes_memory_and_a_process_that_is_gone_takes_none() {
        assert!(cost([std::process::id()]).rss_bytes > 1 << 20);
        assert_eq!(cost([u32::MAX]), Cost::default());
    }
}
