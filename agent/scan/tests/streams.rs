//! Compressed streams: what is in them is judged, and one that asks for too much is named and costs nobody anything.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::path::PathBuf;

use beffroi_scan::{ArchiveLimits, ScanOptions, Scanner};
use support::{Ear, Obedient, hear, options, over, start};

/// `printf 'EVIL module' | xz --check=crc32 --lzma2=dict=1MiB`, as kernel modules are packed.
const XZ_MODULE: &str = "fd377a585a0000016922de360200210110000000a8708e8601000a4556494c206d6f64756c650000a72eca0600011f0b3d620e7a\
                         9042990d010000000001595a";
/// `printf 'EVIL' | xz --x86 --lzma2`
const XZ_X86: &str = "fd377a585a000004e6d6b44602010400210116000d86351f0100034556494c00b2fc1163ba1d4f3700011c046f2c9cc11fb6f37d0\
                      10000000004595a";
/// `printf 'EVIL' | xz --lzma2=dict=1GiB`
const XZ_GREEDY: &str = "fd377a585a000004e6d6b44602002101240000005e1fc7f90100034556494c00b2fc1163ba1d4f3700011c046f2c9cc11fb6f37d0\
                         10000000004595a";

/// Not a test: what the child runs.
#[test]
#[ignore = "run by the tests as the scan worker"]
fn worker_entry() {
    support::work(|_| Ok(Obedient));
}

struct Shelf {
    _dir: tempfile::TempDir,
    root: PathBuf,
    scanner: Scanner,
}

impl Shelf {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        Self { _dir: dir, root, scanner: start(ScanOptions { memory_bytes: 512 << 20, ..options() }) }
    }

    fn put(&self, name: &str, content: &[u8]) {
        std::fs::write(self.root.join(name), content).unwrap();
    }

    fn scan(&mut self) -> Ear {
        let mut job = over(&self.root);
        job.budgets.file_time = std::time::Duration::from_secs(20);
        job.budgets.archives = Some(ArchiveLimits { bytes: 64 << 20, member_bytes: 16 << 20, ..ArchiveLimits::default() });
        hear(&mut self.scanner, &job).1
    }
}

fn zst(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 3).unwrap()
}

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn what_is_in_xz_and_zstandard_is_judged() {
    let mut shelf = Shelf::new();
    shelf.put("module.ko.xz", &hex::decode(XZ_MODULE).unwrap());
    shelf.put("two.xz", &[hex::decode(XZ_X86).unwrap(), hex::decode(XZ_MODULE).unwrap()].concat());
    shelf.put("module.ko.zst", &zst(b"EVIL module"));
    shelf.put("backup.tar.zst", &zst(&tar("etc/notes", b"EVIL notes")));
    shelf.put("good.zst", &zst(b"good"));
    let ear = shelf.scan();
    let mut found = ear.matches(&shelf.root);
    found.sort();
    assert_eq!(found, ["backup.tar.zst!/etc/notes", "module.ko.xz!/module.ko", "module.ko.zst!/module.ko", "two.xz!/two"]);
    assert!(ear.unknown.is_empty(), "{:?}", ear.unknown);
    let two = ear.matched.iter().find(|found| found.path.ends_with(b"two.xz!/two")).unwrap();
    assert_eq!(two.bytes, 15, "a stream behind a stream belongs to it");
}

#[test]
fn a_stream_that_asks_for_too_much_or_is_cut_is_unknown_and_the_worker_lives() {
    let mut shelf = Shelf::new();
    let pid = shelf.scanner.pid();
    // Window descriptor 0xf0: 2^40 bytes.
    let greedy = [b"\x28\xb5\x2f\xfd\x00\xf0".as_slice(), &[0x21, 0, 0, b'E', b'V', b'I', b'L']].concat();
    shelf.put("greedy.zst", &greedy);
    shelf.put("greedy.xz", &hex::decode(XZ_GREEDY).unwrap());
    shelf.put("bomb.zst", &zst(&vec![0; 100 << 20]));
    let cut = zst(&(0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    shelf.put("cut.zst", &cut[..cut.len() / 2]);
    shelf.put("cut.xz", &hex::decode(XZ_MODULE).unwrap()[..30]);
    shelf.put("evil", b"EVIL");
    let ear = shelf.scan();
    assert_eq!(ear.matches(&shelf.root), ["evil"]);
    for (ending, reason) in [
        ("greedy.zst!/greedy", "damaged"),
        ("greedy.xz!/greedy", "too big for mem_limit"),
        ("bomb.zst!/bomb", "more than 16777216 bytes"),
        ("cut.zst!/cut", "damaged"),
        ("cut.xz!/cut", "damaged"),
    ] {
        assert!(ear.reason(ending).contains(reason), "{ending}: {:?}", ear.unknown);
    }
    assert_eq!(shelf.scanner.pid(), pid, "the worker died on one of them");
}
