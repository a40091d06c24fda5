//! Every record of the recorded event logs, against what another reader made of them; and the same logs with their bytes
//! flipped.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use beffroi_engine::windows::flatten;
use beffroi_sources::{Body, Code, Opened, Options, Record, Trouble, blocks};
use serde_json::{Map, Value as Json};

fn corpora() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora/evtx");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: ../shared/corpora is not beside this checkout");
    None
}

fn unpack(path: &Path) -> impl Read + use<> {
    let mut decoder = zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    decoder
}

/// The event logs of one collection, by the path that its index names.
fn logs(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(unpack(&folder.join("raw-evtx.tar.zst")));
    let mut logs = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        if path.ends_with(".evtx") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            logs.insert(path.trim_start_matches("raw/").to_string(), bytes);
        }
    }
    logs
}

fn read(bytes: &[u8]) -> (Vec<Record>, Vec<Trouble>) {
    let (mut records, mut troubles) = (Vec::new(), Vec::new());
    let bytes = std::io::Cursor::new(bytes.to_vec());
    let opened = Opened::from_reader(Box::new(bytes), &Default::default()).unwrap();
    let ended = blocks(opened, None, &mut |block| {
        troubles.extend(block.records(&Options::default(), |record: Record| records.push(record)).first);
        ControlFlow::Continue(())
    });
    troubles.extend(ended.err());
    (records, troubles)
}

fn fields(record: &Record) -> &Map<String, Json> {
    match &record.body {
        Body::Flat(parts) => &parts[0].fields,
        Body::Own(_) => panic!("an event log holds no events of ours"),
    }
}

/// Number of the first line of a log, and its path.
fn index(folder: &Path) -> Vec<(usize, usize, String)> {
    let text = std::fs::read_to_string(folder.join("index.tsv")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        (cells[0].parse().unwrap(), cells[1].parse().unwrap(), cells[4].to_string())
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn every_record_has_the_fields_that_another_reader_found() {
    let Some(corpora) = corpora() else { return };
    let (mut same, mut differing) = (0_usize, Vec::new());
    for collection in std::fs::read_dir(corpora).unwrap() {
        let folder = collection.unwrap().path();
        let expected: Vec<String> =
            BufReader::new(unpack(&folder.join("events.jsonl.zst"))).lines().map(Result::unwrap).collect();
        let logs = logs(&folder);
        for (first, last, path) in index(&folder) {
            let Some(bytes) = logs.get(&path) else { continue };
            let (records, troubles) = read(bytes);
            let wanted = &expected[first - 1..last];
            if records.len() != wanted.len() {
                differing.push(format!("{path}: {} records instead of {}: {troubles:?}", records.len(), wanted.len()));
                continue;
            }
            for (record, line) in records.iter().zip(wanted) {
                let tree: Map<String, Json> = serde_json::from_str(line).unwrap();
                let (ours, theirs) = (fields(record), flatten(&tree));
                let is_same = ours.len() == theirs.len() && theirs.iter().all(|(name, value)| ours.get(name) == Some(value));
                match is_same {
                    true => same += 1,
                    false => differing.push(difference(&path, record.number, ours, &theirs)),
                }
            }
        }
    }
    eprintln!("{same} records are the same, {} differ", differing.len());
    differing.iter().take(30).for_each(|line| eprintln!("  {line}"));
    assert!(differing.is_empty(), "{} records differ, the first ones stand above", differing.len());
    assert!(same > 15_000, "{same}");
}

fn difference(path: &str, number: u64, ours: &Map<String, Json>, theirs: &Map<String, Json>) -> String {
    let show = |value: Option<&Json>| value.map_or("absent".to_string(), |value| format!("{value:.200}"));
    let names = ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name)));
    let differing = names.filter(|name| ours.get(*name) != theirs.get(*name));
    let texts = differing.map(|name| format!("{name}: {} / {}", show(ours.get(name)), show(theirs.get(name))));
    format!("{path} {number}: {}", texts.take(3).collect::<Vec<_>>().join("; "))
}

/// The smallest sound log of the collections.
fn smallest() -> Option<Vec<u8>> {
    let logs = logs(&corpora()?.join("yamato"));
    logs.into_values().min_by_key(Vec::len)
}

#[test]
fn a_damaged_chunk_is_told_and_the_records_around_it_are_read() {
    let Some(mut bytes) = smallest() else { return };
    let (sound, troubles) = read(&bytes);
    assert!(sound.len() >= 3 && troubles.iter().all(|trouble| trouble.code == Code::Chunk), "{troubles:?}");
    // The size of the second record: it cannot be found any more, those behind it can.
    let first = u32::from_le_bytes(bytes[4_096 + 516..4_096 + 520].try_into().unwrap()) as usize;
    bytes[4_096 + 512 + first + 4] ^= 0xff;
    let (rest, troubles) = read(&bytes);
    assert_eq!(rest.len(), sound.len() - 1);
    assert!(
        troubles.iter().any(|trouble| trouble.code == Code::Chunk && trouble.what.contains("cannot be read")),
        "{troubles:?}"
    );
}

#[test]
fn flipped_bytes_and_cut_ends_are_told_and_never_panic() {
    let Some(sound) = smallest() else { return };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..2_000 {
        let mut bytes = sound.clone();
        for _ in 0..=random(8) {
            let at = 4_096 + random(12_000.min(bytes.len() - 4_096));
            bytes[at] = random(256) as u8;
        }
        if random(4) == 0 {
            bytes.truncate(4_096 + random(bytes.len() - 4_096));
        }
        let (records, _) = read(&bytes);
        assert!(records.len() <= 1_000);
    }
}
