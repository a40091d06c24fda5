//! One packet with at most one descriptor over a `SOCK_SEQPACKET` pair, with a deadline.
//!
//! Owns the only code that passes descriptors. A received descriptor is closed whatever happens afterwards; a packet
//! that was cut is an error.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};

use crate::protocol::MAX_PACKET_BYTES;

/// A connected pair; packets keep their bounds.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends a packet, with a descriptor beside it if there is one.
pub fn send(socket: impl AsFd, packet: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    if packet.len() > MAX_PACKET_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a packet of {} bytes", packet.len())));
    }
    let raw = file.map(|file| [file.as_raw_fd()]);
    let control: Vec<ControlMessage<'_>> = raw.iter().map(|raw| ControlMessage::ScmRights(raw)).collect();
    let parts = [IoSlice::new(packet)];
    loop {
        match sendmsg::<()>(socket.as_fd().as_raw_fd(), &parts, &control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives a packet; `None` when the peer has closed. Waits at most until `deadline`, for ever without one.
///
/// # Errors
/// `TimedOut` at the deadline; any other error of the socket.
pub fn receive(socket: impl AsFd, deadline: Option<Instant>) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    wait(socket.as_fd(), deadline)?;
    let mut buffer = vec![0u8; MAX_PACKET_BYTES];
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut control), flags);
    let message = match message {
        Ok(message) => message,
        Err(Errno::ECONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut file = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for descriptor in descriptors {
                // SAFETY: the kernel has just made this descriptor for us; nobody else owns or closes it.
                file = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer's packet is larger than the protocol allows"));
    }
    let bytes = message.bytes;
    if bytes == 0 {
        return Ok(None);
    }
    buffer.truncate(bytes);
    Ok(Some((buffer, file)))
}

fn wait(socket: BorrowedFd<'_>, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                // Rounded up, so that the last millisecond is not spent spinning.
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_packet_arrives_whole_with_its_file() {
        let (here, there) = pair().unwrap();
        let file = std::fs::File::open("/proc/self/status").unwrap();
        send(&here, b"one", Some(file.as_fd())).unwrap();
        send(&here, b"two", None).unwrap();
        let (packet, file) = receive(&there, None).unwrap().unwrap();
        let mut text = String::new();
        std::fs::File::from(file.unwrap()).read_to_string(&mut text).unwrap();
        assert!(packet == b"one" && text.contains("Name:"));
        let (packet, file) = receive(&there, None).unwrap().unwrap();
        assert!(packet == b"two" && file.is_none());
        drop(here);
        assert!(receive(&there, None).unwrap().is_none());
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let (_here, there) = pair().unwrap();
        let error = receive(&there, Some(Instant::now() + Duration::from_millis(20))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
