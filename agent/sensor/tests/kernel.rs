//! The probes by cause and effect: do something, wait for the event that must follow. Needs root and a kernel with BTF;
//! elsewhere each test says so and passes.

// A test that unwraps a failure fails, which is what it is for.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use beffroi_schema::batch::GapReason;
use beffroi_schema::ids::process_guid;
use beffroi_schema::{Category, Event, Field, Value};
use beffroi_sensor::boot_id;
use support::{AGENT, Eyes, by_me, eyes, eyes_with, is_exec, options, quiet};

#[test]
fn a_program_started_by_a_relative_path_is_named_by_its_real_path() {
    let Some(mut eyes) = eyes() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::copy("/bin/true", folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("alias")).unwrap();
    let mut child = quiet("./alias").current_dir(folder.path()).arg("one").arg("two words").spawn().unwrap();
    let pid = child.id();
    // Gone before anybody can look it up in /proc.
    child.wait().unwrap();
    fs::remove_file(folder.path().join("real")).unwrap();
    let event = eyes.find("the exec", |event| is_exec(event, pid));
    let real = folder.path().canonicalize().unwrap();
    assert_eq!(event.text(Field::IMAGE), real.join("real").to_str().unwrap());
    assert_eq!(event.text(Field::EXEC_PATH), "./alias");
    assert_eq!(event.text(Field::CURRENT_DIRECTORY), real.to_str().unwrap());
    assert_eq!(event.text(Field::COMMAND_LINE), "./alias one two words");
    let Some(Value::List(argv)) = event.get(Field::ARGV) else { panic!("no argv") };
    assert_eq!(argv.len(), 3);
    assert_eq!(event.text(Field::USER), "root");
    let exit = eyes.find("its end", |event| {
        event.logsource.category == Category::ProcessTermination && event.uint(Field::PROCESS_ID) == Some(u64::from(pid))
    });
    assert_eq!(exit.get(Field::EXIT_CODE), Some(&Value::Int(0)));
    assert_eq!(exit.get(Field::PROCESS_GUID), event.get(Field::PROCESS_GUID));
}

#[test]
fn a_program_that_is_only_in_memory_is_named_as_the_kernel_names_it() {
    let Some(mut eyes) = eyes() else { return };
    let memory = nix::sys::memfd::memfd_create(c"wiper", nix::sys::memfd::MFdFlags::empty()).unwrap();
    fs::File::from(memory.try_clone().unwrap()).write_all(&fs::read("/bin/sleep").unwrap()).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    let mut child = quiet(&path).arg("1000").spawn().unwrap();
    let pid = child.id();
    let event = eyes.find("the exec", |event| is_exec(event, pid));
    let shown = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(shown.to_str().unwrap(), "/memfd:wiper (deleted)");
    assert_eq!(event.text(Field::IMAGE), "/memfd:wiper");
    assert_eq!(event.text(Field::EXEC_PATH), path);
}

#[test]
fn an_argument_of_100_kib_arrives_whole_and_one_beyond_the_limit_is_marked() {
    let Some(mut eyes) = eyes() else { return };
    let long: String = (0..100 * 1024).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let mut child = quiet("/bin/true").arg(&long).spawn().unwrap();
    child.wait().unwrap();
    let event = eyes.find("the exec", |event| is_exec(event, child.id()));
    assert_eq!(event.text(Field::COMMAND_LINE), format!("/bin/true {long}"));
    assert_eq!(event.get(Field::TRUNCATED), None);
    let mut child = quiet("/bin/true").arg(&long).arg(&long).spawn().unwrap();
    child.wait().unwrap();
    let event = eyes.find("the longer exec", |event| is_exec(event, child.id()));
    assert_eq!(event.get(Field::TRUNCATED), Some(&Value::Bool(true)));
    assert!(event.text(Field::COMMAND_LINE).starts_with(&format!("/bin/true {long} abc")));
    assert!(eyes.counter("exec.oversized") >= 1);
}

#[test]
fn two_hundred_processes_that_end_at_once_are_all_seen_in_order() {
    let Some(mut eyes) = eyes() else { return };
    let pids: Vec<u32> = (0..200)
        .map(|_| {
            let mut child = quiet("/bin/true").spawn().unwrap();
            child.wait().unwrap();
            child.id()
        })
        .collect();
    let wanted: HashSet<u64> = pids.iter().map(|pid| u64::from(*pid)).collect();
    let seen = |eyes: &Eyes, category: Category| {
        let of = |event: &Event| (event.logsource.category == category).then(|| event.uint(Field::PROCESS_ID)).flatten();
        eyes.events.iter().filter_map(of).filter(|pid| wanted.contains(pid)).collect::<Vec<u64>>()
    };
    eyes.until("200 ends", |eyes| seen(eyes, Category::ProcessTermination).len() == 200);
    assert_eq!(seen(&eyes, Category::ProcessCreation), pids.iter().map(|pid| u64::from(*pid)).collect::<Vec<_>>());
    assert!(eyes.events.windows(2).all(|pair| pair[0].ts <= pair[1].ts), "events must come in order of time");
    for event in eyes.events.iter().filter(|event| is_exec(event, pids[0])) {
        assert_eq!(event.text(Field::IMAGE), fs::canonicalize("/bin/true").unwrap().to_str().unwrap());
    }
}

#[test]
fn parent_and_ancestors_are_right_and_masked() {
    let Some(mut eyes) = eyes() else { return };
    // `; true` keeps each shell from replacing itself.
    let script = "sh -c 'env --version; true' --password hunter2; true";
    let mut child = quiet("/bin/sh").args(["-c", script]).spawn().unwrap();
    child.wait().unwrap();
    let event = eyes.find("env", |event| {
        event.text(Field::COMMAND_LINE) == "env --version" && event.text(Field::ANCESTOR_COMMAND_LINES).contains("***")
    });
    let shell = fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(event.text(Field::PARENT_IMAGE), shell.to_str().unwrap());
    assert!(event.text(Field::PARENT_COMMAND_LINE).ends_with("--password ***"), "{}", event.text(Field::PARENT_COMMAND_LINE));
    let Some(Value::List(images)) = event.get(Field::ANCESTOR_IMAGES) else { panic!("no ancestors") };
    let me = std::env::current_exe().unwrap();
    assert_eq!(images[2], me.to_str().unwrap().as_bytes().into(), "the third is this test");
    for event in &eyes.events {
        assert!(!format!("{:?}", event.to_json()).contains("hunter2"), "{event:?}");
    }
    let Some(Value::List(guids)) = event.get(Field::ANCESTOR_GUIDS) else { panic!("no ancestor ids") };
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let mine = process_guid(AGENT, &boot_id().unwrap(), std::process::id(), ticks).to_string();
    assert_eq!(guids[2], mine.as_bytes().into(), "/proc and probes give the same id");
}

#[test]
fn a_second_exec_of_one_process_keeps_its_id_and_counts_on() {
    let Some(mut eyes) = eyes() else { return };
    let mut child = quiet("/bin/sh").args(["-c", "exec sleep 0"]).spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    eyes.until("both execs", |eyes| eyes.events.iter().filter(|event| is_exec(event, pid)).count() == 2);
    let execs: Vec<&Event> = eyes.events.iter().filter(|event| is_exec(event, pid)).collect();
    assert_eq!(execs[0].get(Field::PROCESS_GUID), execs[1].get(Field::PROCESS_GUID));
    assert_eq!((execs[0].uint(Field::EXEC_SEQ), execs[1].uint(Field::EXEC_SEQ)), (Some(1), Some(2)));
}

#[test]
fn the_user_of_a_process_is_named_and_a_signal_is_its_end() {
    let Some(mut eyes) = eyes() else { return };
    let mut child = quiet("/bin/sleep").arg("1000").uid(65_534).gid(65_534).spawn().unwrap();
    let pid = child.id();
    let event = eyes.find("the exec", |event| is_exec(event, pid));
    assert_eq!(event.text(Field::USER), "nobody");
    assert_eq!(event.uint(Field::UID), Some(65_534));
    child.kill().unwrap();
    child.wait().unwrap();
    let exit = eyes.find("its end", |event| {
        event.logsource.category == Category::ProcessTermination && event.uint(Field::PROCESS_ID) == Some(u64::from(pid))
    });
    assert_eq!(exit.get(Field::EXIT_CODE), Some(&Value::Int(-9)));
    assert!(exit.uint(Field::DURATION_US).is_some_and(|us| us > 0 && us < 60_000_000));
}

#[test]
fn file_events_have_absolute_paths_whatever_the_caller_gave() {
    let Some(mut eyes) = eyes() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    fs::create_dir(root.join("sub")).unwrap();
    let dir = fs::File::open(root.join("sub")).unwrap();
    let flags = nix::fcntl::OFlag::O_CREAT | nix::fcntl::OFlag::O_WRONLY;
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o644);
    let file = nix::fcntl::openat(&dir, "../sub/./new", flags, mode).unwrap();
    nix::unistd::write(file.as_fd(), b"x").unwrap();
    drop(file);
    nix::fcntl::renameat(&dir, "new", &dir, "../moved").unwrap();
    nix::unistd::linkat(&dir, "../moved", &dir, "hard", nix::fcntl::AtFlags::empty()).unwrap();
    nix::unistd::symlinkat("anywhere", &dir, "soft").unwrap();
    nix::unistd::unlinkat(&dir, "hard", nix::unistd::UnlinkatFlags::NoRemoveDir).unwrap();
    fs::write(root.join("moved"), b"again").unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let cases = [
        (Category::FileEvent, "create", path("sub/new"), ""),
        (Category::FileChange, "write_close", path("sub/new"), ""),
        (Category::FileRename, "rename", path("moved"), "sub/new"),
        (Category::FileEvent, "link", path("sub/hard"), "moved"),
        (Category::FileEvent, "symlink", path("sub/soft"), "anywhere"),
        (Category::FileDelete, "unlink", path("sub/hard"), ""),
        (Category::FileEvent, "overwrite", path("moved"), ""),
        (Category::FileChange, "write_close", path("moved"), ""),
    ];
    for (category, action, target, source) in cases {
        let event = eyes.find(action, |event| {
            by_me(event, category) && event.text(Field::ACTION) == action && event.text(Field::TARGET_FILENAME) == target
        });
        assert!(event.text(Field::SOURCE_FILENAME).ends_with(source), "{event:?}");
        assert_eq!(event.text(Field::IMAGE), std::env::current_exe().unwrap().to_str().unwrap());
    }
}

#[test]
fn opening_what_exists_is_no_creation_and_reading_is_no_change() {
    let Some(mut eyes) = eyes() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("there");
    fs::write(&path, b"x").unwrap();
    let mut append = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
    append.write_all(b"y").unwrap();
    drop(append);
    fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    eyes.find("the removal", |event| by_me(event, Category::FileDelete) && event.text(Field::ACTION) == "unlink");
    let of = |category| {
        let path = path.canonicalize().unwrap_or_else(|_| folder.path().canonicalize().unwrap().join("there"));
        let here = |event: &&Event| by_me(event, category) && event.text(Field::TARGET_FILENAME) == path.to_str().unwrap();
        eyes.events.iter().filter(here).count()
    };
    assert_eq!(of(Category::FileEvent), 1, "only the first open creates");
    assert_eq!(of(Category::FileChange), 2, "two closes after writing, none after reading");
}

#[test]
fn a_redirection_of_a_shell_is_a_change_once_it_is_written() {
    let Some(mut eyes) = eyes() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    // The file is closed by a duplicated descriptor here, and by the end of the process there.
    let script = "echo a > one; exec > two; echo b";
    quiet("/bin/sh").args(["-c", script]).current_dir(&root).status().unwrap();
    for name in ["one", "two"] {
        let path = root.join(name);
        eyes.find(name, |event| {
            event.logsource.category == Category::FileChange && event.text(Field::TARGET_FILENAME) == path.to_str().unwrap()
        });
    }
}

fn connection(eyes: &mut Eyes, what: &str, initiated: bool, ip: &str, port: u16) -> Event {
    eyes.find(what, |event| {
        by_me(event, Category::NetworkConnection)
            && event.get(Field::INITIATED) == Some(&Value::Bool(initiated))
            && event.text(Field::DESTINATION_IP) == ip
            && event.uint(Field::DESTINATION_PORT) == Some(u64::from(port))
    })
}

#[test]
fn tcp_is_seen_on_both_sides_with_both_families() {
    let Some(mut eyes) = eyes() else { return };
    for (bind, to, ip) in
        [("127.0.0.1:0", "127.0.0.1", "127.0.0.1"), ("[::1]:0", "::1", "::1"), ("[::]:0", "127.0.0.1", "127.0.0.1")]
    {
        let listener = TcpListener::bind(bind).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((to, port)).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let source = u64::from(client.local_addr().unwrap().port());
        for initiated in [true, false] {
            let event = connection(&mut eyes, bind, initiated, ip, port);
            assert_eq!(event.text(Field::SOURCE_IP), ip);
            assert_eq!(event.uint(Field::SOURCE_PORT), Some(source), "initiated {initiated}");
            assert_eq!(event.text(Field::PROTOCOL), "tcp");
        }
        let listen = eyes.find("the listener", |event| {
            by_me(event, Category::NetworkListen) && event.uint(Field::SOURCE_PORT) == Some(u64::from(port))
        });
        assert_eq!(listen.text(Field::ACTION), "listen");
    }
}

#[test]
fn a_refused_connection_and_udp_are_seen() {
    let Some(mut eyes) = eyes() else { return };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    TcpStream::connect(("127.0.0.1", closed)).unwrap_err();
    let event = connection(&mut eyes, "the refused connection", true, "127.0.0.1", closed);
    assert_eq!(event.text(Field::ACTION), "connect_failed");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = peer.local_addr().unwrap().port();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    let event = connection(&mut eyes, "the datagram socket", true, "127.0.0.1", port);
    assert_eq!(event.text(Field::PROTOCOL), "udp");
    eyes.find("the bound socket", |event| {
        by_me(event, Category::NetworkListen) && event.uint(Field::SOURCE_PORT) == Some(u64::from(port))
    });
}

#[test]
fn a_full_ring_loses_nothing_silently() {
    let mut tiny = options();
    tiny.process_ring_bytes = 4_096;
    let Some(mut eyes) = eyes_with(tiny) else { return };
    let pids: Vec<u32> = (0..300)
        .map(|_| {
            let mut child = quiet("/bin/true").spawn().unwrap();
            child.wait().unwrap();
            child.id()
        })
        .collect();
    eyes.until("the gaps", |eyes| {
        let declared: u64 = eyes.gaps.iter().filter(|gap| gap.hook == "exec").filter_map(|gap| gap.count).sum();
        declared > 0 && declared == eyes.counter("exec.dropped")
    });
    eyes.poll();
    let delivered = eyes.events.iter().filter(|event| event.logsource.category == Category::ProcessCreation).count() as u64;
    let (seen, submitted, dropped) = (eyes.counter("exec.seen"), eyes.counter("exec.submitted"), eyes.counter("exec.dropped"));
    assert_eq!(seen, submitted + dropped);
    assert_eq!(delivered, submitted, "what is in the ring is delivered");
    assert!(seen >= pids.len() as u64 && dropped > 0);
    let gap = eyes.gaps.iter().find(|gap| gap.hook == "exec").unwrap();
    assert_eq!(gap.reason, GapReason::KernelDrop);
    assert!(gap.from < gap.to);
}

#[test]
fn excluded_processes_are_counted_and_not_reported() {
    let mut without_me = options();
    without_me.exclude_tgids = vec![std::process::id()];
    let Some(mut eyes) = eyes_with(without_me) else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), b"x").unwrap();
    let mut child = quiet("/bin/touch").arg(folder.path().join("its")).spawn().unwrap();
    child.wait().unwrap();
    eyes.find("the child's file", |event| event.text(Field::TARGET_FILENAME).ends_with("/its"));
    assert!(!eyes.events.iter().any(|event| event.uint(Field::PROCESS_ID) == Some(u64::from(std::process::id()))));
    assert!(eyes.counter("file_open.excluded") > 0);
    assert!(eyes.events.iter().any(|event| is_exec(event, child.id())), "only the process itself is left out");
}

#[test]
fn every_hook_of_this_kernel_is_on() {
    let Some(eyes) = eyes() else { return };
    for hook in eyes.sensor.as_ref().unwrap().hooks() {
        assert!(hook.on, "{}: {}", hook.name, hook.why);
    }
}

#[test]
fn an_event_is_handed_over_within_a_fraction_of_a_second() {
    let Some(mut eyes) = eyes() else { return };
    eyes.poll();
    let before = Instant::now();
    let mut child = quiet("/bin/true").spawn().unwrap();
    let pid = child.id();
    eyes.find("the exec", |event| is_exec(event, pid));
    let took = before.elapsed();
    child.wait().unwrap();
    // The promise is 20 ms on a quiet host; a loaded test machine gets ten times that.
    assert!(took < Duration::from_millis(200), "{took:?}");
}
