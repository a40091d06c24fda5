//! Where a test finds what it runs, and where it keeps its files.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

/// A folder of one test; removed when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// A new folder that other users can enter: parts of agent and collector run unprivileged.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("beffroi-e2e-").tempdir().context("cannot make a scratch folder")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A binary of this workspace, built in the profile of the running test.
///
/// # Errors
/// It is not there; the error names the command that builds it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("the path of this test")?;
    // A test lies in a folder below the binaries, another binary beside them.
    let mut places = test.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    match places.find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("{name} was not built beside {}; build it with `make build`", test.display()),
    }
}

/// Root of the source tree.
pub fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate lies two folders below the root").to_path_buf()
}

/// Says that a test cannot run here. Written past the harness, which would swallow it when the test passes.
pub fn skip(why: impl std::fmt::Display) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // Nobody to tell when stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {name}: {why}");
}

/// Whether the ClickHouse engine is on this machine; says so when it is not.
pub fn engine_or_skip() -> bool {
    let library = beffroi_clickhouse_embedded::default_library();
    let there = library.as_ref().is_some_and(|path| path.is_file());
    if !there {
        let path = library.map_or_else(|| "libchdb.so".into(), |path| path.display().to_string());
        skip(format!("the ClickHouse engine {path} is absent; `make setup` fetches it"));
    }
    there
}

/// Lets the tests of one file run one after another: each starts a collector with an engine of its own.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed left nothing behind that the next one shares.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
