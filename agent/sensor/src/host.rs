//! What the host says of itself.

use std::fs;

use beffroi_schema::batch::HostInfo;
use nix::ifaddrs::getifaddrs;

use crate::error::SensorError;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Addresses reported: hosts with more interfaces (container hosts) name the first ones.
const MAX_ADDRESSES: usize = 32;

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

fn addresses() -> Vec<String> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| std::net::IpAddr::from(v4.ip()));
        let v6 = || address.as_sockaddr_in6().map(|v6| std::net::IpAddr::from(v6.ip()));
        let ip = v4.or_else(v6)?;
        (!ip.is_loopback() && !is_link_local(&ip)).then(|| ip.to_string())
    };
    let mut addresses: Vec<String> = interfaces.filter_map(address).collect();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

fn is_link_local(ip: &std::net::IpAddr) -> bool {
    matches!(ip, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local())
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
    fn the_system_is_named_as_os_release_says() {
        assert_eq!(os_name("ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!(os_name(""), "Linux");
    }
}
