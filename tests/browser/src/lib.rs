//! The console in a real browser: Debian's Chromium, driven over WebDriver, before a real collector with replayed hosts.
//!
//! [`Stage`] is a collector with alerts, hosts and a scan; [`Driver`] is a running chromedriver; [`Browser`] one session of
//! it; [`axe`] judges whether a page can be used by everybody. The WebDriver client is our own few lines of JSON over
//! loopback: a library for it would turn features of shared dependencies on for the whole workspace.
//!
//! Where Chromium or axe-core is absent a test says `SKIPPED` on stderr; with `BEFFROI_REQUIRE_BROWSER=1` that is an error.

#![forbid(unsafe_code)]

pub mod axe;
mod browser;
mod driver;
mod stage;
mod wire;

use std::path::PathBuf;

use anyhow::{Result, bail};

pub use browser::{Browser, Looks};
pub use driver::Driver;
pub use stage::{MATCHED, Person, Stage};
pub use wire::{Answer, send};

/// Whether browser, driver and axe-core are on this machine; says so when they are not.
///
/// # Errors
/// They are required and absent.
pub fn browser_or_skip() -> Result<bool> {
    let mut absent: Vec<String> = Vec::new();
    absent.extend(["chromium", "chromedriver"].iter().filter(|name| program(name).is_none()).map(|name| (*name).to_owned()));
    if axe::file().is_none_or(|file| !file.is_file()) {
        absent.push("axe-core".into());
    }
    if absent.is_empty() {
        return Ok(beffroi_e2e::engine_or_skip());
    }
    let why = format!("{} is absent; `make setup-test` installs it", absent.join(", "));
    if std::env::var_os("BEFFROI_REQUIRE_BROWSER").is_some() {
        bail!("{why}");
    }
    beffroi_e2e::skip(why);
    Ok(false)
}

/// A program on the `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
