//! A writer in another process, killed in mid-stream, and a reader that tails it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use beffroi_log::{LogReader, LogWriter, Options, Read};

/// Names the folder; its presence makes this test binary the writer.
const DIR_VARIABLE: &str = "BEFFROI_LOG_TEST_DIR";
/// Longer than any of this takes; a hang fails instead of blocking the build.
const DEADLINE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options { segment_bytes: 64 * 1024, max_record_bytes: 4096, max_bytes: u64::MAX, ..Options::default() }
}

fn payload(offset: u64) -> Vec<u8> {
    (0..(offset * 13 % 900)).map(|i| (offset ^ i) as u8).collect()
}

/// Runs as a child process only: appends groups for ever and says after each sync how far it is.
#[test]
fn writer_process() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let (mut writer, _) = LogWriter::open(dir, options()).expect("open");
    loop {
        let next = writer.next_offset();
        writer.append_batch(0, (next..next + 16).map(payload)).expect("append");
        writer.append(0, &payload(next + 16)).expect("append");
        writer.sync().expect("sync");
        println!("synced {}", writer.synced_offset());
    }
}

fn start_writer(dir: &Path) -> Child {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", "writer_process", "--nocapture"]).env(DIR_VARIABLE, dir).stdout(Stdio::piped());
    command.spawn().expect("start the writer")
}

/// Reads what is there now, in order and with the right content.
fn read_on(reader: &mut LogReader, next: &mut u64) {
    while let Some(read) = reader.next().expect("read") {
        let Read::Record(record) = read else { panic!("only records expected, not {read:?}") };
        assert_eq!(record.offset, *next);
        assert_eq!(record.payload, payload(*next), "offset {next}");
        *next += 1;
    }
}

#[test]
fn a_reader_gets_every_synced_record_once_although_the_writer_is_killed_again_and_again() {
    let dir = tempfile::tempdir().expect("folder");
    let mut reader = LogReader::open(dir.path()).expect("reader");
    let (mut next, start) = (0, Instant::now());
    for round in 1..=5 {
        let mut writer = start_writer(dir.path());
        let lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        let said = |line: std::io::Result<String>| line.ok()?.strip_prefix("synced ")?.parse::<u64>().ok();
        let mut promised = 0;
        for synced in lines.filter_map(said) {
            promised = synced;
            read_on(&mut reader, &mut next);
            assert!(next >= promised, "{promised} were synced, {next} could be read");
            if promised >= round * 2000 {
                break;
            }
            assert!(start.elapsed() < DEADLINE, "the writer is too slow");
        }
        writer.kill().expect("kill");
        writer.wait().expect("wait");
        assert!(promised >= round * 2000, "the writer ended by itself");
        read_on(&mut reader, &mut next);
    }
    let (mut writer, recovery) = LogWriter::open(dir.path(), options()).expect("open");
    assert_eq!(recovery.damaged, []);
    writer.sync().expect("sync");
    read_on(&mut reader, &mut next);
    assert_eq!(next, writer.next_offset());
}

#[test]
fn a_reader_thread_keeps_up_with_a_writer_that_evicts_under_it() {
    let dir = tempfile::tempdir().expect("folder");
    let (mut writer, _) = LogWriter::open(dir.path(), Options { segment_bytes: 4096, ..options() }).expect("open");
    const END: u64 = 6000;
    let path = dir.path().to_path_buf();
    let reading = std::thread::spawn(move || {
        let (mut reader, mut next, start) = (LogReader::open(path).expect("reader"), 0, Instant::now());
        while next < END {
            match reader.next().expect("read") {
                Some(Read::Record(record)) => {
                    assert!(record.offset >= next, "{} after {next}", record.offset);
                    let is_gap = &record.payload[..] == b"gap";
                    assert!(is_gap || record.payload == payload(record.offset), "offset {}", record.offset);
                    next = record.offset + 1;
                }
                Some(Read::Skipped(skipped)) => assert!(skipped.resumed_at > skipped.expected),
                Some(Read::Damaged(range)) => panic!("damage {range:?}"),
                None => std::thread::yield_now(),
            }
            assert!(start.elapsed() < DEADLINE, "stuck at {next}");
        }
        next
    });
    for offset in 0..END {
        writer.append(0, &payload(offset)).expect("append");
        if offset % 8 == 7 {
            writer.sync().expect("sync");
        }
        if offset % 40 == 39 && writer.segments().len() > 3 {
            let upto = writer.oldest_segment_range().expect("old segments").last;
            let gap = beffroi_log::Replacement { offset: upto, timestamp: 0, payload: b"gap" };
            writer.replace_oldest(upto, &[gap]).expect("replace");
        }
    }
    writer.sync().expect("sync");
    assert_eq!(reading.join().expect("reader"), END);
}
