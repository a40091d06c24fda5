//! A scan worker for the tests: the child is the test binary itself, with an engine that does on command what a real one
//! does by accident. Each test binary has a `worker_entry` for it.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::path::Path;
use std::time::Duration;

use beffroi_scan::job::{Counters, Found, Job, Observer, Report, Skip, run};
use beffroi_scan::{Content, Engine, Hit, Judge, Launcher, ScanOptions, Scanner, Unjudged, WorkerOptions, worker};

/// The engine. What begins with `EVIL` is evil.
pub struct Obedient;

impl Engine for Obedient {
    fn ruleset(&self) -> String {
        "obedient".into()
    }
    fn rules(&self) -> usize {
        1
    }
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
    fn judge(&self) -> Box<dyn Judge + '_> {
        Box::new(Obedient)
    }
}

impl Judge for Obedient {
    fn scan(&mut self, content: &Content<'_>) -> Result<Vec<Hit>, Unjudged> {
        match content.bytes {
            b"ENDLESS" => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            b"CRASH" => std::process::abort(),
            b"MEMORY" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 16 << 20]);
                }
            }
            b"SLOW" => Err(Unjudged { reason: format!("the budget of {:?} is spent", content.budget), timed_out: true }),
            b"SOCKET" => Ok(std::net::TcpListener::bind("127.0.0.1:0").map_or(Vec::new(), |_| vec![hit("socket")])),
            b"PROGRAM" => Ok(std::process::Command::new("/bin/true").status().map_or(Vec::new(), |_| vec![hit("program")])),
            bytes if bytes.starts_with(b"EVIL") => Ok(vec![hit("Evil")]),
            _ => Ok(Vec::new()),
        }
    }
}

/// What the engine says of evil.
pub fn hit(rule: &str) -> Hit {
    Hit { rule: rule.into(), strings: vec!["$a@0x0".into()], ..Hit::default() }
}

/// What the child runs: to be called by an ignored test named `worker_entry`.
pub fn work<E: Engine>(load: impl FnOnce(&WorkerOptions) -> Result<E, String>) {
    let Some(options) = std::env::args().next_back().and_then(|text| serde_json::from_str::<WorkerOptions>(&text).ok()) else {
        return;
    };
    let _ = worker::run(&options, load);
}

/// Starts a scanner whose child is this test binary.
pub fn start(options: ScanOptions) -> Scanner {
    let arguments = ["worker_entry", "--exact", "--ignored", "--nocapture", "--test-threads=1", "--"];
    let program = std::env::current_exe().unwrap();
    Scanner::start(options, Launcher { program, arguments: arguments.map(Into::into).to_vec() }).unwrap()
}

/// Small limits, so that tests reach them.
pub fn options() -> ScanOptions {
    ScanOptions { timeout_ms: 300, memory_bytes: 256 << 20, max_file_bytes: 1 << 20, ..Default::default() }
}

/// Hears everything of a job.
#[derive(Debug, Default)]
pub struct Ear {
    pub matched: Vec<Found>,
    pub unknown: Vec<(String, String)>,
    pub skipped: Vec<(String, Skip)>,
    pub progress: Vec<Counters>,
}

impl Observer for Ear {
    fn matched(&mut self, found: &Found) {
        self.matched.push(found.clone());
    }
    fn unknown(&mut self, path: &[u8], reason: &str) {
        self.unknown.push((String::from_utf8_lossy(path).into(), reason.into()));
    }
    fn skipped(&mut self, path: &[u8], why: Skip) {
        self.skipped.push((String::from_utf8_lossy(path).into(), why));
    }
    fn progress(&mut self, counters: &Counters) {
        self.progress.push(*counters);
    }
}

impl Ear {
    /// Paths that matched, below `root`.
    pub fn matches(&self, root: &Path) -> Vec<String> {
        let below = |path: &[u8]| String::from_utf8_lossy(path).replace(&format!("{}/", root.display()), "");
        self.matched.iter().map(|found| below(&found.path)).collect()
    }

    /// Why the path that ends so is unknown; empty when it is not.
    pub fn reason(&self, ending: &str) -> &str {
        self.unknown.iter().find(|(path, _)| path.ends_with(ending)).map_or("", |(_, reason)| reason)
    }
}

/// Runs a job and hears it.
pub fn hear(scanner: &mut Scanner, job: &Job) -> (Report, Ear) {
    let mut ear = Ear::default();
    let report = run(scanner, job, &mut ear);
    (report, ear)
}

/// A job over one folder.
pub fn over(root: &Path) -> Job {
    use std::os::unix::ffi::OsStrExt;
    Job::new(vec![root.as_os_str().as_bytes().to_vec()])
}
