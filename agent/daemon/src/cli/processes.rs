//! The long-running subcommands: supervisor, sensor, uplink, scan worker.
//!
//! Owns the order of their first steps: signals, then privileges, then threads.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use beffroi_scan::{WorkerOptions, YaraEngine};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::runtime;
use crate::config::Config;
use crate::identity::{Enrolment, load_enrolled_key};
use crate::layout::Layout;
use crate::stop::{Stop, end_with, unblock};
use crate::supervisor::Supervisor;
use crate::uplink::{Signer, Uplink};
use crate::users::User;

pub(super) fn run(layout: &Layout, config: &Config, config_file: Option<&Path>) -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    // Said once here instead of by two children for ever.
    let enrolment = Enrolment::load(layout)?;
    load_enrolled_key(layout, &enrolment)?;
    let uplink = User::for_process(config.uplink.user.as_deref(), "beffroi-uplink", "uplink.user")?;
    layout.prepare(&uplink)?;
    let mut arguments = vec!["--state".into(), layout.root().into()];
    if let Some(file) = config_file {
        arguments.extend(["--config".into(), file.into()]);
    }
    let killed = Supervisor::new(&["sensor", "uplink"], arguments)?.run(&stop);
    tracing::info!(killed, "stopped");
    Ok(if killed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn sensor(layout: &Layout, config: &Config, parent: Option<i32>) -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    if let Some(parent) = parent {
        end_with(parent)?;
    }
    let abandoned = crate::sensing::run(layout, config, &stop)?;
    if abandoned > 0 {
        tracing::error!(abandoned, "records could not be made durable before the stop");
        return Ok(ExitCode::FAILURE);
    }
    tracing::info!("the sensor has stopped; everything recorded is on the spool");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn uplink(layout: &Layout, config: &Config, parent: Option<i32>) -> Result<ExitCode> {
    unblock()?;
    let user = User::for_process(config.uplink.user.as_deref(), "beffroi-uplink", "uplink.user")?;
    user.become_for_good()?;
    // After the change of user, which clears it.
    if let Some(parent) = parent {
        end_with(parent)?;
    }
    runtime()?.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let enrolment = Enrolment::load(layout)?;
        let uplink = Uplink::open(layout, &config.uplink, enrolment, Signer::Sensor(layout.socket()))?;
        tracing::info!(user = user.name, "sending");
        let running = tokio::spawn(uplink.run(stopped));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // The receiver lives in the task; if that has ended there is nobody to tell.
        let _ = stop.send(true);
        running.await.context("the uplink ended in an error of this program")?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn scan_worker(options: &str) -> Result<ExitCode> {
    let options: WorkerOptions = serde_json::from_str(options).context("these are no options of a scan worker")?;
    beffroi_scan::worker::run(&options, YaraEngine::load)?;
    Ok(ExitCode::SUCCESS)
}
