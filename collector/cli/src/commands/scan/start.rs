//! `scan start`: rules are compiled, hosts are resolved, what will be asked is shown, and the order is signed, all on the
//! operator's machine; the server is handed the finished envelope.

use std::time::Duration;

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use beffroi_schema::down::Order;
use beffroi_schema::json::rfc3339;
use serde_json::{Value, json};

use super::progress;
use super::rules::Rules;
use super::select::{Selection, select};
use super::summary::{count, is_complete, number};
use super::{order, rules, status};
use crate::args::ScanStart;
use crate::certificate::{Signer, short};
use crate::client::{Client, rows};
use crate::config::Config;
use crate::errors::{Exit, Failure, Outcome};
use crate::output::{Form, Output, say};
use crate::safe::terminal;
use crate::when;

/// Hosts that the API lists at most.
const MAX_HOSTS: u64 = 10_000;
/// Names that the announcement lists.
const MAX_NAMED: usize = 8;

/// Standard base64, as the API takes bytes.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The verb.
pub async fn start(client: &Client, output: &Output, config: &Config, asked: &ScanStart) -> Outcome {
    let limits = Limits::read(asked)?;
    let rules = rules::load(&asked.rules)?;
    // The key before the network: a passphrase is asked for before anything waits.
    let signer = if asked.dry_run { None } else { Some(order::signer(&asked.signer, config)?) };
    let selection = resolve(client, asked).await?;
    let mut order = order::envelope(&selection, &asked.papers, order::life(asked.expires.as_deref(), &selection)?)?;
    order.action = Some(order::scan(rules.names(), &asked.path, limits.file_bytes, limits.seconds)?);
    announce(output, asked, &selection, &rules, &order, signer.as_ref());
    let Some(signer) = signer else {
        say("a dry run: nothing was signed or sent");
        return Ok(());
    };
    let envelope = order::sign(&signer, config, &order)?;
    let blobs: Vec<String> = rules.texts.iter().map(|text| base64(text)).collect();
    let id = hex::encode(&order.order_id);
    let body = json!({"envelope": base64(&envelope), "blobs": blobs});
    let answer = client.post("/v1/scans", &body).await.map_err(|failure| uncertain(failure, &id))?;
    let ordered = json!({"type": "order", "order_id": id, "asked": answer["asked"], "tenant": selection.tenant,
        "expires": rfc3339(order.expires)});
    if !asked.wait {
        return output.page(&ordered, |_| told(&ordered));
    }
    say(&told(&ordered));
    say("waiting; Ctrl-C leaves the scan running");
    if output.form() == Form::Ndjson {
        output.json_line(&ordered)?;
    }
    let scan = progress::wait(client, output, &id, limits.wait(&order)).await?;
    finish(output, &scan, asked.fail_on_match)
}

/// What was typed as sizes and times.
struct Limits {
    file_bytes: u64,
    seconds: u32,
    timeout: Option<Duration>,
}

impl Limits {
    fn read(asked: &ScanStart) -> Outcome<Self> {
        let seconds = |text: &Option<String>| text.as_deref().map(when::seconds).transpose();
        let long = |_| Failure::usage("--max-time is too long", "an order is good for 7 days at most");
        Ok(Self {
            file_bytes: asked.max_file_size.as_deref().map(order::size).transpose()?.unwrap_or_default(),
            seconds: u32::try_from(seconds(&asked.max_time)?.unwrap_or_default()).map_err(long)?,
            timeout: seconds(&asked.timeout)?.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs),
        })
    }

    /// How long to wait: as asked, or as long as the order is good.
    fn wait(&self, order: &Order) -> Duration {
        let life = u64::try_from(order.expires.saturating_sub(order.issued)).unwrap_or_default();
        self.timeout.unwrap_or(Duration::from_micros(life))
    }
}

async fn resolve(client: &Client, asked: &ScanStart) -> Outcome<Selection> {
    let query = [("tenant", asked.tenant.clone().unwrap_or_default()), ("limit", MAX_HOSTS.to_string())];
    let hosts = rows(&client.get("/v1/hosts", &query).await?, "hosts");
    let selection = select(&asked.hosts, asked.tenant.as_deref(), &hosts)?;
    if hosts.len() as u64 >= MAX_HOSTS && !selection.is_whole_tenant {
        say(&format!(
            "warning: only the first {MAX_HOSTS} hosts were looked through; --tenant narrows them, --hosts 'tenant:*' asks all"
        ));
    }
    Ok(selection)
}

/// What will be asked, before it is signed.
fn announce(output: &Output, asked: &ScanStart, selection: &Selection, rules: &Rules, order: &Order, signer: Option<&Signer>) {
    let paths: Vec<String> = asked.path.iter().map(|path| path.display().to_string()).collect();
    let by = signer.map_or_else(String::new, |signer| {
        format!("\n  signed by  {} (key {})", signer.certificate.body.name, short(&signer.certificate.id))
    });
    let expires = json!({"expires": rfc3339(order.expires)});
    say(&format!(
        "scan {}\n  hosts      {}\n  paths      {}\n  rules      {} in {} file(s)\n  until      {}{by}",
        hex::encode(&order.order_id),
        whom(selection),
        terminal(&paths.join(", ")),
        number(rules.count as u64),
        rules.texts.len(),
        output.shown(&expires, "/expires"),
    ));
}

fn whom(selection: &Selection) -> String {
    if selection.is_whole_tenant {
        return format!("every host of tenant {}, now and until it expires", terminal(&selection.tenant));
    }
    let names: Vec<&str> = selection.hosts.iter().take(MAX_NAMED).map(|host| host.name.as_str()).collect();
    let more = selection.hosts.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {} more", number(more as u64)) } else { String::new() };
    format!(
        "{} of tenant {}: {}{more}",
        number(selection.hosts.len() as u64),
        terminal(&selection.tenant),
        terminal(&names.join(", "))
    )
}

fn told(ordered: &Value) -> String {
    let id = terminal(ordered["order_id"].as_str().unwrap_or_default());
    format!(
        "scan {id} asks {} host(s); `beffroi scan status {}` shows how far they are",
        number(count(ordered, "asked")),
        &id[..12.min(id.len())]
    )
}

/// A call that broke off may have been carried out all the same.
fn uncertain(failure: Failure, id: &str) -> Failure {
    if !failure.is_passing {
        return failure;
    }
    let hint = format!("{}; whether the order was taken, `beffroi scan status {id}` tells", failure.hint);
    Failure { hint, ..failure }
}

/// The last word, and the exit code that scripts see.
fn finish(output: &Output, scan: &Value, fail_on_match: bool) -> Outcome {
    match output.form() {
        Form::Ndjson => {
            let mut line = scan.clone();
            if let Some(object) = line.as_object_mut() {
                object.remove("hosts");
                object.insert("type".into(), json!("scan"));
            }
            output.json_line(&line)?;
            say(&super::summary::sentence(scan));
        }
        _ => status::show(output, scan)?,
    }
    if count(scan, "offline") > 0 {
        say(&format!("hosts that are offline are asked when they come back, until {}", output.shown(scan, "/expires")));
    }
    let matched = count(scan, "files_matched");
    if matched > 0 {
        let id: String = scan["order_id"].as_str().unwrap_or_default().chars().take(12).collect();
        say(&format!("`beffroi scan results {}` shows what was found", terminal(&id)));
    }
    if fail_on_match && matched > 0 {
        return Err(Failure::silent(Exit::Found));
    }
    if is_complete(scan) { Ok(()) } else { Err(Failure::silent(Exit::Incomplete)) }
}
