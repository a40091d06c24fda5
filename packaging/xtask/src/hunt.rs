//! The hunt of the story: a signed scan of a ministry for a marker inside a jar inside a war, a host that does not
//! answer, and an order that somebody else signed.
//!
//! Everything goes through the operator's own commands; what the hosts answered is read back through the API.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use serde_json::Value;

use crate::line::{Line, Scratch, run, tree};
use crate::reader::{LOOK_EVERY, Reader};
use crate::show;

/// Text inside the planted class. Put together here, so that this source file is no match itself.
const MARKER: [&str; 2] = ["BEFFROI-DEMO-", "VULNERABLE-LOOKUP"];
/// How long the host that runs may take to answer on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Keys of a root and of one operator under it.
struct Keys {
    root: PathBuf,
    operator: PathBuf,
}

impl Keys {
    /// The lines by which an operator's configuration names them.
    fn lines(&self) -> String {
        format!(
            "root_cert = {:?}\noperator_key = {:?}\noperator_cert = {:?}\n",
            self.root.join("root.beffroi"),
            self.operator.join("csirt.key"),
            self.operator.join("csirt.beffroi"),
        )
    }
}

/// Makes a root and an operator with the operator's own commands.
fn make_keys(line: &Line, scratch: &Scratch, name: &str, tenant: &str) -> Result<Keys> {
    let keys = Keys { root: scratch.path(format!("keys/{name}-root")), operator: scratch.path(format!("keys/{name}")) };
    let key = |arguments: &[&str], more: &[(&str, &Path)]| -> Result<()> {
        let mut command = line.cli()?;
        command.arg("key").args(arguments);
        for (option, path) in more {
            command.arg(option).arg(path);
        }
        run(&mut command, "beffroi key").map(drop)
    };
    std::fs::create_dir_all(scratch.path("keys"))?;
    key(&["root", "new"], &[("--out", &keys.root)])?;
    key(&["operator", "new", "--name", "csirt"], &[("--out", &keys.operator)])?;
    let public = keys.operator.join("csirt.pub");
    key(&["certify", "--name", name, "--tenant", tenant], &[("--root", &keys.root), ("--operator", &public)])?;
    Ok(keys)
}

/// The CSIRT of the story, whose root the hosts pin when they enrol.
pub struct Csirt {
    stranger: Keys,
}

impl Csirt {
    /// Makes the CSIRT's keys and those of a stranger, and names the former in the operator's configuration.
    pub fn begin(line: &Line, scratch: &Scratch, tenant: &str) -> Result<Self> {
        let own = make_keys(line, scratch, "csirt", tenant)?;
        let stranger = make_keys(line, scratch, "stranger", tenant)?;
        line.configure(&own.lines())?;
        Ok(Self { stranger })
    }

    /// Orders a scan of a whole tenant below `path`; returns the order's id.
    pub fn hunt(&self, line: &Line, tenant: &str, path: &Path) -> Result<String> {
        scan(line.cli()?, tenant, path, "vulnerable lookup class, CVE-2021-44228")
    }

    /// The same order, signed by somebody who has taken over a server and the API's token, and whose root no host knows.
    /// The stranger's own terminal trusts the stranger's own root, and servers relay the order like any other.
    pub fn forge(&self, line: &Line, tenant: &str, path: &Path) -> Result<String> {
        scan(line.cli_of("stranger", &self.stranger.lines())?, tenant, path, "an order that the CSIRT never gave")
    }
}

fn scan(mut command: Command, tenant: &str, path: &Path, note: &str) -> Result<String> {
    command.args(["scan", "start", "--output", "json", "--hosts", "tenant:*", "--tenant", tenant, "--expires", "10m"]);
    command.args(["--ticket", "CSIRT-2021-44228", "--tlp", "amber", "--note", note]);
    command.arg("--rules").arg(tree().join("tests/fixtures/hunt/vulnerable_marker.yar"));
    command.arg("--path").arg(path);
    let answer = run(&mut command, "beffroi scan start")?;
    let answer: Value = serde_json::from_str(&answer).context("`beffroi scan start` gave no JSON")?;
    Ok(answer["order_id"].as_str().context("the answer names no order")?.to_string())
}

/// Plants a war with a jar with the marked class below the scene; returns the folder to look through.
pub fn plant(scratch: &Scratch) -> Result<PathBuf> {
    let folder = scratch.path("scene/opt/rendezvous/webapps");
    std::fs::create_dir_all(&folder)?;
    let class = [b"\xca\xfe\xba\xbe\0\0\0\x34".as_slice(), MARKER.concat().as_bytes()].concat();
    let jar =
        archive(&[("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n"), ("org/example/core/lookup/JndiLookup.class", &class)])?;
    let war = archive(&[("index.html", b"<h1>rendez-vous</h1>\n"), ("WEB-INF/lib/core-2.14.1.jar", &jar)])?;
    std::fs::write(folder.join("rendezvous.war"), war)?;
    std::fs::write(folder.join("LISEZMOI.txt"), "Application de prise de rendez-vous\n")?;
    Ok(folder)
}

fn archive(members: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = ZipArchiveWriter::new(&mut bytes);
    for (name, content) in members {
        let (mut entry, config) = writer.new_file(name).compression_method(CompressionMethod::DEFLATE).start()?;
        let mut packed = config.wrap(DeflateEncoder::new(&mut entry, Compression::default()));
        packed.write_all(content)?;
        let (encoder, descriptor) = packed.finish()?;
        encoder.finish()?;
        entry.finish(descriptor)?;
    }
    writer.finish()?;
    Ok(bytes)
}

/// What a hunt must have given before the story goes on.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Hosts that were scanned to the end.
    pub done: u64,
    /// Hosts that refused.
    pub refused: u64,
    /// Hosts that say nothing because they are away.
    pub offline: u64,
}

/// Waits until a scan has what is wanted; returns its status.
pub async fn answered(reader: &Reader, order_id: &str, wanted: Wanted) -> Result<Value> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    loop {
        let status = reader.get(&format!("/v1/scans/{order_id}")).await?;
        let hosts = status["hosts"].as_array().context("the scan names no hosts")?;
        let count = |state: &str| hosts.iter().filter(|host| host["state"] == state).count() as u64;
        if count("done") == wanted.done && count("refused") == wanted.refused && count("offline") == wanted.offline {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            bail!("the hosts did not answer as expected ({wanted:?}); the scan says {status}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks the marker up in the results of a hunt.
pub async fn found(reader: &Reader, order_id: &str) -> Result<bool> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    while Instant::now() < deadline {
        let results = reader.get(&format!("/v1/scans/{order_id}/results?limit=100")).await?;
        let matches = results["matches"].as_array().cloned().unwrap_or_default();
        let inside = |found: &Value| found["path"].as_str().is_some_and(|path| path.ends_with("JndiLookup.class"));
        if let Some(found) = matches.iter().find(|found| inside(found)) {
            show::say(&format!("found on {}: {}", text(&found["host"]), text(&found["path"])));
            return Ok(true);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(false)
}

/// The sentence of a scan: who was asked, who answered, who did not.
pub fn sentence(status: &Value) -> String {
    let away: Vec<&str> = status["hosts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|host| host["state"] == "offline")
        .filter_map(|host| host["hostname"].as_str())
        .collect();
    format!(
        "asked {}, answered {}, refused {}, offline {} ({}); {} files scanned, {} matched, {} unknown",
        status["asked"],
        status["answered"],
        status["refused"],
        status["offline"],
        away.join(", "),
        status["files_scanned"],
        status["files_matched"],
        status["files_unknown"]
    )
}

/// Why the first host that refused did so.
pub fn refusal(status: &Value) -> Option<&str> {
    let mut hosts = status["hosts"].as_array()?.iter();
    hosts.find(|host| host["state"] == "refused")?["reason"].as_str()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
