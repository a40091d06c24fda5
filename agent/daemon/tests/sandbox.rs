//! The sensor under the system call filter of its unit's `RestrictSUIDSGID=`: it starts on the folders that the package
//! makes, and says what is wrong with others.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use beffroi_agent::layout::{Layout, read_json};
use beffroi_agent::status::SensorStatus;
use beffroi_schema::Stream;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};
use support::{FakeGateway, until};

const SETGID: u64 = 0o2000;
const SETUID: u64 = 0o4000;

/// What systemd installs for `RestrictSUIDSGID=yes`: calls that would set either bit are refused.
fn filter() -> BpfProgram {
    // The call, and which of its arguments is a mode.
    let mut calls = vec![
        (libc::SYS_fchmod, 1),
        (libc::SYS_fchmodat, 2),
        (libc::SYS_fchmodat2, 2),
        (libc::SYS_mkdirat, 2),
        (libc::SYS_mknodat, 2),
        (libc::SYS_openat, 3),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([(libc::SYS_chmod, 1), (libc::SYS_mkdir, 1), (libc::SYS_mknod, 1), (libc::SYS_creat, 1), (libc::SYS_open, 2)]);
    let rules = calls.into_iter().map(|(call, mode)| {
        let has = |bit| SeccompCondition::new(mode, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bit), bit).unwrap();
        (call, [SETGID, SETUID].map(|bit| SeccompRule::new(vec![has(bit)]).unwrap()).into())
    });
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(rules.collect(), SeccompAction::Allow, refuse, arch).unwrap().try_into().unwrap()
}

/// The sensor, killed when the test ends early.
struct Sensor(Child);

impl Drop for Sensor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn confined(state: &Path) -> Command {
    let config = state.with_extension("toml");
    // A scan of /proc needs no privilege, so that this test runs everywhere.
    std::fs::write(&config, "[sensor]\nsource = \"scan\"\n[scan]\nenabled = false\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_beffroi-agent"));
    command.arg("--config").arg(config).arg("--state").arg(state).arg("sensor").stdin(Stdio::null()).stderr(Stdio::piped());
    let filter = filter();
    // SAFETY: the program was made before the fork; applying it is two system calls on memory that is there.
    unsafe { command.pre_exec(move || apply_filter(&filter).map_err(std::io::Error::other)) };
    command
}

/// An enrolled host whose folders are those of tmpfiles.d, which are also those that the enrolment makes.
async fn enrolled() -> (tempfile::TempDir, Layout) {
    let gateway = FakeGateway::start("CA").await;
    let dir = tempfile::tempdir().unwrap();
    let (layout, _) = gateway.enrol(&dir.path().join("state")).await;
    (dir, layout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_may_not_set_the_group_bit_works_on_the_packages_folders() {
    let (_dir, layout) = enrolled().await;
    assert_eq!(std::fs::metadata(layout.spool(Stream::Exec)).unwrap().permissions().mode() & 0o7777, 0o2750);
    let _sensor = Sensor(confined(layout.root()).spawn().unwrap());
    let alive = || read_json::<SensorStatus>(&layout.sensor_status()).ok().flatten().filter(|status| status.running);
    until("the sensor", || alive().filter(|status| status.streams.iter().any(|stream| stream.last_seq > 0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_the_group_bit_is_named_with_what_to_do() {
    let (_dir, layout) = enrolled().await;
    let spool = layout.spool(Stream::File);
    std::fs::set_permissions(&spool, PermissionsExt::from_mode(0o750)).unwrap();
    let ended = confined(layout.root()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success());
    for part in [spool.to_str().unwrap(), "has mode 0750", "must have 2750", "systemd-tmpfiles --create"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}
