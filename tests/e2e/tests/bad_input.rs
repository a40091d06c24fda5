//! Bad input over the running line: each kind is answered with what, where and what to do, and nothing else is lost.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beffroi_bus::{Bus, BusOptions, EmbeddedOptions, TailFrom, Topic};
use beffroi_e2e::{Collector, Host, Process, RULE, Scratch, Story, alone, binary, engine_or_skip, run, tree, wait_for};
use beffroi_gateway::testing::{FakeAgent, post_batch, post_json, stranger};
use beffroi_schema::alert::DeadLetter;
use beffroi_schema::batch::{BatchError, Envelope};
use beffroi_schema::session::{CertificateResponse, EnrollToken};
use beffroi_schema::{SigningKey, wire};
use ed25519_dalek::Signer as _;

const LIMIT: Duration = Duration::from_secs(90);
const TENANT: &str = "interieur";

/// A token of the terminal, for hosts that are only keys.
fn token(collector: &Collector, scratch: &Scratch, uses: &str) -> Result<EnrollToken> {
    let file = scratch.path("fake.token");
    run(collector.cli()?.args(["enroll", "token", "--tenant", TENANT, "--uses", uses, "--expires", "1h", "--out"]).arg(&file))?;
    Ok(EnrollToken::parse(std::fs::read_to_string(file)?.trim())?)
}

/// A client with the certificate of a newly enrolled agent.
async fn enrolled(collector: &Collector, token: &EnrollToken, agent: &FakeAgent) -> Result<reqwest::Client> {
    let ca = collector.ca()?;
    let request = agent.enroll_request(&token.token_id, &token.secret, agent.csr());
    let answer = post_json::<CertificateResponse>(&stranger(&ca), address(collector)?, wire::PATH_ENROLL, &request).await;
    let answer = answer.map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
    Ok(agent.client(&ca, &answer.certificate))
}

fn address(collector: &Collector) -> Result<SocketAddr> {
    collector.gateway().parse().context("the gateway's address")
}

fn async_runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// A signed batch whose body unpacks to a thousand times what its header announces. The identity key is the seed's.
fn bomb(seed: u8) -> Result<Vec<u8>> {
    let honest = FakeAgent::new(seed).batch(TENANT, 1, 100).bytes;
    let body = zstd::bulk::compress(&vec![0u8; 64 << 20], 3)?;
    // The header stays as it is: field 1, with a length below 128 * 128.
    let length = usize::from(honest[1] & 0x7f) | usize::from(honest[2]) << 7;
    let (header, two) = if honest[1] < 0x80 { (2 + usize::from(honest[1]), false) } else { (3 + length, true) };
    ensure!(honest[0] == 0x0a && (two || header < 130), "a batch begins with its header");
    let with = |signature: &[u8]| {
        let mut bytes = honest[..header].to_vec();
        for (field, value) in [(0x12, body.as_slice()), (0x1a, signature)] {
            bytes.push(field);
            let mut left = value.len();
            while left >= 0x80 {
                bytes.push((left & 0x7f) as u8 | 0x80);
                left >>= 7;
            }
            bytes.push(left as u8);
            bytes.extend_from_slice(value);
        }
        bytes
    };
    let hash = Envelope::parse(&with(&[0; 64]))?.hash();
    let signed = with(&SigningKey::from_bytes(&[seed; 32]).sign(&hash.0).to_bytes());
    Envelope::parse(&signed)?.verify().context("the bomb is signed by its host")?;
    Ok(signed)
}

/// A batch whose signature was made over other bytes.
fn forged(agent: &FakeAgent) -> Result<Vec<u8>> {
    let mut bytes = agent.batch(TENANT, 1, 100).bytes;
    *bytes.last_mut().context("a batch has bytes")? ^= 1;
    let verdict = Envelope::parse(&bytes)?.verify();
    ensure!(verdict == Err(BatchError::Signature), "the forged batch is judged {verdict:?}");
    Ok(bytes)
}

#[test]
fn bad_batches_are_refused_or_put_aside_and_what_follows_arrives() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let mut collector = Collector::start(&scratch, "")?;
    let token = token(&collector, &scratch, "2")?;
    let (good, forger) = (FakeAgent::new(1), FakeAgent::new(2));
    async_runtime()?.block_on(async {
        let gateway = address(&collector)?;
        let client = enrolled(&collector, &token, &good).await?;
        for (what, bytes, status, code) in [
            ("garbage", b"this is no protobuf".to_vec(), 400, "malformed"),
            ("an empty body", Vec::new(), 400, "malformed"),
            ("another tenant", good.batch("sante", 1, 100).bytes, 403, "identity_mismatch"),
            ("another agent", forger.batch(TENANT, 1, 100).bytes, 403, "identity_mismatch"),
        ] {
            let refused = post_batch(&client, gateway, bytes).await.err().with_context(|| format!("{what} was accepted"))?;
            ensure!((refused.status, refused.body.code.as_str()) == (status, code), "{what}: {refused:?}");
            ensure!(!refused.body.error.is_empty() && !refused.body.hint.is_empty(), "{what} without advice: {refused:?}");
        }
        let other = enrolled(&collector, &token, &forger).await?;
        let taken = post_batch(&other, gateway, forged(&forger)?).await;
        ensure!(taken.is_ok(), "only the detector looks at signatures: {taken:?}");
        let after = post_batch(&client, gateway, good.batch(TENANT, 1, 100).bytes).await;
        ensure!(after.is_ok(), "a good batch after bad ones: {after:?}");
        Ok(())
    })?;
    let visible = || collector.count(TENANT, "Image=/usr/bin/sh");
    wait_for("the good event", LIMIT, || Ok(visible()? == 1))?;
    collector.wait_settled()?;
    ensure!(visible()? == 1 && collector.count("sante", "product=linux")? == 0, "a bad batch has become an event");
    ensure!(collector.metric("beffroi_gateway_identity_mismatch_total")? == 2.0, "two identities were wrong");
    ensure!(collector.stop(), "the collector did not drain in time");
    the_dead_letters_are(&collector.data().join("bus"), &forger, &forged(&forger)?)
}

#[test]
fn a_bomb_and_a_broken_chain_are_put_aside_whole_and_what_follows_is_judged() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let mut collector = Collector::start(&scratch, "")?;
    let token = token(&collector, &scratch, "3")?;
    let [bomber, careless, good] = [3, 4, 5].map(FakeAgent::new);
    async_runtime()?.block_on(async {
        let gateway = address(&collector)?;
        let bombing = enrolled(&collector, &token, &bomber).await?;
        let taken = post_batch(&bombing, gateway, bomb(3)?).await;
        ensure!(taken.is_ok(), "only the detector unpacks: {taken:?}");
        let unchained = enrolled(&collector, &token, &careless).await?;
        // The second batch says that nothing came before it.
        for seq in [1, 2] {
            let taken = post_batch(&unchained, gateway, careless.batch(TENANT, seq, 100).bytes).await;
            ensure!(taken.is_ok(), "only the detector follows chains: {taken:?}");
        }
        let client = enrolled(&collector, &token, &good).await?;
        let after = post_batch(&client, gateway, good.batch(TENANT, 1, 100).bytes).await;
        ensure!(after.is_ok(), "a good batch after bad ones: {after:?}");
        Ok(())
    })?;
    let judged = || Ok(collector.metric("beffroi_detect_batches_total")? >= 4.0);
    wait_for("a verdict on every batch", LIMIT, judged)?;
    collector.wait_settled()?;
    ensure!(collector.metric("beffroi_detect_events_total")? == 2.0, "the first of the chain and the good one were judged");
    ensure!(collector.stop(), "the collector did not drain in time");
    let letters = dead_letters(&collector.data().join("bus"))?;
    let found: Vec<_> = letters.iter().map(|letter| (letter.code.as_str(), letter.key.clone())).collect();
    ensure!(found.len() == 2, "two dead letters were expected: {found:?}");
    for expected in [("compression", bomber.id().to_string()), ("chain", careless.id().to_string())] {
        ensure!(found.contains(&expected), "{expected:?} is not among {found:?}");
    }
    ensure!(letters.iter().all(|letter| !letter.reason.is_empty() && letter.tenant == TENANT), "{letters:?}");
    Ok(())
}

/// Reads the dead letters from the bus of a stopped collector.
fn dead_letters(bus: &Path) -> Result<Vec<DeadLetter>> {
    let options = BusOptions::Embedded(EmbeddedOptions { dir: bus.into(), ..EmbeddedOptions::default() });
    async_runtime()?.block_on(async {
        let bus = Bus::open(options).await?;
        let mut tail = bus.tail(Topic::DeadLetters, TailFrom::Beginning).await?;
        let mut letters: Vec<DeadLetter> = Vec::new();
        while !tail.caught_up().await? {
            letters.push(serde_json::from_slice(&tail.next().await?.value)?);
        }
        drop(tail);
        bus.close().await;
        anyhow::Ok(letters)
    })
}

/// Exactly the forged batch, whole.
fn the_dead_letters_are(bus: &Path, forger: &FakeAgent, forged: &[u8]) -> Result<()> {
    let letters = dead_letters(bus)?;
    let [letter] = letters.as_slice() else { anyhow::bail!("one dead letter was expected: {letters:?}") };
    ensure!(letter.code == "signature" && letter.reason.contains("altered or forged"), "{letter:?}");
    ensure!(letter.tenant == TENANT && letter.key == forger.id().to_string(), "{letter:?}");
    // Four characters of base64 for three bytes.
    ensure!(letter.value.len() == forged.len().div_ceil(3) * 4, "the letter does not hold the whole batch: {letter:?}");
    Ok(())
}

/// Runs the collector with a configuration that it must refuse.
fn refused_start(text: &str) -> Result<(String, String)> {
    let scratch = Scratch::new()?;
    let file = scratch.path("collector.toml");
    std::fs::write(&file, format!("data = {:?}\n{text}", scratch.path("data")))?;
    let log = scratch.path("log");
    let mut command = Command::new(binary("beffroi-collector")?);
    let mut process = Process::start("beffroi-collector", command.arg("--config").arg(&file), &log)?;
    let status = process.wait(LIMIT)?;
    ensure!(!status.success(), "the collector ended with {status}: {}", process.tail());
    Ok((std::fs::read_to_string(log)?, file.display().to_string()))
}

#[test]
fn an_unknown_key_ends_the_collector_with_file_line_and_key() -> Result<()> {
    let (said, file) = refused_start("[gateway]\nlissten = \"127.0.0.1:0\"\n")?;
    for held in [file.as_str(), "line 3", "lissten", "listen"] {
        ensure!(said.contains(held), "{held:?} is not in {said}");
    }
    Ok(())
}

#[test]
fn an_unreadable_rule_is_named_with_file_and_line_and_the_others_still_detect() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let rules = scratch.path("rules");
    std::fs::create_dir(&rules)?;
    std::fs::copy(tree().join("rules/sigma/linux/process_creation").join(RULE), rules.join(RULE))?;
    std::fs::write(rules.join("broken.yml"), "title: broken\nlogsource:\n    category: [process_creation\ndetection: {}\n")?;
    std::fs::write(rules.join("no-text.yml"), b"title: \xff\xfe\n")?;
    let collector = Collector::start(&scratch, &format!("[detect]\nrules = [{rules:?}]\n"))?;
    ensure!(collector.metric("beffroi_detect_rules")? == 1.0, "one rule can be read");
    ensure!(collector.metric("beffroi_detect_rules_refused")? == 2.0, "two cannot");
    let log = std::fs::read_to_string(scratch.path("collector.log"))?;
    for file in ["broken.yml", "no-text.yml"] {
        let said = log.lines().find(|line| line.contains(file)).with_context(|| format!("{file} is not named in {log}"))?;
        ensure!(said.contains("\"line\":") && said.contains("\"reason\":"), "{said}");
    }
    let host = Host::enroll(&collector, &scratch, TENANT, "pc-1")?;
    let story = Story::new("rules", 200);
    let file = scratch.path("story.jsonl");
    story.write(&file)?;
    host.replay(&file, &[])?;
    story.wait(&collector, TENANT, story.events(), LIMIT)?;
    story.verify(&collector, TENANT)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn failed(command: &mut Command) -> Result<String> {
    let Output { status, stderr, stdout } = command.stdin(Stdio::null()).output()?;
    ensure!(!status.success(), "this should have failed: {}", String::from_utf8_lossy(&stdout));
    Ok(String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn wrong_tokens_are_refused_with_advice_and_the_right_one_still_works() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let collector = Collector::start(&scratch, "")?;
    let right = token(&collector, &scratch, "1")?;
    let wrong = EnrollToken { secret: "00".repeat(16), ..right.clone() };
    let enrol = |state: &str, text: &str| -> Result<Command> {
        let file = scratch.path("enrol.token");
        std::fs::write(&file, text)?;
        let mut command = Command::new(binary("beffroi-agent")?);
        command.arg("--state").arg(scratch.path(state)).arg("enroll").arg("--token-file").arg(file);
        Ok(command)
    };
    let said = failed(&mut enrol("host", &wrong.to_text())?)?;
    ensure!(said.contains("token") && !said.contains(&wrong.secret), "a wrong enrolment token: {said}");
    let said = failed(&mut enrol("host", "not a token")?)?;
    ensure!(said.contains("token"), "an enrolment token that is none: {said}");
    run(&mut enrol("host", &right.to_text())?)?;
    let said = failed(&mut enrol("another-host", &right.to_text())?)?;
    ensure!(said.contains("token"), "an enrolment token that is used up: {said}");
    let file = scratch.path("api.token");
    std::fs::write(&file, "00".repeat(32))?;
    let said = failed(collector.cli()?.arg("--token-file").arg(&file).args(["alerts", "list"]))?;
    ensure!(said.contains("token") && said.contains("hint:") && !said.contains(&"00".repeat(32)), "a wrong API token: {said}");
    Ok(())
}

#[test]
fn clickhouse_that_is_absent_at_start_loses_nothing_once_it_comes() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let secret = scratch.path("clickhouse.secret");
    std::fs::write(&secret, "a-key-for-this-test-only")?;
    run(Command::new("chmod").arg("600").arg(&secret))?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let settings = format!(
        "[clickhouse]\nembedded = false\n[store]\nurl = \"http://{address}\"\nuser = \"beffroi\"\npassword_file = {secret:?}\n"
    );
    let collector = Collector::start_unready(&scratch, &settings)?;
    wait_for("a store that says what is missing", LIMIT, || {
        let store = collector.role("store")?;
        Ok(store["ready"] == false && store["detail"].as_str().is_some_and(|detail| detail.contains(&address)))
    })?;
    let host = Host::enroll(&collector, &scratch, TENANT, "pc-1")?;
    let story = Story::new("early", 500);
    let file = scratch.path("story.jsonl");
    story.write(&file)?;
    host.replay(&file, &[]).context("events are taken while ClickHouse is absent")?;
    let mut engine = Command::new(binary("clickhouse-embedded")?);
    engine.args(["--listen", &address, "--secret-file"]).arg(&secret).arg("--data").arg(scratch.path("clickhouse"));
    let _engine = Process::start("clickhouse-embedded", &mut engine, &scratch.path("clickhouse.log"))?;
    collector.wait_ready()?;
    story.wait(&collector, TENANT, story.events(), LIMIT)?;
    story.verify(&collector, TENANT)
}

#[test]
fn events_of_1970_and_2090_are_stored_with_their_own_time_and_found() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let collector = Collector::start(&scratch, "")?;
    let host = Host::enroll(&collector, &scratch, TENANT, "pc-1")?;
    let times = ["1970-01-01T00:00:01Z", "2026-11-20T10:00:00Z", "2090-06-01T12:00:00Z"];
    let line = |time| {
        format!(
            "{{\"ts\":\"{time}\",\"category\":\"process_creation\",\"Image\":\"/tmp/.x/a\",\"CommandLine\":\"clock {time}\"}}\n"
        )
    };
    let file = scratch.path("clocks.jsonl");
    std::fs::write(&file, times.map(line).concat())?;
    host.replay(&file, &[])?;
    wait_for("three events", LIMIT, || Ok(collector.count(TENANT, "CommandLine~clock ")? == times.len() as u64))?;
    collector.wait_settled()?;
    let found = collector.ask(&["events", "search", "CommandLine~clock ", "--tenant", TENANT])?;
    let found = found.as_array().context("events")?;
    ensure!(found.len() == times.len(), "{found:?}");
    for event in found {
        let (ts, said) = (event["ts"].as_str().unwrap_or_default(), event["CommandLine"].as_str().unwrap_or_default());
        ensure!(said.ends_with(&format!("{}Z", &ts[..19])), "the event of {said:?} stands at {ts}");
    }
    let alerts = collector.alerts(TENANT)?;
    ensure!(alerts.len() == times.len() && alerts.iter().all(|alert| alert.count == 1), "an alert for each clock: {alerts:?}");
    Ok(())
}
