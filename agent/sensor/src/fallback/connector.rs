//! The kernel's process connector: a netlink socket that tells of every fork, exec and exit, on kernels without type
//! information for probes too. Needs CAP_NET_ADMIN in the initial namespaces.
//!
//! Owns the socket and the decoding. Its messages carry numbers only. Every CPU counts its own: a number that is missing is
//! a message that found no room, and is counted. What does not hold together is ignored; messages of other processes are
//! no messages.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, recvfrom, send, setsockopt, sockopt};

/// Group and number of the process connector (`CN_IDX_PROC`, `CN_VAL_PROC`).
const PROC: u32 = 1;
/// Asks for everything (`PROC_CN_MCAST_LISTEN`).
const LISTEN: u32 = 1;
/// Room in the kernel for messages that were not read yet: each takes about 800 bytes, so this is 10,000 of them or some
/// seconds of a busy host.
const ROOM_BYTES: usize = 8 << 20;
/// Messages taken in one go, so that a flood does not keep the caller for ever.
const MAX_DRAIN: usize = 32_768;
/// Longest message looked at: netlink and connector heads and an event take 76 bytes.
const MAX_MESSAGE: usize = 512;
/// CPUs whose counts are kept; more do not exist on one host (`NR_CPUS`).
const MAX_CPUS: usize = 8_192;

/// struct nlmsghdr.
const NETLINK_HEAD: usize = 16;
/// struct cn_msg.
const CONNECTOR_HEAD: usize = 20;
/// Fixed part of struct proc_event.
const EVENT_HEAD: usize = 16;
const NLMSG_DONE: u16 = 3;

/// What a process did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It was made by another.
    Fork {
        /// Who made it.
        parent: u32,
    },
    /// It has a new image.
    Exec,
    /// It ended with this wait(2) status.
    Exit {
        /// As wait(2) gives it.
        status: u32,
    },
}

/// One message about a process (not about one of its threads).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happened {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub ts: u64,
    /// Process.
    pub tgid: u32,
    /// What it did.
    pub deed: Deed,
}

/// The socket.
pub struct Connector {
    socket: OwnedFd,
    next: HashMap<u32, u32>,
    lost: u64,
}

impl Connector {
    /// Opens it and asks for everything.
    ///
    /// # Errors
    /// What the system says, for instance without CAP_NET_ADMIN or on a kernel without CONFIG_PROC_EVENTS.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers are passed.
        let socket = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // Beyond the system's limit only with a privilege that comes with the one this socket needs anyway.
        if setsockopt(&socket, sockopt::RcvBufForce, &ROOM_BYTES).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &ROOM_BYTES)?;
        }
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, PROC))?;
        send(socket.as_raw_fd(), &listen(), MsgFlags::empty())?;
        Ok(Self { socket, next: HashMap::new(), lost: 0 })
    }

    /// To be waited for.
    pub fn descriptor(&self) -> impl AsFd + '_ {
        self.socket.as_fd()
    }

    /// Messages that found no room since the start.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes what has come.
    pub fn drain(&mut self) -> Vec<Happened> {
        let mut happened = Vec::new();
        let mut bytes = [0u8; MAX_MESSAGE];
        for _ in 0..MAX_DRAIN {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
                Ok((len, Some(sender))) if sender.pid() == 0 => {
                    happened.extend(bytes.get(..len).and_then(|bytes| self.take(bytes)));
                }
                // From another process, or "there was no room", which the counts tell more exactly.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        happened
    }

    fn take(&mut self, bytes: &[u8]) -> Option<Happened> {
        let message = Message::parse(bytes)?;
        if self.next.len() < MAX_CPUS || self.next.contains_key(&message.cpu) {
            let next = self.next.insert(message.cpu, message.number.wrapping_add(1));
            let missing = next.map_or(0, |next| message.number.wrapping_sub(next));
            // A count that went back was started anew: when the last listener left and another came.
            self.lost += if missing < u32::MAX / 2 { u64::from(missing) } else { 0 };
        }
        message.happened
    }
}

struct Message {
    cpu: u32,
    number: u32,
    happened: Option<Happened>,
}

impl Message {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let connector = bytes.get(NETLINK_HEAD..)?;
        let event = connector.get(CONNECTOR_HEAD..)?;
        let answer_to = word(connector, 12)?;
        // What answers a request of ours is no event.
        if (word(connector, 0)?, word(connector, 4)?) != (PROC, PROC) || answer_to != 0 {
            return None;
        }
        let ts = u64::from_ne_bytes(event.get(8..16)?.try_into().ok()?);
        let about = event.get(EVENT_HEAD..)?;
        let [thread, process] = [word(about, 0)?, word(about, 4)?];
        let happened = match word(event, 0)? {
            0x1 => {
                let [child_thread, child] = [word(about, 8)?, word(about, 12)?];
                (child_thread == child).then_some((child, Deed::Fork { parent: process }))
            }
            0x2 => Some((process, Deed::Exec)),
            0x8000_0000 => {
                let status = word(about, 8)?;
                (thread == process).then_some((process, Deed::Exit { status }))
            }
            _ => None,
        };
        let happened = happened.map(|(tgid, deed)| Happened { ts, tgid, deed });
        Some(Self { cpu: word(event, 4)?, number: word(connector, 8)?, happened })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The request: a netlink head, a connector head and one number.
fn listen() -> Vec<u8> {
    const LEN: usize = NETLINK_HEAD + CONNECTOR_HEAD + 4;
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend((LEN as u32).to_ne_bytes());
    bytes.extend(NLMSG_DONE.to_ne_bytes());
    bytes.extend([0; 2 + 4 + 4]);
    for word in [PROC, PROC, 0, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(4u16.to_ne_bytes());
    bytes.extend(0u16.to_ne_bytes());
    bytes.extend(LISTEN.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(cpu: u32, number: u32, what: u32, about: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; NETLINK_HEAD];
        for word in [PROC, PROC, number, 0, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [what, cpu] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(7_000_000_001u64.to_ne_bytes());
        about.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        bytes
    }

    fn connector() -> Connector {
        let (socket, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
        Connector { socket: socket.into(), next: HashMap::new(), lost: 0 }
    }

    #[test]
    fn processes_are_told_and_threads_are_not() {
        let mut connector = connector();
        let happened = |tgid, deed| Some(Happened { ts: 7_000_000_001, tgid, deed });
        assert_eq!(connector.take(&message(0, 0, 1, &[10, 10, 20, 20])), happened(20, Deed::Fork { parent: 10 }));
        assert_eq!(connector.take(&message(0, 1, 1, &[10, 10, 21, 20])), None);
        assert_eq!(connector.take(&message(0, 2, 2, &[20, 20])), happened(20, Deed::Exec));
        assert_eq!(connector.take(&message(0, 3, 0x8000_0000, &[20, 20, 256, 17])), happened(20, Deed::Exit { status: 256 }));
        assert_eq!(connector.take(&message(0, 4, 0x8000_0000, &[21, 20, 0, 17])), None);
        assert_eq!(connector.lost(), 0);
    }

    #[test]
    fn a_missing_number_of_a_cpu_is_a_lost_message() {
        let mut connector = connector();
        for (cpu, number) in [(0, 5), (1, 90), (0, 6), (0, 9), (1, 91), (1, u32::MAX), (1, 0)] {
            connector.take(&message(cpu, number, 2, &[1, 1]));
        }
        assert_eq!(connector.lost(), 2, "7 and 8 of the first CPU; the second one's count went back");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Message::parse(&bytes);
        }
    }
}
