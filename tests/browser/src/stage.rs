//! A collector with something to see: two replayed hosts of two tenants, a hostile one of a third, and a scan with its
//! answers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beffroi_e2e::{Collector, Host, Scratch, run, tree, wait_for};
use serde_json::Value;

/// Until the events of all hosts have become alerts, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Replayed hosts: tenant, name, recording.
const REPLAYED: [(&str, &str, &str); 2] =
    [("finances", "poste-214", "finances-poste-214.jsonl"), ("sante", "app-07", "sante-app-07.jsonl")];
/// What a hostile host puts into a command line. It runs from where a rule looks.
pub const HOSTILE: &str = "/tmp/.x/run <script>alert(1)</script> <img src=x onerror=alert(2)> \u{202e}fdp.exe \"'&";

/// Where the scan found its rule.
pub const MATCHED: &str = "/opt/app/shop.war!/WEB-INF/lib/log4j-core-2.14.1.jar";
/// What the scan could not look into.
pub const UNKNOWN: &str = "/opt/backup/\u{202e}piz.exe";

/// Somebody who may sign in.
#[derive(Debug, Clone)]
pub struct Person {
    /// Name in the audit.
    pub name: String,
    /// Their token.
    pub token: String,
}

/// The collector and who may look at it.
#[derive(Debug)]
pub struct Stage {
    collector: Collector,
    scratch: Scratch,
}

impl Stage {
    /// Starts it and waits until everything can be seen.
    ///
    /// # Errors
    /// A part does not come up; the error says which.
    pub fn set() -> Result<Self> {
        let scratch = Scratch::new()?;
        let collector = Collector::start(&scratch, "")?;
        let stage = Self { collector, scratch };
        let mut hosts = Vec::new();
        for (tenant, name, file) in REPLAYED {
            let host = Host::enroll(&stage.collector, &stage.scratch, tenant, name)?;
            host.replay(&tree().join("tests/fixtures/replay").join(file), &[])?;
            hosts.push(host);
        }
        stage.hostile_host()?;
        let seen = |tenant: &str| anyhow::Ok(!stage.collector.alerts(tenant)?.is_empty());
        wait_for("alerts of every tenant", LIMIT, || Ok(seen("finances")? && seen("sante")? && seen("interieur")?))?;
        stage.collector.wait_settled()?;
        // The terminal finds a host by the name that it gives itself, once that is stored.
        let listed = || Ok(stage.collector.ask(&["hosts", "list"])?.to_string().contains("\"poste-214\""));
        wait_for("poste-214 among the hosts", LIMIT, listed)?;
        stage.scan()?;
        stage.answer(&hosts[0])?;
        Ok(stage)
    }

    /// What a host answers to the scan, as recorded events: one match in a nested archive, one file nobody could look into.
    fn answer(&self, host: &Host) -> Result<()> {
        let scans = self.collector.ask(&["scan", "list"])?;
        let (order, issued) = (&scans[0]["order_id"], &scans[0]["issued"]);
        let event =
            |category: &str| serde_json::json!({"ts": issued, "category": category, "product": "linux", "OrderId": order});
        let with = |category: &str, more: Value| {
            let (mut event, more) = (event(category), more.as_object().cloned().unwrap_or_default());
            event.as_object_mut().expect("made as an object").extend(more);
            format!("{event}\n")
        };
        let (sha256, counted) = ("5a".repeat(32), [("FilesScanned", 4_821), ("FilesMatched", 1), ("FilesUnknown", 1)]);
        let mut done = serde_json::json!({"Action": "done"});
        counted.iter().for_each(|(field, count)| done[*field] = (*count).into());
        let lines = [
            with("scan", serde_json::json!({"Action": "accepted"})),
            with("antivirus", serde_json::json!({"Signature": "log4shell_marker", "Filename": MATCHED, "sha256": sha256})),
            with("scan", serde_json::json!({"Action": "unknown", "TargetFilename": UNKNOWN, "Reason": "encrypted"})),
            with("scan", done),
        ];
        let file = self.scratch.path("answer.jsonl");
        std::fs::write(&file, lines.concat())?;
        host.replay(&file, &[])?;
        let id = order.as_str().context("the scan has no id")?;
        let answered = || Ok(self.collector.ask(&["scan", "status", id])?.to_string().contains("\"state\":\"done\""));
        wait_for("the scan's answer", LIMIT, answered)
    }

    fn hostile_host(&self) -> Result<()> {
        let host = Host::enroll(&self.collector, &self.scratch, "interieur", "pc-hostile")?;
        let event = serde_json::json!({
            "ts": "2026-11-21T10:00:00Z", "category": "process_creation", "product": "linux", "ProcessId": 4242,
            "Image": "/tmp/.x/run", "CommandLine": HOSTILE, "User": "<b>mallory</b>",
            "ParentImage": "/usr/bin/bash", "ParentCommandLine": "bash",
        });
        let file = self.scratch.path("hostile.jsonl");
        std::fs::write(&file, format!("{event}\n"))?;
        host.replay(&file, &[])
    }

    /// A signed scan of one host.
    fn scan(&self) -> Result<()> {
        let keys = self.scratch.path("keys");
        let rules = self.scratch.path("marker.yar");
        std::fs::write(&rules, "rule log4shell_marker { strings: $a = \"jndi:ldap\" condition: $a }\n")?;
        self.cli(&["key", "root", "new", "--out"], &[&keys])?;
        self.cli(&["key", "operator", "new", "--name", "camille", "--out"], &[&keys])?;
        let public = keys.join("camille.pub");
        self.cli(
            &["key", "certify", "--name", "camille", "--tenant", "finances", "--root"],
            &[&keys, Path::new("--operator"), &public],
        )?;
        let (key, certificate) = (keys.join("camille.key"), keys.join("camille.beffroi"));
        let order =
            ["scan", "start", "--hosts", "poste-214", "--tenant", "finances", "--path", "/opt", "--ticket", "CERT-2026-118"];
        let order =
            [&order[..], &["--note", "Log4Shell, vulnerable jars", "--tlp", "amber", "--expires", "1h", "--rules"]].concat();
        self.cli(&order, &[&rules, Path::new("--key"), &key, Path::new("--cert"), &certificate])
    }

    fn cli(&self, arguments: &[&str], paths: &[&Path]) -> Result<()> {
        run(self.collector.cli()?.args(arguments).args(paths)).map(drop)
    }

    /// Where the console is.
    pub fn base(&self) -> String {
        format!("http://{}", self.collector.api())
    }

    /// Its address: host and port.
    pub fn address(&self) -> &str {
        self.collector.api()
    }

    /// Whether the audit holds a call of this operation through the console.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn is_audited(&self, operation: &str) -> Result<bool> {
        let answer = self.collector.ask(&["audit", "list", "--since", "1h", "--limit", "1000"])?;
        let records = answer.as_array().context("no list of audit records")?;
        Ok(records.iter().any(|record| record["door"] == "console" && record["operation"] == operation))
    }

    /// Whoever holds the admin's file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn admin(&self) -> Result<Person> {
        let token = std::fs::read_to_string(self.collector.data().join("api/admin.token"))?;
        Ok(Person { name: "admin".into(), token: token.trim().to_owned() })
    }

    /// An analyst of one tenant.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn analyst(&self, tenant: &str) -> Result<Person> {
        let file = self.scratch.path(format!("{tenant}.analyst"));
        let name = format!("camille.{tenant}");
        let arguments =
            ["token", "create", "--name", &name, "--scope", "analyst", "--tenant", tenant, "--expires", "1d", "--out"];
        self.cli(&arguments, &[&file])?;
        let token = std::fs::read_to_string(&file).context("the analyst's token")?;
        Ok(Person { name, token: token.trim().to_owned() })
    }

    /// Revokes somebody's token.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn revoke(&self, person: &Person) -> Result<()> {
        let answer = self.collector.ask(&["token", "list"])?;
        let tokens = answer.as_array().context("no list of tokens")?;
        let ours = tokens.iter().find(|token| token["name"] == person.name.as_str() && token["revoked"] == false);
        let id = ours.and_then(|token| token["token_id"].as_str()).with_context(|| format!("no token of {}", person.name))?;
        self.cli(&["token", "revoke", id], &[])
    }

    /// An alert of a tenant.
    ///
    /// # Errors
    /// There is none.
    pub fn alert(&self, tenant: &str) -> Result<String> {
        let alert = self.collector.alerts(tenant)?.into_iter().next();
        Ok(alert.with_context(|| format!("no alert of {tenant}"))?.alert_id)
    }

    /// The first id of a list of the terminal.
    fn first(&self, arguments: &[&str], field: &str) -> Result<String> {
        let answer = self.collector.ask(arguments)?;
        let list = answer.as_array().cloned().unwrap_or_default();
        let id = list.first().and_then(|row| row[field].as_str()).map(str::to_owned);
        id.with_context(|| format!("`beffroi {}` names no {field}: {answer}", arguments.join(" ")))
    }

    /// The page of the scan.
    ///
    /// # Errors
    /// There is none.
    pub fn scan_page(&self) -> Result<String> {
        Ok(format!("/scans/{}", self.first(&["scan", "list"], "order_id")?))
    }

    /// Every page of the console with something on it, as paths.
    ///
    /// # Errors
    /// Something is missing.
    pub fn pages(&self) -> Result<Vec<String>> {
        let alert = self.alert("sante")?;
        let hosts: Value = self.collector.ask(&["hosts", "list", "--tenant", "sante"])?;
        let host = hosts[0]["agent_id"].as_str().context("no host")?.to_owned();
        let scan = self.scan_page()?;
        let pages = [
            "/alerts".to_owned(),
            "/alerts?level=critical&text=nothing+fits+this".to_owned(),
            "/alerts?since=nonsense".to_owned(),
            format!("/alerts/{alert}"),
            format!("/alerts/{alert}/around?window=1h"),
            format!("/alerts/{}", self.alert("interieur")?),
            "/hosts".to_owned(),
            format!("/hosts/{host}"),
            "/scans".to_owned(),
            scan,
            "/status".to_owned(),
            "/alerts/ffffffffffffffffffffffffffffffff".to_owned(),
            "/nowhere".to_owned(),
        ];
        ensure!(pages.iter().all(|page| page.len() > 1), "{pages:?}");
        Ok(pages.to_vec())
    }
}
