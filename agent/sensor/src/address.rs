//! Addresses and protocols as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const AF_INET6: u16 = 10;

/// Name of an IP protocol; its number where it has none here.
pub fn protocol(number: u16) -> String {
    match number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "ipv6-icmp".into(),
        // The multipath form of TCP has a number that fits no IP header.
        262 => "tcp".into(),
        other => other.to_string(),
    }
}

/// An address from its bytes. IPv4 addresses in IPv6 clothes are shown as what they are, so that rules on networks match.
pub fn address(family: u16, bytes: &[u8; 16]) -> IpAddr {
    if family == AF_INET6 {
        Ipv6Addr::from(*bytes).to_canonical()
    } else {
        Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_shown_as_ipv4() {
        let mut mapped = [0u8; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(address(AF_INET6, &mapped).to_string(), "10.0.0.1");
        assert_eq!(address(2, &[127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).to_string(), "127.0.0.1");
    }
}
