//! `beffroi-agent scan` as a person runs it: exit codes, what is printed, and hostile names.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const RULE: &str = "rule Marker { meta: author = \"A\" level = 3 strings: $a = \"marker\" condition: $a }";

struct Desk {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("tree")).unwrap();
        let desk = Self { _dir: dir, root };
        desk.write("good.yar", RULE.as_bytes());
        desk
    }

    fn write(&self, name: impl AsRef<Path>, content: &[u8]) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Runs `scan` with one worker in the desk's folder.
    fn scan(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beffroi-agent"));
        let Output { status, stdout, stderr } = command.current_dir(&self.root).arg("scan").args(arguments).output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }
}

#[test]
fn a_match_is_printed_as_rule_and_path_and_ends_with_one() {
    let desk = Desk::new();
    desk.write("tree/a", b"a marker");
    desk.write("tree/b", b"nothing");
    desk.write("tree/below/c", b"marker");
    let flat = desk.scan(&["-r", "good.yar", "--threads", "1", "tree"]);
    assert_eq!((flat.0, flat.1.as_str()), (Some(1), "Marker tree/a\n"), "{}", flat.2);
    assert!(flat.2.contains("2 files and 0 members") && flat.2.contains("1 matched"), "{}", flat.2);
    let (code, out, _) = desk.scan(&["-r", "good.yar", "--threads", "2", "--recursive", "tree"]);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!((code, lines), (Some(1), vec!["Marker tree/a", "Marker tree/below/c"]));
    assert_eq!(desk.scan(&["-r", "good.yar", "tree/b"]).0, Some(0));
}

#[test]
fn meta_and_strings_are_printed_as_people_know_them() {
    let desk = Desk::new();
    desk.write("tree/a", b"a marker");
    let (_, out, _) = desk.scan(&["-r", "good.yar", "--print-meta", "--print-strings", "tree/a"]);
    assert_eq!(out, "Marker [author=\"A\",level=\"3\"] tree/a\n0x2:6:$a: marker\n");
    let (_, out, _) = desk.scan(&["-r", "good.yar", "--print-strings", "--output", "ndjson", "tree/a"]);
    let value: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!((value["kind"].as_str(), value["rule"].as_str()), (Some("match"), Some("Marker")));
    assert_eq!((value["path"].as_str(), value["bytes"].as_u64()), (Some("tree/a"), Some(8)));
    assert_eq!(value["strings"], serde_json::json!(["0x2:6:$a: marker"]));
    assert_eq!(value["sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn hostile_names_reach_no_terminal() {
    let desk = Desk::new();
    for name in [b"\x1b[2Jx".as_slice(), b"new\nline", b"bad\xff", "\u{202e}gpj".as_bytes()] {
        desk.write(Path::new("tree").join(OsStr::from_bytes(name)), b"marker");
    }
    for output in ["text", "ndjson"] {
        let (code, out, err) = desk.scan(&["-r", "good.yar", "--output", output, "tree"]);
        assert_eq!((code, out.lines().count()), (Some(1), 4), "{out}{err}");
        assert!(!out.contains(['\u{1b}', '\u{202e}', '\r']), "{out:?}");
    }
    let (_, out, _) = desk.scan(&["-r", "good.yar", "tree"]);
    assert!(out.contains("tree/bad\\xff\n") && out.contains("tree/new\\u{a}line\n"), "{out}");
}

#[test]
fn what_is_not_looked_at_is_named_and_counted() {
    let desk = Desk::new();
    nix::unistd::mkfifo(&desk.root.join("tree/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/etc", desk.root.join("tree/link")).unwrap();
    fs::File::create(desk.root.join("tree/sparse")).unwrap().set_len(1 << 40).unwrap();
    let (code, out, err) = desk.scan(&["-r", "good.yar", "--recursive", "tree"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    for part in ["unknown: tree/sparse: it has 1099511627776 bytes", "skipped: tree/pipe: named pipe", "1 symbolic link"] {
        assert!(err.contains(part), "{part} is not in {err}");
    }
    let (_, _, err) = desk.scan(&["-r", "good.yar", "--recursive", "--skip-larger", "1M", "tree"]);
    assert!(err.contains("0 unknown") && err.contains("1 larger than asked for"), "{err}");
}

#[test]
fn paths_come_from_a_list_as_well() {
    let desk = Desk::new();
    desk.write("tree/a", b"marker");
    desk.write("tree/b", b"marker");
    desk.write("list", b"tree/a\n\ntree/absent\n");
    let (code, out, err) = desk.scan(&["-r", "good.yar", "--scan-list", "list"]);
    assert_eq!((code, out.as_str()), (Some(1), "Marker tree/a\n"));
    assert!(err.contains("tree/absent: absent"), "{err}");
}

#[test]
fn no_rule_and_wrong_usage_have_codes_of_their_own() {
    let desk = Desk::new();
    desk.write("tree/a", b"marker");
    desk.write("bad.yar", b"rule Broken { condition: nothing }");
    let (code, _, err) = desk.scan(&["-r", "bad.yar", "tree"]);
    assert!(code == Some(2) && err.contains("bad.yar"), "{code:?}: {err}");
    assert_eq!(desk.scan(&["-r", "absent.yar", "tree"]).0, Some(2));
    let (code, out, err) = desk.scan(&["-r", "bad.yar", "-r", "good.yar", "tree"]);
    assert!(code == Some(1) && out == "Marker tree/a\n" && err.contains("warning: ") && err.contains("bad.yar"), "{err}");
    for wrong in [
        &["tree"][..],
        &["-r", "good.yar"],
        &["-r", "good.yar", "--skip-larger", "much", "tree"],
        &["-r", "good.yar", "--scan-list", "absent"],
        &["-r", "good.yar", "--threads", "0", "tree"],
    ] {
        let (code, out, err) = desk.scan(wrong);
        assert!(code == Some(3) && out.is_empty() && !err.is_empty(), "{wrong:?}: {code:?} {err}");
    }
}
