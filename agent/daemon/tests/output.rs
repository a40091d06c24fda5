//! What commands print when nobody reads on (`| head`), when stderr is closed as well, and when the disk is full.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the agent in `dir` with these ends.
fn run(dir: &Path, arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beffroi-agent"));
    command.current_dir(dir).args(["--state", "state"]).args(arguments).stdin(Stdio::null());
    command.stdout(stdout).stderr(stderr).status().unwrap().code()
}

/// The end of a pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Every command that prints, and how it ends without an enrolment.
const COMMANDS: [(&[&str], i32); 10] = [
    (&["status"], 0),
    (&["status", "--output", "json"], 0),
    (&["doctor"], 3),
    (&["doctor", "--output", "json"], 3),
    (&["man"], 0),
    (&["completions", "bash"], 0),
    (&["--help"], 0),
    (&["scan", "-r", "rule.yar", "file"], 1),
    (&["watch", "--duration", "1s", "--output", "table"], 0),
    (&["replay", "--format", "jsonl", "absent"], 1),
];

fn desk() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rule.yar"), "rule Marker { strings: $a = \"marker\" condition: $a }").unwrap();
    fs::write(dir.path().join("file"), "marker").unwrap();
    dir
}

#[test]
fn a_command_whose_reader_is_gone_ends_quietly_and_as_it_would_have() {
    let dir = desk();
    for (arguments, code) in COMMANDS {
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert_eq!(run(dir.path(), arguments, unread(), writer.into()), Some(code), "{arguments:?}");
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert!(!said.contains("panicked") && !said.contains("roken pipe"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_command_that_nobody_hears_ends_as_it_would_have() {
    let dir = desk();
    for (arguments, code) in COMMANDS {
        assert_eq!(run(dir.path(), arguments, unread(), unread()), Some(code), "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error_that_says_so() {
    let dir = desk();
    for (arguments, code) in [(&["status"][..], 1), (&["doctor"], 1), (&["man"], 1), (&["scan", "-r", "rule.yar", "file"], 3)] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert_eq!(run(dir.path(), arguments, full.into(), writer.into()), Some(code), "{arguments:?}");
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert!(said.contains("cannot print") && said.contains("No space left"), "{arguments:?}: {said}");
    }
}
