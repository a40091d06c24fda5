//! What the host says of itself.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use beffroi_schema::batch::HostInfo;

use crate::error::SensorError;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Addresses reported: hosts with more interfaces (container hosts) name the first ones.
const MAX_ADDRESSES: usize = 32;
/// Where the network tables stand: those of the first process are the host's, also when the sensor has a private network.
const NETWORKS: [&str; 2] = ["/proc/1/net", "/proc/self/net"];
/// Most bytes read of a table; routers with longer ones name the addresses at their beginning.
const MAX_TABLE_BYTES: u64 = 1 << 20;

/// The kernel's id of this boot.
///
/// # Errors
/// [`SensorError::Read`] when /proc is not there.
pub fn boot_id() -> Result<String, SensorError> {
    let text = fs::read_to_string(BOOT_ID).map_err(|source| SensorError::Read { path: BOOT_ID.into(), source })?;
    Ok(text.trim().to_owned())
}

/// Name, system, addresses. What cannot be found out is empty.
pub fn host_info() -> HostInfo {
    let kernel = nix::sys::utsname::uname().ok();
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    HostInfo {
        hostname: text(kernel.as_ref().map(|kernel| kernel.nodename())),
        os: os_name(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        kernel: text(kernel.as_ref().map(|kernel| kernel.release())),
        architecture: text(kernel.as_ref().map(|kernel| kernel.machine())),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: boot_id().unwrap_or_default(),
        addresses: addresses(),
    }
}

fn os_name(release: &str) -> String {
    let value = |name: &str| release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let name = value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or("Linux");
    name.trim().trim_matches('"').to_owned()
}

/// Read from tables in /proc and not asked from the kernel over a socket: the sensor may run without any network of its own.
fn addresses() -> Vec<String> {
    let table = |name: &str| NETWORKS.iter().find_map(|folder| read_table(&format!("{folder}/{name}")));
    let v4 = table("fib_trie").unwrap_or_default();
    let v6 = table("if_inet6").unwrap_or_default();
    let mut addresses: Vec<String> = Vec::new();
    for ip in local_v4(&v4).map(IpAddr::V4).chain(v6.lines().filter_map(interface_v6).map(IpAddr::V6)) {
        let text = ip.to_string();
        if addresses.len() < MAX_ADDRESSES && !ip.is_loopback() && !is_link_local(&ip) && !addresses.contains(&text) {
            addresses.push(text);
        }
    }
    addresses
}

fn read_table(path: &str) -> Option<String> {
    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(MAX_TABLE_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The local addresses of a routing table as `fib_trie` shows it: a line with the address, then `/32 host LOCAL`.
fn local_v4(table: &str) -> impl Iterator<Item = Ipv4Addr> + '_ {
    let leaf = |line: &str| line.trim_start().strip_prefix("|-- ").and_then(|address| address.trim().parse().ok());
    let mut last: Option<Ipv4Addr> = None;
    table.lines().filter_map(move |line| match line.trim() {
        "/32 host LOCAL" => last,
        _ => {
            last = leaf(line).or(last);
            None
        }
    })
}

/// The address of a line of `if_inet6`: 32 hexadecimal digits, then index, length, scope, flags and interface.
fn interface_v6(line: &str) -> Option<Ipv6Addr> {
    let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
    u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
}

fn is_link_local(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_name_a_kernel_and_a_boot_id() {
        let host = host_info();
        assert!(!host.hostname.is_empty() && !host.kernel.is_empty());
        assert_eq!(host.boot_id.len(), 36);
        assert!(!host.agent_version.is_empty());
    }

    #[test]
    fn local_addresses_are_read_from_the_routing_table_and_routes_are_not() {
        let table = "Local:\n  +-- 192.0.2.0/24 2 0 2\n     |-- 192.0.2.0\n        /24 link UNICAST\n     |-- 192.0.2.2\n        \
                     /32 host LOCAL\n  |-- 192.0.2.255\n     /32 link BROADCAST\n/32 host";
        assert_eq!(local_v4(table).collect::<Vec<_>>(), [Ipv4Addr::new(192, 0, 2, 2)]);
        assert_eq!(local_v4("/32 host LOCAL\n|-- nonsense\n/32 host LOCAL").count(), 0);
    }

    #[test]
    fn addresses_of_version_6_are_read_and_nonsense_is_passed_over() {
        let line = "fd000000000000000000000000000002 04 40 00 82     eth0";
        assert_eq!(interface_v6(line).map(|ip| ip.to_string()).as_deref(), Some("fd00::2"));
        for nonsense in ["", "fd00 04", "zz000000000000000000000000000002 04"] {
            assert_eq!(interface_v6(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_system_is_named_as_os_release_says() {
        assert_eq!(os_name("ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!(os_name(""), "Linux");
    }
}
