//! An embedded bus whose disk is really full: a small tmpfs of its own (root only; said on stderr otherwise).

use std::path::Path;
use std::process::Command;

use beffroi_bus::{Bus, BusOptions, EmbeddedOptions, Outgoing, Topic};

use crate::harness::read;

/// Size of the disk before and after somebody made room.
const SMALL: &str = "4m";
const LARGE: &str = "32m";
/// Not compressible and large, so that the disk is full soon.
const RECORD_BYTES: usize = 100_000;

/// A mounted tmpfs, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user or this container may not mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("folder");
        let mounted = mount(&format!("size={SMALL}"), folder.path());
        if !mounted {
            eprintln!("SKIPPED: mounting a tmpfs is not permitted here, a full disk was NOT tested");
        }
        mounted.then(|| Self(folder))
    }

    fn make_room(&self) {
        assert!(mount(&format!("remount,size={LARGE}"), self.0.path()), "the disk cannot be made larger");
    }
}

fn mount(options: &str, on: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(on);
    mount.output().is_ok_and(|output| output.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the bus may still close its files.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_with_advice_loses_nothing_and_is_no_end() {
    let Some(disk) = SmallDisk::mount() else { return };
    let options = EmbeddedOptions { dir: disk.0.path().join("bus"), partitions: 1, ..Default::default() };
    let bus = Bus::open(BusOptions::Embedded(options)).await.expect("opens");
    let publish = async |number: usize| bus.publish(Topic::Events, Outgoing::new("key", vec![number as u8; RECORD_BYTES])).await;
    let mut taken = Vec::new();
    let refused = loop {
        match publish(taken.len()).await {
            Ok(position) => taken.push(position.offset),
            Err(error) => break error,
        }
        assert!(taken.len() < 1_000, "the disk is never full");
    };
    assert!(taken.len() > 5 && refused.is_retryable(), "{} were taken, then: {refused}", taken.len());
    assert!(refused.to_string().contains("free disk space"), "{refused}");
    assert!(publish(0).await.is_err(), "a full disk stays full");
    disk.make_room();
    for _ in 0..3 {
        taken.push(publish(taken.len()).await.expect("there is room again").offset);
    }
    let mut consumer = bus.subscribe(Topic::Events, "all").await.expect("subscribes");
    let records = read(&mut consumer, taken.len()).await;
    let found: Vec<i64> = records.iter().map(|record| record.offset).collect();
    assert_eq!(found, taken, "what was acknowledged is there, once");
    assert!(records.iter().enumerate().all(|(number, record)| record.value == vec![number as u8; RECORD_BYTES]));
    drop(consumer);
    bus.close().await;
}
