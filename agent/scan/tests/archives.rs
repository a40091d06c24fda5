//! Archives that want to harm who opens them: every one ends within its budget, is named with a reason, never called clean,
//! and leaves the worker (or its successor) working.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use beffroi_scan::job::{Job, Report};
use beffroi_scan::{ArchiveLimits, Outcome, ScanOptions, Scanner};
use flate2::write::{DeflateEncoder, GzEncoder};
use rawzip::{CompressionMethod, ZipArchiveWriter};
use support::{Ear, Obedient, hear, options, over, start};

/// Not a test: what the child runs.
#[test]
#[ignore = "run by the tests as the scan worker"]
fn worker_entry() {
    support::work(|_| Ok(Obedient));
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, content) in members {
        let file = archive.new_file(*name).compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = file.start().unwrap();
        let mut writer = config.wrap(DeflateEncoder::new(&mut entry, flate2::Compression::fast()));
        writer.write_all(content).unwrap();
        let (encoder, descriptor) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Bytes that hardly get smaller.
fn noise(len: u32) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(at ^ 2_654_435_761).wrapping_mul(0x9E37_79B1) >> 24) as u8).collect()
}

struct Shelf {
    _dir: tempfile::TempDir,
    root: PathBuf,
    scanner: Scanner,
    limits: ArchiveLimits,
}

impl Shelf {
    fn new() -> Self {
        Self::with(ScanOptions { max_file_bytes: 32 << 20, ..options() })
    }

    fn with(options: ScanOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let limits = ArchiveLimits { depth: 4, entries: 2_000, bytes: 64 << 20, member_bytes: 16 << 20 };
        Self { _dir: dir, root, scanner: start(options), limits }
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.root.join(name), content).unwrap();
    }

    fn scan(&mut self) -> (Report, Ear) {
        let mut job: Job = over(&self.root);
        job.budgets.file_time = Duration::from_secs(20);
        job.budgets.archives = Some(self.limits);
        hear(&mut self.scanner, &job)
    }

    /// Scans one archive, which must be unknown for this reason; then the worker must still find evil.
    fn unknown(&mut self, content: &[u8], ending: &str, reason: &str) -> (Report, Ear) {
        self.put("archive", content);
        let pid = self.scanner.pid();
        let (report, ear) = self.scan();
        assert!(ear.reason(ending).contains(reason), "{ending}: {reason}: {:?}", ear.unknown);
        assert_eq!(report.counters.files_unknown, 1);
        assert_eq!(self.scanner.pid(), pid, "the worker died on it");
        self.put("archive", b"EVIL");
        assert_eq!(self.scan().1.matches(&self.root), ["archive"]);
        (report, ear)
    }
}

#[test]
fn members_are_scanned_as_files_of_their_own_however_the_archive_is_called() {
    let mut shelf = Shelf::new();
    let jar = zip(&[("org/A.class", b"EVIL"), ("org/B.class", b"good")]);
    let war = zip(&[("WEB-INF/lib/x.jar", &jar), ("index.jsp", b"good")]);
    shelf.put("app.war", &war);
    shelf.put("holiday.jpg", &zip(&[("wars/app.war", &war)]));
    shelf.put("backup.tar.gz", &gz(&tar(&[("./srv/app.war", &war), ("etc/notes", b"EVIL notes")])));
    shelf.put("plain.tar", &tar(&[("a", b"EVIL")]));
    shelf.put("log.gz", &gz(b"EVIL log"));
    let (report, ear) = shelf.scan();
    let mut found = ear.matches(&shelf.root);
    found.sort();
    assert_eq!(
        found,
        [
            "app.war!/WEB-INF/lib/x.jar!/org/A.class",
            "backup.tar.gz!/etc/notes",
            "backup.tar.gz!/srv/app.war!/WEB-INF/lib/x.jar!/org/A.class",
            "holiday.jpg!/wars/app.war!/WEB-INF/lib/x.jar!/org/A.class",
            "log.gz!/log",
            "plain.tar!/a",
        ]
    );
    assert_eq!((report.counters.files_scanned, report.counters.files_matched, report.counters.files_unknown), (5, 5, 0));
    assert_eq!(report.counters.entries_scanned, 4 + 5 + 6 + 1 + 1);
    let evil = ear.matched.iter().find(|found| found.path.ends_with(b"plain.tar!/a")).unwrap();
    assert_eq!(evil.sha256, Some(hex::encode(<sha2::Sha256 as sha2::Digest>::digest(b"EVIL"))));
    assert_eq!(evil.bytes, 4);
}

#[test]
fn a_jar_behind_a_start_script_is_opened() {
    let mut shelf = Shelf::new();
    let script = [b"#!/bin/sh\nexec java -jar \"$0\"\n".as_slice(), &zip(&[("A.class", b"EVIL")])].concat();
    shelf.put("service.jar", &script);
    assert_eq!(shelf.scan().1.matches(&shelf.root), ["service.jar!/A.class"]);
}

#[test]
fn an_archive_that_is_too_large_to_be_held_is_read_in_pieces() {
    let mut shelf = Shelf::with(ScanOptions { max_file_bytes: 1000, ..options() });
    shelf.put("large.war", &zip(&[("noise", &noise(200_000)), ("lib/x.jar", &zip(&[("A.class", b"EVIL")]))]));
    let (report, ear) = shelf.scan();
    assert_eq!(ear.matches(&shelf.root), ["large.war!/lib/x.jar!/A.class"]);
    assert!(ear.reason("large.war").contains("the limit is 1000"), "{:?}", ear.unknown);
    assert_eq!((report.counters.files_matched, report.counters.files_unknown), (1, 1));
}

#[test]
fn the_fifth_archive_stays_closed_and_is_named() {
    let mut nested = b"EVIL".to_vec();
    for depth in (1..=5).rev() {
        nested = zip(&[(&format!("d{depth}"), &nested)]);
    }
    let (report, ear) = Shelf::new().unknown(&nested, "archive!/d1!/d2!/d3!/d4", "4 deep");
    assert_eq!((ear.matched.len(), report.counters.entries_scanned), (0, 4));
    let mut nested = b"EVIL".to_vec();
    for depth in (1..=4).rev() {
        nested = zip(&[(&format!("d{depth}"), &nested)]);
    }
    let mut shelf = Shelf::new();
    shelf.put("archive", &nested);
    assert_eq!(shelf.scan().1.matches(&shelf.root), ["archive!/d1!/d2!/d3!/d4"]);
}

#[test]
fn a_single_file_is_scanned_with_its_members_when_the_options_say_so() {
    let limits = ArchiveLimits { entries: 100, bytes: 1 << 20, ..ArchiveLimits::default() };
    let mut open = Shelf::with(ScanOptions { archives: Some(limits), ..options() });
    open.put("app.jar", &zip(&[("A.class", b"EVIL"), ("B.class", b"good")]));
    open.put("good.jar", &zip(&[("B.class", b"good")]));
    open.put("large.zip", &zip(&[("zeros", &vec![0; 2 << 20])]));
    let (evil, good, large) = (open.root.join("app.jar"), open.root.join("good.jar"), open.root.join("large.zip"));
    for is_cached in [false, true] {
        let verdict = open.scanner.scan(&evil);
        let members: Vec<&[u8]> = verdict.members.iter().map(|member| member.inside.as_slice()).collect();
        assert_eq!((verdict.outcome, members, verdict.cached), (Outcome::Clean, vec![b"!/A.class".as_slice()], is_cached));
    }
    let verdict = open.scanner.scan(&good);
    assert_eq!((verdict.outcome, verdict.members), (Outcome::Clean, vec![]));
    let Outcome::Unknown { reason } = open.scanner.scan(&large).outcome else { panic!("a part of it is not known") };
    assert!(reason.starts_with("!/zeros: ") && reason.contains("1048576 unpacked bytes"), "{reason}");
    let mut closed = Shelf::with(options());
    closed.put("app.jar", &fs::read(&evil).unwrap());
    let verdict = closed.scanner.scan(&closed.root.join("app.jar"));
    assert_eq!((verdict.outcome, verdict.members), (Outcome::Clean, vec![]));
}

#[test]
fn a_zip_that_is_another_one_for_who_reads_it_from_its_beginning_is_unknown() {
    let (honest, other) = (zip(&[("readme", b"good")]), zip(&[("hidden", b"EVIL but hidden")]));
    // Two zips behind each other: the last directory counts, the first member is read by who begins at the beginning.
    Shelf::new().unknown(&[other.as_slice(), &honest].concat(), "archive", "a member at byte 0 that its directory does not name");
    let mut renamed = honest.clone();
    renamed[30..36].copy_from_slice(b"x.elf\n");
    Shelf::new().unknown(&renamed, "!/readme", "its own header calls it \"x.elf\\n\"");
    let mut method = honest.clone();
    method[8..10].copy_from_slice(&[0, 0]);
    Shelf::new().unknown(&method, "!/readme", "its own header says that it is");
    let mut shelf = Shelf::new();
    shelf.put("honest.zip", &honest);
    shelf.put("prefixed.zip", &[&[b'x'; 1_000], honest.as_slice()].concat());
    shelf.put("empty.zip", &zip(&[]));
    let (report, ear) = shelf.scan();
    assert_eq!((report.counters.files_unknown, report.counters.files_scanned), (0, 3), "{:?}", ear.unknown);
}

/// Changes a number in the directory record of the only member of a zip.
fn lie(zip: &mut [u8], offset: usize, value: &[u8]) {
    let record = zip.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    zip[record + offset..record + offset + value.len()].copy_from_slice(value);
}

#[test]
fn what_cannot_be_unpacked_is_unknown_with_its_reason() {
    let honest = zip(&[("m", b"some content that is long enough")]);
    let (stream, tape) = (gz(&noise(5_000)), gz(&tar(&[("a", &noise(5_000))])));
    let mut encrypted = honest.clone();
    lie(&mut encrypted, 8, &[1, 0]);
    let mut method = honest.clone();
    lie(&mut method, 10, &[93, 0]);
    let mut size = honest.clone();
    lie(&mut size, 24, &[3, 0, 0, 0]);
    let mut crc = honest.clone();
    lie(&mut crc, 16, &[1, 2, 3, 4]);
    let mut place = honest.clone();
    lie(&mut place, 42, &[255, 255, 0, 0]);
    for (archive, ending, reason) in [
        (encrypted.as_slice(), "!/m", "encrypted"),
        (&method, "!/m", "93 (ZSTD) is not known"),
        (&size, "!/m", "32 bytes, 3 were claimed"),
        (&crc, "!/m", "checksum differs"),
        (&place, "!/m", "damaged"),
        (&honest[..honest.len() - 30], "archive", "damaged"),
        (&stream[..3_000], "archive!/archive", "damaged"),
        (&tape[..3_000], "archive!/a", "damaged"),
        (&tar(&[("a", &[b'x'; 5000])])[..2000], "archive!/a", "ends before it does"),
        (b"7z\xbc\xaf\x27\x1c\0\x04.......", "archive", "7-Zip"),
        (b"Rar!\x1a\x07\x01\0......", "archive", "RAR"),
    ] {
        Shelf::new().unknown(archive, ending, reason);
    }
}

#[test]
fn what_can_be_read_of_a_damaged_member_is_still_judged() {
    let mut crc = zip(&[("m", b"EVIL but damaged")]);
    lie(&mut crc, 16, &[1, 2, 3, 4]);
    let (report, ear) = Shelf::new().unknown(&crc, "!/m", "checksum differs");
    assert_eq!((ear.matched.len(), report.counters.files_matched, &ear.matched[0].sha256), (1, 1, &None));
}

#[test]
fn members_that_share_their_bytes_end_at_the_budget() {
    // One member of 8 MiB that a directory names a thousand times: 8 GiB out of a few kilobytes.
    let honest = zip(&[("m", &vec![0; 8 << 20])]);
    let end = honest.len() - 22;
    let record = honest.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let mut bomb = honest[..record].to_vec();
    (0..1000).for_each(|_| bomb.extend_from_slice(&honest[record..end]));
    let mut last = honest[end..].to_vec();
    let size = ((end - record) * 1000) as u32;
    last[8..12].copy_from_slice(&[232, 3, 232, 3]);
    last[12..16].copy_from_slice(&size.to_le_bytes());
    bomb.extend_from_slice(&last);
    let began = Instant::now();
    let (report, _) = Shelf::new().unknown(&bomb, "!/m", "67108864 unpacked bytes");
    assert!(report.counters.bytes_scanned < 80 << 20 && began.elapsed() < Duration::from_secs(60));
}

#[test]
fn bombs_inside_of_bombs_end_at_the_budget() {
    let zeros = vec![0; 12 << 20];
    let mut layer = zip(&[("0", &zeros), ("1", &zeros)]);
    for _ in 0..3 {
        let members: Vec<String> = (0..16).map(|at| at.to_string()).collect();
        let members: Vec<(&str, &[u8])> = members.iter().map(|name| (name.as_str(), layer.as_slice())).collect();
        layer = zip(&members);
    }
    let (report, _) = Shelf::new().unknown(&layer, "", "unpacked bytes");
    assert!(report.counters.bytes_scanned < 80 << 20, "{:?}", report.counters);
}

#[test]
fn an_archive_of_too_many_members_ends_at_the_budget() {
    let names: Vec<String> = (0..3_000).map(|at| at.to_string()).collect();
    let members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"x".as_slice())).collect();
    let (report, _) = Shelf::new().unknown(&zip(&members), "archive", "2000 members");
    assert_eq!(report.counters.entries_scanned, 2_000);
    Shelf::new().unknown(&tar(&members), "archive", "2000 members");
}

#[test]
fn streams_that_never_seem_to_end_are_cut() {
    let zeros = vec![0; 100 << 20];
    // A gzip of one huge member, and a tar in a gzip whose member claims more than there will ever be.
    Shelf::new().unknown(&gz(&zeros), "!/archive", "more than 16777216 bytes");
    let mut header = tar::Header::new_gnu();
    header.set_path("huge").unwrap();
    header.set_size(7 << 30);
    header.set_cksum();
    let huge = [header.as_bytes().as_slice(), &zeros].concat();
    let (report, ear) = Shelf::new().unknown(&gz(&huge), "!/huge", "more than 16777216 bytes");
    assert!(ear.unknown.iter().any(|(path, why)| path.ends_with("archive") && why.contains("unpacked bytes")), "{ear:?}");
    assert!(report.counters.bytes_scanned < 80 << 20);
}

#[test]
fn a_member_that_outgrows_the_workers_memory_is_named_and_scanning_goes_on() {
    let mut shelf = Shelf::with(ScanOptions { memory_bytes: 96 << 20, ..options() });
    shelf.limits = ArchiveLimits { bytes: 1 << 40, member_bytes: 1 << 40, ..shelf.limits };
    shelf.put("bomb.gz", &gz(&vec![0; 300 << 20]));
    shelf.put("evil", b"EVIL");
    let (report, ear) = shelf.scan();
    assert!(ear.reason("bomb.gz!/bomb").contains("no memory"), "{:?}", ear.unknown);
    assert_eq!((ear.matches(&shelf.root), report.counters.files_unknown), (vec!["evil".to_string()], 1));
}

#[test]
fn an_endless_member_costs_the_worker_but_not_what_was_found_before() {
    let mut shelf = Shelf::new();
    shelf.put("app.jar", &zip(&[("a", b"EVIL"), ("b", b"ENDLESS"), ("c", b"EVIL")]));
    let mut job = over(&shelf.root);
    job.budgets.file_time = Duration::from_millis(300);
    let (report, ear) = hear(&mut shelf.scanner, &job);
    assert_eq!(ear.matches(&shelf.root), ["app.jar!/a"]);
    assert!(ear.reason("app.jar").contains("took longer"), "{:?}", ear.unknown);
    assert_eq!((report.counters.files_timed_out, report.counters.files_matched), (1, 1));
    shelf.put("app.jar", b"EVIL");
    assert_eq!(shelf.scan().1.matches(&shelf.root), ["app.jar"]);
}

#[test]
fn a_sparse_zip_of_a_tebibyte_is_read_at_its_end_only() {
    let mut shelf = Shelf::new();
    let small = zip(&[("A.class", b"EVIL")]);
    let file = File::create(shelf.root.join("sparse.zip")).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &small, (1 << 40) - small.len() as u64).unwrap();
    let began = Instant::now();
    let (report, ear) = shelf.scan();
    assert!(ear.reason("sparse.zip").contains("bytes, the limit is"), "{:?}", ear.unknown);
    assert_eq!((ear.matches(&shelf.root), report.counters.files_unknown), (vec!["sparse.zip!/A.class".to_string()], 1));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn links_devices_and_hostile_names_in_a_tar_are_data_only() {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, target) in [
        (tar::EntryType::Link, "hard", "/etc/shadow"),
        (tar::EntryType::Symlink, "soft", "/etc/shadow"),
        (tar::EntryType::Char, "device", "x"),
        (tar::EntryType::Fifo, "pipe", "x"),
        (tar::EntryType::Directory, "folder/", "x"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    }
    for name in [b"../../../etc/cron.d/x".as_slice(), b"/etc/\x1b[2J\xff", &[b'n'; 90]] {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_size(4);
        header.set_cksum();
        builder.append(&header, b"EVIL".as_slice()).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    builder.append_data(&mut header, "long/".repeat(60) + "x", b"EVIL".as_slice()).unwrap();
    let mut shelf = Shelf::new();
    shelf.put("archive", &builder.into_inner().unwrap());
    let (report, ear) = shelf.scan();
    let root = format!("{}/archive!/", shelf.root.display());
    let found: Vec<&[u8]> = ear.matched.iter().map(|found| &found.path[root.len()..]).collect();
    let long = "long/".repeat(60) + "x";
    assert_eq!(found, [b"../../../etc/cron.d/x".as_slice(), b"/etc/\x1b[2J\xff", &[b'n'; 90], long.as_bytes()]);
    assert_eq!((report.counters.files_unknown, ear.unknown.len()), (0, 0), "{:?}", ear.unknown);
    assert!(!PathBuf::from("/etc/cron.d/x").exists());
}

#[test]
fn random_bytes_behind_every_signature_never_cost_the_worker() {
    let mut shelf = Shelf::new();
    let pid = shelf.scanner.pid();
    let honest = zip(&[("a", b"some bytes"), ("b", &tar(&[("c", b"more bytes")]))]);
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..150 {
        let mut bytes = [honest.clone(), gz(&honest), tar(&[("z", &honest)])][round % 3].clone();
        for _ in 0..1 + round % 9 {
            let at = (next() % bytes.len() as u64) as usize;
            bytes[at] = next() as u8;
        }
        shelf.put(&format!("r{round}"), &bytes);
    }
    let (report, _) = shelf.scan();
    assert_eq!((report.counters.files_scanned, shelf.scanner.pid()), (150, pid));
}
