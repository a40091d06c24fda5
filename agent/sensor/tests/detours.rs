//! The probes by cause and effect, on ways around the ordinary system calls: the 32-bit table, io_uring, datagrams without
//! a connection. Needs root and a kernel with BTF; elsewhere each test says so and passes.

// A test that unwraps a failure fails, which is what it is for.
#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::CString;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use beffroi_schema::{Category, Event, Field, Value};
use io_uring::{IoUring, opcode, squeue, types};
use support::{Eyes, by_me, eyes};

fn file_event(eyes: &mut Eyes, category: Category, action: &str, target: &Path) -> Event {
    eyes.find(&format!("{action} of {}", target.display()), |event| {
        by_me(event, category)
            && event.text(Field::ACTION) == action
            && event.text(Field::TARGET_FILENAME) == target.to_str().unwrap()
    })
}

fn datagram(eyes: &mut Eyes, action: &str, to: SocketAddr) -> Event {
    let event = eyes.find(&format!("{action} to {to}"), |event| {
        by_me(event, Category::NetworkConnection)
            && event.text(Field::ACTION) == action
            && event.text(Field::DESTINATION_IP) == to.ip().to_canonical().to_string()
            && event.uint(Field::DESTINATION_PORT) == Some(u64::from(to.port()))
    });
    assert_eq!(event.text(Field::PROTOCOL), "udp");
    assert_eq!(event.get(Field::INITIATED), Some(&Value::Bool(true)));
    event
}

#[test]
fn a_datagram_is_seen_where_it_goes_to_once_a_minute() {
    let Some(mut eyes) = eyes() else { return };
    for (bind, peer) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let (socket, peer) = (UdpSocket::bind(bind).unwrap(), UdpSocket::bind(peer).unwrap());
        let to = peer.local_addr().unwrap();
        for _ in 0..20 {
            socket.send_to(b"x", to).unwrap();
        }
        let event = datagram(&mut eyes, "send", to);
        assert_eq!(event.uint(Field::SOURCE_PORT), Some(u64::from(socket.local_addr().unwrap().port())));
        assert_eq!(event.text(Field::IMAGE), std::env::current_exe().unwrap().to_str().unwrap());
        // Another destination is another event; when it is there, a second one for the first would be as well.
        let other = UdpSocket::bind(peer.local_addr().unwrap().ip().to_string() + ":0");
        let other = other.or_else(|_| UdpSocket::bind("[::1]:0")).unwrap().local_addr().unwrap();
        socket.send_to(b"x", other).unwrap();
        datagram(&mut eyes, "send", other);
        let sends = eyes.events.iter().filter(|event| {
            by_me(event, Category::NetworkConnection) && event.uint(Field::DESTINATION_PORT) == Some(u64::from(to.port()))
        });
        assert_eq!(sends.count(), 1);
    }
}

#[test]
fn a_message_to_an_ipv4_address_on_an_ipv6_socket_is_seen_as_ipv4() {
    let Some(mut eyes) = eyes() else { return };
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = UdpSocket::bind("[::]:0").unwrap();
    let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", peer.port()).parse().unwrap();
    let address = nix::sys::socket::SockaddrStorage::from(mapped);
    let text = [std::io::IoSlice::new(b"x")];
    let flags = nix::sys::socket::MsgFlags::empty();
    nix::sys::socket::sendmsg(socket.as_raw_fd(), &text, &[], flags, Some(&address)).unwrap();
    datagram(&mut eyes, "send", peer);
}

/// Sends requests one by one; gives back each one's result.
fn ask(ring: &mut IoUring, request: &squeue::Entry) -> i32 {
    // SAFETY: what the request points to lives until it is completed, which is waited for here.
    unsafe { ring.submission().push(request).unwrap() };
    ring.submit_and_wait(1).unwrap();
    ring.completion().next().unwrap().result()
}

fn text(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

#[test]
fn files_that_io_uring_makes_moves_links_and_removes_are_seen() {
    let Some(mut eyes) = eyes() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let path = |name: &str| -> PathBuf { root.join(name) };
    let (made, moved, hard, soft) = (path("made"), path("moved"), path("hard"), path("soft"));
    let (made_text, moved_text, hard_text, soft_text) = (text(&made), text(&moved), text(&hard), text(&soft));
    let mut ring = IoUring::new(4).unwrap();
    let here = types::Fd(libc::AT_FDCWD);

    let flags = libc::O_CREAT | libc::O_WRONLY;
    let fd = ask(&mut ring, &opcode::OpenAt::new(here, made_text.as_ptr()).flags(flags).mode(0o644).build());
    assert!(fd >= 0, "{fd}");
    assert_eq!(ask(&mut ring, &opcode::Write::new(types::Fd(fd), b"x".as_ptr(), 1).build()), 1);
    assert_eq!(ask(&mut ring, &opcode::Close::new(types::Fd(fd)).build()), 0);
    let request = opcode::RenameAt::new(here, made_text.as_ptr(), here, moved_text.as_ptr()).build();
    assert_eq!(ask(&mut ring, &request), 0);
    let request = opcode::LinkAt::new(here, moved_text.as_ptr(), here, hard_text.as_ptr()).build();
    assert_eq!(ask(&mut ring, &request), 0);
    assert_eq!(ask(&mut ring, &opcode::SymlinkAt::new(here, c"anywhere".as_ptr(), soft_text.as_ptr()).build()), 0);
    assert_eq!(ask(&mut ring, &opcode::UnlinkAt::new(here, hard_text.as_ptr()).build()), 0);
    let request = opcode::OpenAt::new(here, moved_text.as_ptr()).flags(libc::O_WRONLY | libc::O_TRUNC).build();
    let fd = ask(&mut ring, &request);
    // SAFETY: the kernel just gave us this descriptor and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });

    for (category, action, target, source) in [
        (Category::FileEvent, "create", &made, ""),
        (Category::FileRename, "rename", &moved, "made"),
        (Category::FileEvent, "link", &hard, "moved"),
        (Category::FileEvent, "symlink", &soft, "anywhere"),
        (Category::FileDelete, "unlink", &hard, ""),
        (Category::FileEvent, "overwrite", &moved, ""),
    ] {
        let event = file_event(&mut eyes, category, action, target);
        assert!(event.text(Field::SOURCE_FILENAME).ends_with(source), "{event:?}");
        assert_eq!(event.text(Field::PROVIDER_NAME), "io_uring", "{action} is marked as what was asked for");
    }
    let close = file_event(&mut eyes, Category::FileChange, "write_close", &made);
    assert_eq!(close.get(Field::PROVIDER_NAME), None, "closing an open file cannot fail");
}

#[test]
fn datagrams_that_io_uring_sends_and_connects_are_seen() {
    let Some(mut eyes) = eyes() else { return };
    let (peer, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let fd = types::Fd(socket.as_raw_fd());
    let mut ring = IoUring::new(4).unwrap();
    let raw = |socket: &UdpSocket| {
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!("IPv4 was bound") };
        libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
            sin_zero: [0; 8],
        }
    };
    let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let to = raw(&peer);
    let request = opcode::Send::new(fd, b"x".as_ptr(), 1).dest_addr((&raw const to).cast()).dest_addr_len(len).build();
    assert_eq!(ask(&mut ring, &request), 1);
    let to = raw(&other);
    assert_eq!(ask(&mut ring, &opcode::Connect::new(fd, (&raw const to).cast(), len).build()), 0);
    for (action, peer) in [("send", &peer), ("connect", &other)] {
        let event = datagram(&mut eyes, action, peer.local_addr().unwrap());
        assert_eq!(event.text(Field::PROVIDER_NAME), "io_uring");
    }
}

/// The 32-bit table, which a 64-bit program can call as well. Its pointers must lie below 4 GiB.
#[cfg(target_arch = "x86_64")]
mod compat {
    use std::arch::asm;
    use std::os::fd::AsRawFd;

    use super::*;

    const OPEN: u32 = 5;
    const RENAME: u32 = 38;
    const UNLINKAT: u32 = 301;
    const SOCKETCALL: u32 = 102;
    const SENDTO: u32 = 369;
    const SOCKETCALL_CONNECT: u32 = 3;

    /// Memory that a 32-bit pointer reaches, handed out from its start to its end.
    struct Low {
        base: *mut u8,
        used: usize,
    }

    impl Low {
        const BYTES: usize = 65_536;

        fn new() -> Self {
            let (read_write, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT);
            // SAFETY: new memory of its own, which stays until the test program ends.
            let base = unsafe { libc::mmap(std::ptr::null_mut(), Self::BYTES, read_write, flags, -1, 0) };
            assert_ne!(base, libc::MAP_FAILED);
            Self { base: base.cast(), used: 0 }
        }

        fn put(&mut self, bytes: &[u8]) -> u32 {
            assert!(self.used + bytes.len() <= Self::BYTES);
            // SAFETY: within the mapping, as just checked.
            let at = unsafe { self.base.add(self.used) };
            // SAFETY: as above; nothing else points there yet.
            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            self.used += bytes.len().next_multiple_of(8);
            u32::try_from(at as usize).unwrap()
        }

        fn path(&mut self, path: &Path) -> u32 {
            self.put(text(path).as_bytes_with_nul())
        }
    }

    /// `int $0x80`; none where the kernel has no 32-bit table.
    fn call(number: u32, args: [u32; 6]) -> Option<i32> {
        let mut frame = [u64::from(number), u64::from(args[0]), u64::from(args[5])];
        let result: i64;
        // SAFETY: the compiler keeps rbx and rbp for itself, so they are saved around the call; the kernel changes nothing
        // but rax and, in older versions, r8 to r11.
        unsafe {
            asm!(
                "push rbx", "push rbp",
                "mov rbx, [{frame} + 8]",
                "mov rbp, [{frame} + 16]",
                "mov eax, [{frame}]",
                "int 0x80",
                "pop rbp", "pop rbx",
                frame = in(reg) frame.as_mut_ptr(),
                in("ecx") args[1], in("edx") args[2], in("esi") args[3], in("edi") args[4],
                out("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        let result = result as i32;
        (result != -libc::ENOSYS).then_some(result)
    }

    #[test]
    fn what_a_program_does_through_the_32_bit_table_is_seen() {
        let Some(mut eyes) = eyes() else { return };
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (made, moved) = (root.join("made"), root.join("moved"));
        let mut low = Low::new();
        let (made_text, moved_text) = (low.path(&made), low.path(&moved));
        let flags = (libc::O_CREAT | libc::O_WRONLY) as u32;
        let Some(fd) = call(OPEN, [made_text, flags, 0o644, 0, 0, 0]) else {
            eprintln!("SKIPPED: this kernel has no 32-bit system calls");
            return;
        };
        assert!(fd >= 0, "{fd}");
        // SAFETY: the kernel just gave us this descriptor and nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        assert_eq!(call(RENAME, [made_text, moved_text, 0, 0, 0, 0]), Some(0));
        assert_eq!(call(UNLINKAT, [libc::AT_FDCWD as u32, moved_text, 0, 0, 0, 0]), Some(0));
        assert!(!fs::exists(&moved).unwrap());
        file_event(&mut eyes, Category::FileEvent, "create", &made);
        file_event(&mut eyes, Category::FileRename, "rename", &moved);
        file_event(&mut eyes, Category::FileDelete, "unlink", &moved);
    }

    #[test]
    fn datagrams_through_the_32_bit_table_are_seen() {
        let Some(mut eyes) = eyes() else { return };
        let (peer, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let fd = socket.as_raw_fd() as u32;
        let mut low = Low::new();
        let mut raw = |socket: &UdpSocket| {
            let mut bytes = [0; 16];
            bytes[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            bytes[2..4].copy_from_slice(&socket.local_addr().unwrap().port().to_be_bytes());
            bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
            low.put(&bytes)
        };
        let (to, further) = (raw(&peer), raw(&other));
        let letter = low.put(b"x");
        let Some(sent) = call(SENDTO, [fd, letter, 1, 0, to, 16]) else {
            eprintln!("SKIPPED: this kernel has no 32-bit system calls");
            return;
        };
        assert_eq!(sent, 1);
        let arguments: Vec<u8> = [fd, further, 16].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let arguments = low.put(&arguments);
        assert_eq!(call(SOCKETCALL, [SOCKETCALL_CONNECT, arguments, 0, 0, 0, 0]), Some(0));
        datagram(&mut eyes, "send", peer.local_addr().unwrap());
        datagram(&mut eyes, "connect", other.local_addr().unwrap());
    }
}
