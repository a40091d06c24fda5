//! The log against a model: random actions, crashes and damage; whatever was promised must still be there.
//!
//! A crash is simulated on the files: what a sync had covered stays, everything behind it becomes a random prefix,
//! possibly followed by noise, and the unsynced state file may be any older one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use beffroi_log::{DamagedRange, LogReader, LogWriter, Options, Read, Recovery, Replacement, SyncPolicy, Verify};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Action {
    Append(Vec<u16>),
    Sync,
    Roll,
    /// Evicts the oldest part, or everything up to this share (of 255) of the offsets.
    Replace(Option<u8>),
    DropBefore(u8),
    Retain(u8),
    Reopen,
    /// Share of the unsynced bytes that survives, noise behind them, and whether the state file falls back.
    Crash(u8, u8, bool),
    /// Flips a bit at this share of a segment's bytes.
    Flip(u8, u16),
    /// The tailing reader reads up to this many records.
    Read(u8),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => proptest::collection::vec(0u16..400, 0..6).prop_map(Action::Append),
        4 => Just(Action::Sync),
        1 => Just(Action::Roll),
        2 => proptest::option::of(any::<u8>()).prop_map(Action::Replace),
        1 => any::<u8>().prop_map(Action::DropBefore),
        1 => any::<u8>().prop_map(Action::Retain),
        1 => Just(Action::Reopen),
        2 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(a, b, c)| Action::Crash(a, b, c)),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(a, b)| Action::Flip(a, b)),
        4 => any::<u8>().prop_map(Action::Read),
    ]
}

fn options() -> Options {
    Options {
        segment_bytes: 1500,
        max_record_bytes: 1000,
        max_bytes: u64::MAX,
        sync: SyncPolicy::Manual,
        verify: Verify::Everything,
        ..Options::default()
    }
}

/// A folder in memory where there is one: thousands of syncs would only test the patience of the disk.
fn fast_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("folder")
}

/// Payloads differ from offset to offset and from attempt to attempt, so that no stale byte goes unnoticed.
fn payload(offset: u64, length: u16, attempt: u64) -> Vec<u8> {
    (0..u64::from(length)).map(|i| (offset.wrapping_mul(31) ^ attempt.wrapping_mul(77) ^ i) as u8).collect()
}

struct Model {
    dir: tempfile::TempDir,
    writer: Option<LogWriter>,
    reader: LogReader,
    /// Where the tailing reader must go on.
    tail: u64,
    /// Durable records that no damage has touched.
    durable: BTreeMap<u64, Vec<u8>>,
    /// Appended since the last sync.
    unsynced: BTreeMap<u64, Vec<u8>>,
    /// Records that a flipped bit may have cost.
    at_risk: BTreeMap<u64, Vec<u8>>,
    next: u64,
    attempt: u64,
    old_state: Vec<u8>,
}

impl Model {
    fn new() -> Self {
        let dir = fast_folder();
        let (writer, _) = LogWriter::open(dir.path(), options()).expect("open");
        let reader = LogReader::open(dir.path()).expect("reader");
        let old_state = fs::read(dir.path().join("log.state")).expect("state");
        let writer = Some(writer);
        let (durable, unsynced, at_risk) = Default::default();
        Self { dir, writer, reader, tail: 0, durable, unsynced, at_risk, next: 0, attempt: 0, old_state }
    }

    fn writer(&mut self) -> &mut LogWriter {
        self.writer.as_mut().expect("open between actions")
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Append(lengths) => self.append(&lengths),
            Action::Sync => self.sync(),
            Action::Roll => {
                self.writer().roll().expect("roll");
                self.synced();
            }
            Action::Replace(share) => self.replace(share),
            Action::DropBefore(share) => {
                let offset = self.offset_at(share);
                self.writer().drop_before(offset).expect("drop");
                self.forget_below_first();
            }
            Action::Retain(share) => self.retain(share),
            Action::Reopen => {
                self.writer.take().expect("open").close().expect("close");
                self.synced();
                let recovery = self.open();
                assert_eq!((recovery.truncated_bytes, recovery.state_rebuilt), (0, false));
            }
            Action::Crash(survives, noise, old_state) => self.crash(survives, noise, old_state),
            Action::Flip(share, bit) => self.flip(share, bit),
            Action::Read(count) => self.read_tail(usize::from(count % 8)),
        }
    }

    fn append(&mut self, lengths: &[u16]) {
        self.attempt += 1;
        let (next, attempt) = (self.next, self.attempt);
        let payloads: Vec<Vec<u8>> = lengths.iter().zip(next..).map(|(l, o)| payload(o, *l, attempt)).collect();
        match self.writer().append_batch(next as i64, &payloads) {
            Ok(offsets) => assert_eq!(offsets, next..next + payloads.len() as u64),
            Err(e) => {
                assert!(matches!(e, beffroi_log::Error::BatchTooLarge { .. }), "{e}");
                return;
            }
        }
        self.next += payloads.len() as u64;
        // A roll in the append has synced what came before; the model may only know less than is true.
        if self.writer().synced_offset() > self.durable.last_key_value().map_or(0, |(o, _)| o + 1) {
            let synced = self.writer().synced_offset();
            let later = self.unsynced.split_off(&synced);
            self.durable.append(&mut self.unsynced);
            self.unsynced = later;
        }
        self.unsynced.extend((next..).zip(payloads));
    }

    fn sync(&mut self) {
        self.old_state = fs::read(self.dir.path().join("log.state")).expect("state");
        self.writer().sync().expect("sync");
        self.synced();
    }

    fn synced(&mut self) {
        self.durable.append(&mut self.unsynced);
    }

    /// An offset at a share of what the log holds.
    fn offset_at(&mut self, share: u8) -> u64 {
        let (first, next) = (self.writer().first_offset(), self.next);
        first + (next - first) * u64::from(share) / 255
    }

    fn replace(&mut self, share: Option<u8>) {
        let upto = match share {
            Some(share) => self.offset_at(share),
            None => self.writer().oldest_segment_range().map_or(0, |range| range.last),
        };
        if upto < self.writer().first_offset() || upto >= self.next {
            return;
        }
        self.attempt += 1;
        let gap = payload(upto, 50, self.attempt);
        let active = self.writer().segments().last().expect("active").base;
        self.writer().replace_oldest(upto, &[Replacement { offset: upto, timestamp: 0, payload: &gap }]).expect("replace");
        if active <= upto {
            self.synced();
        }
        self.durable = self.durable.split_off(&upto);
        self.at_risk = self.at_risk.split_off(&(upto + 1));
        self.durable.insert(upto, gap);
    }

    fn retain(&mut self, share: u8) {
        let cutoff = self.offset_at(share) as i64;
        let bytes = self.writer().bytes();
        let before = self.writer().segments().last().expect("active").base;
        self.writer().retain(Some(cutoff), Some(bytes * u64::from(share) / 255)).expect("retain");
        if self.writer().segments().last().expect("active").base != before {
            self.synced();
        }
        self.next = self.writer().next_offset();
        self.forget_below_first();
    }

    fn forget_below_first(&mut self) {
        let first = self.writer().first_offset();
        self.durable = self.durable.split_off(&first);
        self.at_risk = self.at_risk.split_off(&first);
    }

    fn open(&mut self) -> Recovery {
        let (writer, recovery) = LogWriter::open(self.dir.path(), options()).expect("open");
        for range in &recovery.damaged {
            assert!(!self.durable.keys().any(|o| (range.first_offset..range.end_offset).contains(o)), "{range:?}");
        }
        self.next = writer.next_offset();
        self.writer = Some(writer);
        recovery
    }

    fn active_path(&mut self) -> (PathBuf, u64) {
        let active = self.writer().segments().pop().expect("active");
        (self.dir.path().join(format!("{:020}.seg", active.base)), active.bytes)
    }

    fn crash(&mut self, survives: u8, noise: u8, old_state: bool) {
        let (path, _) = self.active_path();
        let synced = synced_position(self.dir.path());
        drop(self.writer.take());
        let file = File::options().write(true).open(&path).expect("active segment");
        let length = file.metadata().expect("length").len();
        let keep = synced + (length - synced) * u64::from(survives) / 255;
        file.set_len(keep).expect("lose the rest");
        file.write_all_at(&vec![noise; usize::from(noise % 64)], keep).expect("noise");
        if old_state {
            fs::write(self.dir.path().join("log.state"), &self.old_state).expect("older state");
        }
        self.open();
        // Records behind the last sync may have survived, whole and in order; nobody was promised them.
        let found = read_all(self.dir.path());
        let mut survivors: Vec<u64> = self.unsynced.keys().copied().collect();
        survivors.retain(|offset| found.records.get(offset) == self.unsynced.get(offset));
        let expected: Vec<u64> = self.unsynced.keys().copied().take(survivors.len()).collect();
        assert_eq!(survivors, expected, "survivors are a prefix");
        let unsynced = std::mem::take(&mut self.unsynced);
        self.durable.extend(unsynced.into_iter().take(survivors.len()));
    }

    /// Damages one segment; every record whose bytes might be hit is at risk, all others are not.
    fn flip(&mut self, share: u8, bit: u16) {
        self.sync();
        let segments = self.writer().segments();
        let segment = &segments[usize::from(share) * (segments.len() - 1) / 255];
        let path = self.dir.path().join(format!("{:020}.seg", segment.base));
        let (before, mut bytes) = (read_all(self.dir.path()), fs::read(&path).expect("segment"));
        drop(self.writer.take());
        let at = usize::from(bit) * (bytes.len() - 1) / usize::from(u16::MAX);
        bytes[at] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).expect("write");
        let after = read_all(self.dir.path());
        let lost: Vec<u64> = before.records.keys().copied().filter(|o| !after.records.contains_key(o)).collect();
        assert!(lost.len() <= 1, "one bit costs at most one record, not {lost:?}");
        // The same bit flipped twice brings a record back.
        let known = |offset| before.records.get(offset).or(self.at_risk.get(offset));
        assert!(after.records.iter().all(|(offset, payload)| known(offset) == Some(payload)));
        for offset in &lost {
            let declared = |range: &DamagedRange| (range.first_offset..range.end_offset).contains(offset);
            assert!(after.damaged.iter().any(declared), "{offset} is lost without a word: {:?}", after.damaged);
            let payload = self.durable.remove(offset);
            self.at_risk.extend(payload.map(|payload| (*offset, payload)));
        }
        self.open();
    }

    fn read_tail(&mut self, count: usize) {
        let batch = self.reader.read_batch(count, usize::MAX).expect("read");
        for record in &batch.records {
            assert!(record.offset >= self.tail, "{} was read already", record.offset);
            let passed = self.tail..record.offset;
            assert!(!self.durable.keys().any(|offset| passed.contains(offset)), "{passed:?} passed without reading");
            self.tail = record.offset + 1;
            assert!(!self.unsynced.contains_key(&record.offset), "{} is not durable", record.offset);
        }
        // Damage that was reported moves the place as well.
        assert!(self.reader.position() >= self.tail);
        let passed = self.tail..self.reader.position();
        assert!(!self.durable.keys().any(|offset| passed.contains(offset)), "{passed:?} passed without reading");
        self.tail = passed.end;
    }

    /// A fresh reader finds every durable record, unchanged, and nothing that was never written.
    fn check(&self) {
        let found = read_all(self.dir.path());
        for (offset, payload) in &self.durable {
            assert_eq!(found.records.get(offset), Some(payload), "offset {offset}");
        }
        for offset in found.records.keys() {
            let known = self.durable.contains_key(offset) || self.at_risk.contains_key(offset);
            assert!(known, "offset {offset} should not be visible");
        }
    }

    /// The tailing reader, however often the log changed under it, gets all that is still there.
    fn finish(&mut self) {
        self.sync();
        let mut missing = self.durable.split_off(&self.tail);
        while let Some(read) = self.reader.next().expect("read") {
            if let Read::Record(record) = read {
                missing.remove(&record.offset);
            }
        }
        assert!(missing.is_empty(), "the tailing reader at {} missed {:?}", self.tail, missing.keys());
    }
}

struct Found {
    records: BTreeMap<u64, Vec<u8>>,
    damaged: Vec<DamagedRange>,
}

fn read_all(dir: &Path) -> Found {
    let mut reader = LogReader::open(dir).expect("reader");
    let batch = reader.read_batch(usize::MAX, usize::MAX).expect("read");
    assert!(batch.records.windows(2).all(|pair| pair[0].offset < pair[1].offset), "ascending");
    let records = batch.records.iter().map(|r| (r.offset, r.payload.to_vec())).collect();
    Found { records, damaged: batch.damaged }
}

/// The durable length of the active segment, as the state file has it (newest of the two slots).
fn synced_position(dir: &Path) -> u64 {
    let bytes = fs::read(dir.join("log.state")).expect("state");
    let field =
        |slot: usize, at: usize| bytes.get(slot + at..slot + at + 8).map(|b| u64::from_le_bytes(b.try_into().expect("8")));
    let newest = [0, 512].into_iter().max_by_key(|slot| field(*slot, 8)).expect("two slots");
    field(newest, 48).expect("position")
}

/// Enough for every build; `BEFFROI_MODEL_CASES=20000` for a long run.
fn cases() -> u32 {
    std::env::var("BEFFROI_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_actions_loses_a_durable_record_or_shows_another(actions in proptest::collection::vec(action(), 1..60)) {
        let mut model = Model::new();
        for action in actions {
            model.apply(action);
            model.check();
        }
        model.finish();
    }
}
