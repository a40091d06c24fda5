//! Bytes that nobody meant to be events, read as every format: no panic, and every record has a place in the file.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;

use beffroi_sources::{Format, Opened, Options, Record, blocks};
use proptest::collection::vec;
use proptest::prelude::*;

/// Pieces that mean something to one of the readers, and pieces that do not.
const PIECES: [&[u8]; 30] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"\n",
    b"\r\n",
    b" ",
    b"=",
    b"'",
    b"\0",
    b"\xff\xfe",
    "é".as_bytes(),
    b"type=",
    b"msg=audit(",
    b"1604994496.155:92733",
    b"): ",
    b"a1[0]=",
    b"EXECVE ",
    b"node=",
    b"\x1d",
    b"Nov 21 10:00:00 ",
    b"sshd[1]: ",
    b"{\"ts\": 1, \"category\": \"file_event\"}",
    b"{\"Event\": {\"System\": {\"EventID\": 1}}}",
    b"ElfFile\0",
    b"\x28\xb5\x2f\xfd",
];

fn read(bytes: &[u8], format: Option<Format>) -> Vec<u64> {
    let options = Options { format, ..Options::default() };
    let mut numbers = Vec::new();
    let Ok(opened) = Opened::from_reader(Box::new(std::io::Cursor::new(bytes.to_vec())), &Default::default()) else {
        return numbers;
    };
    let _ = blocks(opened, format, &mut |block| {
        let troubles = block.records(&options, |record: Record| {
            let _ = (record.computer(), record.channel(), record.event_id(), record.to_json());
            numbers.push(record.number);
        });
        assert!(troubles.first.iter().all(|trouble| !trouble.what.is_empty()));
        ControlFlow::Continue(())
    });
    numbers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_reader_panic(
        pieces in vec(prop_oneof![4 => (0..PIECES.len()).prop_map(|at| PIECES[at].to_vec()), 1 => vec(any::<u8>(), 0..12)], 0..40)
    ) {
        let bytes = pieces.concat();
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        for format in Format::ALL.into_iter().map(Some).chain([None]) {
            let numbers = read(&bytes, format);
            prop_assert!(numbers.iter().all(|number| (1..=lines).contains(number)), "{format:?}: {numbers:?} of {lines}");
        }
    }
}
