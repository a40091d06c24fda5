//! What a busy Linux host tells: processes that start below each other and end, files they write, connections they
//! open, with the fields that the sensor fills in (ancestors included).
//!
//! Owns the made-up host. The same seed and clock give the same events. One process start in [`PLANT_EVERY`] comes from a
//! hidden temporary folder, which one of our rules knows: whether the detector really looked at everything can be
//! counted.

use std::sync::Arc;

use beffroi_schema::{Category, Event, Field, Product, Stream, Text, Value};

use super::random::Random;

/// Rule that planted process starts match.
pub const PLANTED_RULE: &str = "hidden_temporary_program";
/// One process start in so many is planted. Alerts are rare on a real line; each costs far more than an event.
pub const PLANT_EVERY: u64 = 2_500;
/// Processes alive at a time.
const ALIVE: std::ops::Range<usize> = 16..64;
/// Ancestors of a process at most: what desktop sessions and builds show.
const DEPTH: usize = 8;
/// How many different numbers stand in names: some repeat within a batch, most do not.
const NUMBERS: u64 = 20_000;

/// Programs: image, command line with a number in it.
const PROGRAMS: &[(&str, &str)] = &[
    ("/usr/bin/bash", "bash /srv/build/scripts/step-{n}.sh"),
    ("/usr/bin/make", "make -j2 -C /srv/build/project-{n} all"),
    ("/usr/bin/x86_64-linux-gnu-gcc-12", "gcc -O2 -g -Iinclude -c src/unit-{n}.c -o build/unit-{n}.o"),
    ("/usr/lib/gcc/x86_64-linux-gnu/12/cc1", "cc1 -quiet -I include -O2 src/unit-{n}.c -o build/unit-{n}.s"),
    ("/usr/bin/x86_64-linux-gnu-as", "as --64 -o build/unit-{n}.o build/unit-{n}.s"),
    ("/usr/bin/git", "git status --porcelain=v2 --branch"),
    ("/usr/bin/git", "git rev-parse --verify HEAD~{n}"),
    ("/usr/bin/python3.11", "python3 /srv/batch/import.py --part {n} --quiet"),
    ("/usr/bin/sed", "sed -n s/^version=//p /srv/build/project-{n}/VERSION"),
    ("/usr/bin/date", "date +%s"),
    ("/usr/bin/ls", "ls -l /srv/data/{n}"),
    ("/usr/bin/tar", "tar -xf /srv/cache/package-{n}.tar -C /srv/build"),
    ("/usr/lib/firefox-esr/firefox-esr", "/usr/lib/firefox-esr/firefox-esr -contentproc -childID {n} -isForBrowser"),
    ("/usr/lib/postgresql/15/bin/postgres", "postgres: app app 10.20.0.7({n}) SELECT"),
];
/// Files: a path with a number in it.
const FILES: &[&str] = &[
    "/srv/build/build/unit-{n}.o",
    "/srv/build/build/unit-{n}.s",
    "/srv/data/in/part-{n}.csv",
    "/home/alice/.cache/mozilla/firefox/default/cache2/entries/{n}",
    "/home/alice/documents/note-{n}.odt",
    "/var/lib/postgresql/15/main/base/16384/{n}",
];
/// Where connections go: address and port.
const PEERS: &[(&str, u64)] = &[
    ("10.20.0.5", 5432),
    ("10.20.0.9", 443),
    ("10.20.1.12", 53),
    ("192.0.2.80", 443),
    ("198.51.100.7", 443),
    ("10.20.0.30", 389),
];
/// File changes: category, action.
const CHANGES: &[(Category, &str)] = &[
    (Category::FileEvent, "create"),
    (Category::FileChange, "write_close"),
    (Category::FileChange, "write_close"),
    (Category::FileRename, "rename"),
    (Category::FileDelete, "unlink"),
];

/// A chain of processes, nearest first.
#[derive(Debug, Clone, Default)]
struct Lineage {
    guids: Vec<Text>,
    images: Vec<Text>,
    command_lines: Vec<Text>,
}

/// A process of the made-up host.
#[derive(Debug, Clone)]
struct Process {
    pid: u64,
    parent: u64,
    guid: Text,
    image: Text,
    command_line: Text,
    guids: Arc<[Text]>,
    images: Arc<[Text]>,
    command_lines: Arc<[Text]>,
}

impl Process {
    /// As an ancestor of its children.
    fn lineage(&self) -> Lineage {
        let through = |own: &Text, above: &[Text]| std::iter::once(own).chain(above).take(DEPTH).cloned().collect();
        Lineage {
            guids: through(&self.guid, &self.guids),
            images: through(&self.image, &self.images),
            command_lines: through(&self.command_line, &self.command_lines),
        }
    }
}

/// The made-up host.
#[derive(Debug)]
pub struct Mix {
    random: Random,
    alive: Vec<Process>,
    starts: u64,
    planted: u64,
    last_pid: u64,
}

impl Mix {
    /// The host of a seed.
    pub fn new(seed: u64) -> Self {
        let mut mix = Self { random: Random::new(seed), alive: Vec::new(), starts: 0, planted: 0, last_pid: 800 };
        let init = mix.process(1, 0, "/usr/lib/systemd/systemd", "/sbin/init".into(), Lineage::default());
        mix.alive.push(init);
        mix
    }

    /// Process starts so far that [`PLANTED_RULE`] matches.
    pub fn planted(&self) -> u64 {
        self.planted
    }

    /// The stream of the next batch: half processes, a third files, the rest network.
    pub fn next_stream(&mut self) -> Stream {
        match self.random.below(20) {
            0..10 => Stream::Exec,
            10..17 => Stream::File,
            _ => Stream::Network,
        }
    }

    /// The next events of a stream, one microsecond apart from `ts` (microseconds since 1970) on.
    pub fn events(&mut self, stream: Stream, count: usize, ts: i64) -> Vec<Event> {
        (0..count as i64)
            .map(|at| match stream {
                Stream::File => self.file(ts + at),
                Stream::Network => self.network(ts + at),
                _ => self.start_or_end(ts + at),
            })
            .collect()
    }

    fn start_or_end(&mut self, ts: i64) -> Event {
        let end = self.alive.len() >= ALIVE.end || self.alive.len() > ALIVE.start && self.random.below(2) == 0;
        if end { self.end(ts) } else { self.start(ts) }
    }

    fn start(&mut self, ts: i64) -> Event {
        self.starts += 1;
        self.last_pid = (self.last_pid + 1) % 4_000_000 + 2;
        let plant = self.starts.is_multiple_of(PLANT_EVERY);
        let (image, command_line) =
            if plant { ("/tmp/.cache/updater", "updater --job {n}") } else { *self.random.pick(PROGRAMS) };
        let command_line = self.numbered(command_line);
        let parent = self.random.pick(&self.alive);
        let (parent_pid, lineage) = (parent.pid, parent.lineage());
        let process = self.process(self.last_pid, parent_pid, image, command_line, lineage);
        let mut event = event(Category::ProcessCreation, ts, &process);
        let argv = process.command_line.split(|byte| *byte == b' ').map(Text::from).collect();
        event
            .set(Field::CURRENT_DIRECTORY, "/srv/build")
            .set(Field::EXEC_PATH, image)
            .set(Field::EXEC_SEQ, 1u64)
            .set(Field::COMM, image.rsplit('/').next().unwrap_or_default())
            .set(Field::ARGV, Value::List(argv));
        match plant {
            true => self.planted += 1,
            false => self.alive.push(process),
        }
        event
    }

    /// Ends a process other than the first.
    fn end(&mut self, ts: i64) -> Event {
        let at = 1 + self.random.below(self.alive.len() as u64 - 1) as usize;
        let process = self.alive.swap_remove(at);
        let mut event = event(Category::ProcessTermination, ts, &process);
        let failed = self.random.below(20) == 0;
        event.set(Field::EXIT_CODE, Value::Int(failed.into())).set(Field::DURATION_US, self.random.below(5_000_000));
        event
    }

    fn file(&mut self, ts: i64) -> Event {
        let (category, action) = *self.random.pick(CHANGES);
        let path = *self.random.pick(FILES);
        let path = self.numbered(path);
        let mut event = event(category, ts, self.random.pick(&self.alive));
        if category == Category::FileRename {
            event.set(Field::SOURCE_FILENAME, format!("{path}.part"));
        }
        event.set(Field::ACTION, action).set(Field::TARGET_FILENAME, path);
        event
    }

    fn network(&mut self, ts: i64) -> Event {
        let (address, port) = *self.random.pick(PEERS);
        let mut event = event(Category::NetworkConnection, ts, self.random.pick(&self.alive));
        event
            .set(Field::ACTION, "connect")
            .set(Field::PROTOCOL, if port == 53 { "udp" } else { "tcp" })
            .set(Field::INITIATED, true)
            .set(Field::SOURCE_IP, "10.20.0.7")
            .set(Field::SOURCE_PORT, 32_768 + self.random.below(28_000))
            .set(Field::DESTINATION_IP, address)
            .set(Field::DESTINATION_PORT, port);
        event
    }

    fn process(&mut self, pid: u64, parent: u64, image: &str, command_line: String, above: Lineage) -> Process {
        Process {
            pid,
            parent,
            guid: self.random.uuid().into_bytes().into(),
            image: image.as_bytes().into(),
            command_line: command_line.into_bytes().into(),
            guids: above.guids.into(),
            images: above.images.into(),
            command_lines: above.command_lines.into(),
        }
    }

    fn numbered(&mut self, text: &str) -> String {
        text.replace("{n}", &self.random.below(NUMBERS).to_string())
    }
}

/// An event with what the sensor knows of the process, its parent and its ancestors.
fn event(category: Category, ts: i64, process: &Process) -> Event {
    let mut event = Event::new(category, Product::Linux, ts);
    for field in [Field::UID, Field::EUID, Field::GID, Field::LOGON_ID, Field::LOGIN_UID] {
        event.set(field, 1_000u64);
    }
    for field in [Field::USER, Field::LOGIN_USER] {
        event.set(field, "alice");
    }
    event
        .set(Field::SESSION_ID, 7u64)
        .set(Field::PROCESS_ID, process.pid)
        .set(Field::PROCESS_GUID, Value::Text(process.guid.clone()))
        .set(Field::PARENT_PROCESS_ID, process.parent)
        .set(Field::IMAGE, Value::Text(process.image.clone()))
        .set(Field::COMMAND_LINE, Value::Text(process.command_line.clone()));
    let (Some(guid), Some(image), Some(command_line)) =
        (process.guids.first(), process.images.first(), process.command_lines.first())
    else {
        return event;
    };
    event
        .set(Field::PARENT_USER, "alice")
        .set(Field::PARENT_PROCESS_GUID, Value::Text(guid.clone()))
        .set(Field::PARENT_IMAGE, Value::Text(image.clone()))
        .set(Field::PARENT_COMMAND_LINE, Value::Text(command_line.clone()))
        .set(Field::ANCESTOR_GUIDS, Value::List(process.guids.clone()))
        .set(Field::ANCESTOR_IMAGES, Value::List(process.images.clone()))
        .set(Field::ANCESTOR_COMMAND_LINES, Value::List(process.command_lines.clone()));
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_seed_others() {
        let make = |seed| {
            let mut mix = Mix::new(seed);
            [Stream::Exec, Stream::File, Stream::Network].map(|stream| mix.events(stream, 200, 7))
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn every_event_belongs_to_the_stream_that_was_asked_for() {
        let mut mix = Mix::new(3);
        for _ in 0..50 {
            let stream = mix.next_stream();
            assert!(mix.events(stream, 100, 0).iter().all(|event| event.stream() == stream), "{stream}");
        }
    }

    #[test]
    fn one_start_in_so_many_comes_from_a_hidden_temporary_folder() {
        let mut mix = Mix::new(4);
        let events = mix.events(Stream::Exec, 4 * PLANT_EVERY as usize, 0);
        let hidden = events.iter().filter(|event| {
            event.logsource.category == Category::ProcessCreation && event.text(Field::IMAGE).starts_with("/tmp/.")
        });
        let starts = events.iter().filter(|event| event.logsource.category == Category::ProcessCreation).count() as u64;
        assert_eq!(hidden.count() as u64, mix.planted());
        assert_eq!(starts / PLANT_EVERY, mix.planted());
        assert!(mix.planted() > 0);
    }

    #[test]
    fn most_events_carry_ancestors_and_none_more_than_the_limit() {
        let events = Mix::new(5).events(Stream::Exec, 2_000, 0);
        let depths: Vec<usize> = events
            .iter()
            .map(|event| match event.get(Field::ANCESTOR_IMAGES) {
                Some(Value::List(list)) => list.len(),
                _ => 0,
            })
            .collect();
        assert!(depths.iter().all(|depth| (1..=DEPTH).contains(depth)));
        assert!(depths.iter().filter(|depth| **depth >= 3).count() > depths.len() / 2);
    }
}
