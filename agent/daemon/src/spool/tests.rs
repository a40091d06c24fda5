//! The spool's promises: an exact gap, a chain that verifies, a new epoch that names the one before.

use std::collections::HashMap;

use beffroi_log::{CursorFile, LogReader, Read};
use beffroi_schema::batch::{ChainHead, ChainState, Envelope};
use beffroi_schema::{Category, Event, Field, Product};

use super::*;
use crate::users::User;

fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    layout.prepare(&User::current()).unwrap();
    (dir, layout)
}

fn author(layout: &Layout) -> Author {
    let key = crate::identity::load_or_make_key(layout).unwrap();
    Author {
        tenant: "t".into(),
        agent: AgentId::of_public_key(&key.verifying_key().to_bytes()),
        epoch: Author::new_epoch(now_us()).unwrap(),
        key,
        host: HostInfo { boot_id: "b".into(), ..HostInfo::default() },
    }
}

fn small() -> SpoolConfig {
    SpoolConfig { max_bytes: 16 << 20, keep_free_bytes: 0, keep_free_percent: 0 }
}

fn open(layout: &Layout) -> Spool {
    Spool::open(layout, author(layout), &small(), Role::Sensor).unwrap()
}

/// A file event with bytes that do not compress.
fn noise(number: u64) -> Record {
    let mut bytes = vec![0u8; 24 << 10];
    getrandom::fill(&mut bytes).unwrap();
    let mut event = Event::new(Category::FileEvent, Product::Linux, now_us());
    event.set(Field::TARGET_FILENAME, bytes).set(Field::FILE_BYTES, number);
    Record::Event(event)
}

/// Everything on the spool of a stream, as the collector would see it: verified, decoded, chained.
fn collect(layout: &Layout, stream: Stream) -> Vec<(Epoch, Record)> {
    let mut reader = LogReader::open(layout.spool(stream)).unwrap();
    let mut heads: HashMap<Epoch, ChainHead> = HashMap::new();
    let mut records = Vec::new();
    while let Some(read) = reader.next().unwrap() {
        let Read::Record(record) = read else { continue };
        let envelope = Envelope::parse(&record.payload).unwrap();
        envelope.verify().unwrap();
        let contents = envelope.decode().unwrap();
        let epoch = envelope.header.epoch;
        match envelope.follows(heads.get(&epoch).copied(), &contents.records).unwrap() {
            ChainState::Follows(head) => heads.insert(epoch, head),
            other => panic!("{stream} {}-{}: {other:?}", envelope.header.first, envelope.header.last),
        };
        records.extend(contents.records.into_iter().map(|record| (epoch, record)));
    }
    records
}

#[test]
fn every_stream_begins_with_its_epoch_and_numbers_have_no_hole() {
    let (_dir, layout) = layout();
    let mut spool = open(&layout);
    for number in 0..3 {
        spool.push(Stream::File, noise(number));
    }
    assert_eq!(spool.flush(), 0);
    for stream in Stream::ALL {
        let records = collect(&layout, stream);
        assert!(matches!(&records[0].1, Record::EpochStart(start) if start.previous.is_none()));
        let numbers: Vec<u64> = records.iter().map(|(_, record)| record.seq()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_first_event_after_a_quiet_time_is_due_within_milliseconds() {
    let (_dir, layout) = layout();
    let mut spool = open(&layout);
    std::thread::sleep(Duration::from_millis(110));
    spool.push(Stream::File, noise(1));
    let due = spool.next_deadline().unwrap().saturating_duration_since(Instant::now());
    assert!(due <= Duration::from_millis(5), "{due:?}");
    spool.flush();
    spool.push(Stream::File, noise(2));
    let due = spool.next_deadline().unwrap().saturating_duration_since(Instant::now());
    assert!(due > Duration::from_millis(5) && due <= Duration::from_millis(100), "{due:?}");
}

#[test]
fn a_full_spool_evicts_the_lowest_class_with_an_exact_gap_and_the_chain_verifies() {
    let (_dir, layout) = layout();
    let mut spool = open(&layout);
    spool.push(Stream::Detection, noise(0));
    for number in 0..1500 {
        spool.push(Stream::File, noise(number));
        if number % 7 == 0 {
            spool.flush();
        }
    }
    assert_eq!(spool.flush(), 0);
    assert!(spool.bytes() <= 16 << 20, "{} bytes", spool.bytes());
    let records = collect(&layout, Stream::File);
    let (mut expected, mut lost) = (1, 0);
    for (_, record) in &records {
        assert_eq!(record.seq(), expected);
        expected = match record {
            Record::Gap(gap) => {
                let evicted = gap.evicted.unwrap();
                assert_eq!(gap.count, Some(evicted.last - evicted.first + 1));
                assert_eq!(gap.reason, GapReason::SpoolEvicted);
                lost += evicted.last - evicted.first + 1;
                evicted.last + 1
            }
            other => other.seq() + 1,
        };
    }
    assert!(lost > 500, "{lost} records were evicted");
    assert_eq!(expected, 1 + 1500 + 1, "epoch start, every event or its gap");
    assert_eq!(spool.stats()[3].lost, lost);
    let detections = collect(&layout, Stream::Detection);
    assert!(detections.iter().all(|(_, record)| !matches!(record, Record::Gap(_))), "a higher class lost something");
}

#[test]
fn an_eviction_over_two_epochs_leaves_a_gap_for_each() {
    let (_dir, layout) = layout();
    for _ in 0..2 {
        let mut spool = open(&layout);
        for number in 0..500 {
            spool.push(Stream::File, noise(number));
        }
        spool.flush();
    }
    let mut spool = open(&layout);
    for number in 0..600 {
        spool.push(Stream::File, noise(number));
    }
    spool.flush();
    let records = collect(&layout, Stream::File);
    let gaps: Vec<Epoch> =
        records.iter().filter(|(_, record)| matches!(record, Record::Gap(_))).map(|(epoch, _)| *epoch).collect();
    assert!(gaps.len() >= 2 && gaps[0] != gaps[1], "{gaps:?}");
    assert_eq!(gaps.len(), gaps.iter().collect::<std::collections::HashSet<_>>().len(), "one gap an epoch");
}

#[test]
fn what_the_gateway_has_is_deleted_and_never_declared_lost() {
    let (_dir, layout) = layout();
    let mut spool = open(&layout);
    for number in 0..400 {
        spool.push(Stream::File, noise(number));
    }
    spool.flush();
    let end = spool.streams[3].log.next_offset();
    CursorFile::open(layout.cursor(Stream::File)).unwrap().set(end, &[]).unwrap();
    for number in 0..600 {
        spool.push(Stream::File, noise(number));
    }
    spool.flush();
    assert_eq!(spool.stats()[3].lost, 0);
    let seen = LogReader::open(layout.spool(Stream::File)).unwrap().first_offset().unwrap();
    assert!(seen.unwrap() > 0, "acknowledged segments are gone");
}

#[test]
fn a_run_that_was_cut_off_is_named_by_the_next_one_with_its_last_numbers() {
    let (_dir, layout) = layout();
    let mut spool = open(&layout);
    for number in 0..5 {
        spool.push(Stream::File, noise(number));
    }
    spool.flush();
    let (epoch, heads) = (spool.author.epoch, spool.heads());
    // As after kill -9: nothing is closed, the heads file is as old as the start of the run.
    drop(spool);
    drop(open(&layout));
    let records = collect(&layout, Stream::File);
    let Some((_, Record::EpochStart(start))) = records.iter().rfind(|(_, record)| matches!(record, Record::EpochStart(_))) else {
        panic!("no epoch start")
    };
    let previous = start.previous.as_ref().unwrap();
    assert_eq!((previous.epoch, &previous.heads, previous.clean_stop), (epoch, &heads, false));
    assert!(previous.alive >= epoch.started_us().cast_signed() && previous.alive <= start.ts);
}

#[test]
fn a_run_that_ended_in_order_is_called_so() {
    let (_dir, layout) = layout();
    let spool = open(&layout);
    let heads = spool.heads();
    assert_eq!(spool.close(), 0);
    drop(open(&layout));
    let records = collect(&layout, Stream::Bulk);
    let Some((_, Record::EpochStart(start))) = records.last() else { panic!("no epoch start") };
    let previous = start.previous.as_ref().unwrap();
    assert!(previous.clean_stop);
    assert_eq!(previous.heads, heads);
}

#[test]
fn a_spool_that_another_process_writes_is_refused_as_locked() {
    let (_dir, layout) = layout();
    let _spool = open(&layout);
    let Err(error) = Spool::open(&layout, author(&layout), &small(), Role::Replay) else { panic!("two writers") };
    assert!(error.is_locked(), "{error}");
}

#[test]
fn a_disk_without_room_costs_records_only_beyond_the_memory_and_says_how_many() {
    let (_dir, layout) = layout();
    let mut spool = open(&layout);
    // From now on the disk must keep everything that it has free.
    spool.room.config.keep_free_bytes = u64::MAX;
    spool.room.asked = None;
    for number in 0..1000 {
        spool.push(Stream::File, noise(number));
    }
    let abandoned = spool.flush();
    assert!(abandoned >= 1000 - 1, "{abandoned}");
    let lost = spool.stats()[3].lost;
    assert!(lost > 0 && lost < 1000, "{lost}");
    spool.room.config.keep_free_bytes = 0;
    spool.room.asked = None;
    assert_eq!(spool.flush(), 0);
    let records = collect(&layout, Stream::File);
    let declared: u64 = records
        .iter()
        .filter_map(|(_, record)| match record {
            Record::Gap(gap) if gap.evicted.is_none() => gap.count,
            _ => None,
        })
        .sum();
    let events = records.iter().filter(|(_, record)| matches!(record, Record::Event(_))).count() as u64;
    assert_eq!((declared, events), (lost, 1000 - lost));
}
