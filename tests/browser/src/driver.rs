//! chromedriver on a port of its own, with its browsers' profiles in a scratch folder.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use beffroi_e2e::{Process, Scratch, wait_for};

use crate::browser::{Browser, Looks};

/// Until chromedriver listens, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running chromedriver; ended when it is dropped.
#[derive(Debug)]
pub struct Driver {
    process: Process,
    address: String,
    scratch: Scratch,
}

impl Driver {
    /// Starts it.
    ///
    /// # Errors
    /// It is not installed or does not come up.
    pub fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let log = scratch.path("chromedriver.log");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let mut process = Process::start("chromedriver", &mut command, &log)?;
        let mut port = None;
        wait_for("chromedriver's start", START_LIMIT, || {
            process.check()?;
            port = listening_port(&std::fs::read_to_string(&log)?);
            Ok(port.is_some())
        })?;
        let address = format!("127.0.0.1:{}", port.context("chromedriver names no port")?);
        Ok(Self { process, address, scratch })
    }

    /// A new browser.
    ///
    /// # Errors
    /// Chromium does not start.
    pub fn browser(&self, looks: Looks) -> Result<Browser> {
        Browser::open(&self.address, &self.scratch, looks).with_context(|| self.process.tail())
    }
}

fn listening_port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("started successfully on port ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
