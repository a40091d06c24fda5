//! `xtask red`: what a collector in the attacker's hands can make an agent do with orders. The answer must be: nothing.
//!
//! Owns the attacked host (a real agent, enrolled with a token that pins a root), the rounds, the table and the figures.
//! Everything runs on loopback below a scratch folder. The task fails when an attack was accepted, a process of the agent
//! died, or the genuine order that follows the attacks was not obeyed.

mod attacks;
mod host;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use beffroi_schema::down::blob_name;
use beffroi_schema::session::OrdersResponse;
use comfy_table::{Table, presets};

use crate::bench::figure::{Figure, Target};
use crate::line::Scratch;
use crate::show;

use attacks::{Attacker, Authority, FIRST_ROUND, Kind, OTHER_ROUNDS, REPLAYS};
use host::{Attacked, Counts};
use server::Server;

/// A rule that finds everything: an order that is accepted would be seen.
const RULE: &[u8] = b"rule Any { condition: true }\n";
/// How long an agent may take over one round.
const ROUND_LIMIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// A row of the result.
struct Row {
    name: &'static str,
    /// First byte of its orders' ids; 0 has none.
    mark: u8,
    sent: u64,
    refused: u64,
}

struct Red {
    server: Arc<Server>,
    attacker: Attacker,
    host: Attacked,
    rows: Vec<Row>,
    // Last, so that it is removed after the processes have ended.
    _scratch: Scratch,
}

/// Runs the attacks.
pub async fn run() -> Result<()> {
    let begun = Instant::now();
    let mut red = Red::start().await?;
    show::step("a collector in the attacker's hands sends orders to a real agent");
    red.attack().await?;
    let obeyed = red.finish_with_a_genuine_order().await?;
    red.report(obeyed, begun.elapsed())
}

impl Red {
    async fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let server = Server::start().await?;
        server.book().texts.insert(name(), RULE.to_vec());
        let target = scratch.path("target");
        std::fs::create_dir(&target)?;
        std::fs::write(target.join("file"), "content")?;
        let genuine = Authority::new()?;
        let host = Attacked::start(&scratch, &server, genuine.root_id()).await?;
        let folder = target.to_str().context("the scratch folder's path is no text")?;
        let attacker = Attacker::new(genuine, host.agent()?, blob_name(RULE), folder)?;
        Ok(Self { server, attacker, host, rows: Vec::new(), _scratch: scratch })
    }

    async fn attack(&mut self) -> Result<()> {
        let dismissal = self.attacker.dismissal()?;
        self.send([encode(&dismissal)]).await?;
        self.first_round().await?;
        for (number, kind) in OTHER_ROUNDS.iter().enumerate() {
            let mark = 0x80 + u8::try_from(number)?;
            let envelopes = self.attacker.make(kind, mark)?;
            let before = self.host.counts()?;
            let after = self.send(envelopes.iter().map(|envelope| encode(envelope))).await?;
            self.row(kind, mark, after.refused() - before.refused());
        }
        self.nonsense().await?;
        let (order, genuine) = self.attacker.genuine_order()?;
        self.send([encode(&genuine)]).await?;
        self.host.wait_answer(&self.server, order, "done", ROUND_LIMIT).await?;
        let before = self.host.counts()?;
        let replays = (0..REPLAYS).map(|_| encode(&genuine));
        let after = self.send(replays).await?;
        let refused = after.repeated() - before.repeated();
        self.rows.push(Row { name: "genuine, again and again", mark: 0xff, sent: REPLAYS, refused });
        Ok(())
    }

    /// All kinds that a host refuses for a reason of their own, mixed.
    async fn first_round(&mut self) -> Result<()> {
        let mut all = Vec::new();
        for (number, kind) in FIRST_ROUND.iter().enumerate() {
            all.push(self.attacker.make(kind, 1 + u8::try_from(number)?)?);
        }
        let before = self.host.counts()?;
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        let mixed =
            (0..longest).flat_map(|turn| all.iter().filter_map(move |kind| kind.get(turn))).map(|envelope| encode(envelope));
        let after = self.send(mixed.collect::<Vec<_>>()).await?;
        for (number, kind) in FIRST_ROUND.iter().enumerate() {
            let code = kind.code.unwrap_or_default();
            let refused = after.code(code) - before.code(code);
            self.row(kind, 1 + u8::try_from(number)?, refused);
        }
        Ok(())
    }

    /// Answers that are none: an agent must come back after them.
    async fn nonsense(&mut self) -> Result<()> {
        let long_cursor = format!("{{\"after\":\"{}\",\"orders\":[]}}", "9".repeat(100_000));
        let answers = vec![b"\xff\xfe no json".to_vec(), vec![b'['; 5 << 20], long_cursor.into_bytes()];
        let sent = answers.len() as u64;
        self.server.book().nonsense = answers;
        let texts = ["%%%", "", "no base64 at all \u{202e}"].map(str::to_owned);
        let before = self.host.counts()?;
        let after = self.send(texts).await?;
        show::say(&format!(
            "answers that are none: {sent}, and {} envelopes that are no base64; the agent came back",
            after.refused() - before.refused()
        ));
        Ok(())
    }

    fn row(&mut self, kind: &Kind, mark: u8, refused: u64) {
        self.rows.push(Row { name: kind.name, mark, sent: kind.count, refused });
    }

    /// Sends texts of envelopes and waits until the agent has dealt with all of them.
    async fn send(&mut self, texts: impl IntoIterator<Item = String>) -> Result<Counts> {
        let end = {
            let mut book = self.server.book();
            book.down.extend(texts);
            book.down.len()
        };
        let deadline = Instant::now() + ROUND_LIMIT;
        while self.server.book().reached < end {
            self.host.check()?;
            if Instant::now() > deadline {
                bail!("the agent is at order {} of {end} after {} s", self.server.book().reached, ROUND_LIMIT.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
        self.host.settled(ROUND_LIMIT).await
    }

    async fn finish_with_a_genuine_order(&mut self) -> Result<bool> {
        let (order, genuine) = self.attacker.genuine_order()?;
        self.send([encode(&genuine)]).await?;
        Ok(self.host.wait_answer(&self.server, order, "done", ROUND_LIMIT).await.is_ok())
    }

    fn report(mut self, obeyed: bool, took: Duration) -> Result<()> {
        let accepted = host::accepted(&self.server)?;
        let by_mark = |mark: u8| accepted.iter().filter(|order| order.0[0] == mark).count() as u64;
        let events = host::refusals_told(&self.server)?;
        let crashes = self.host.crashes()?;
        let drained = self.host.stop();
        println!("{}", table(&self.rows, by_mark));
        let sent: u64 = self.rows.iter().map(|row| row.sent).sum();
        // Ids of genuine orders begin with 0; two were given.
        let bad = accepted.len() as u64 - by_mark(0);
        let most = |name, value: u64, unit, limit: f64| Figure::new(name, value as f64, unit).target(Target::AtMost(limit));
        for figure in [
            Figure::new("red.sent", sent as f64, "orders").target(Target::AtLeast(10_000.0)),
            most("red.accepted", bad, "orders", 0.0),
            most("red.crashes", crashes, "crashes", 0.0),
            Figure::new("red.obeyed", by_mark(0) as f64, "orders").target(Target::AtLeast(2.0)),
            Figure::new("red.refusals_told", events as f64, "events"),
            Figure::new("red.took", took.as_secs_f64(), "s").target(Target::AtMost(60.0)),
        ] {
            println!("{figure}");
        }
        if bad > 0 || crashes > 0 || !obeyed || by_mark(0) != 2 || sent < 10_000 {
            bail!("{bad} attacks were accepted, {crashes} processes died, genuine orders obeyed: {obeyed}");
        }
        if !drained {
            bail!("the agent did not stop in time and was killed");
        }
        show::step("every attack was refused, and the agent still obeys its CSIRT");
        Ok(())
    }
}

fn name() -> String {
    blob_name(RULE).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of an envelope in an answer.
fn encode(envelope: &[u8]) -> String {
    OrdersResponse::new(String::new(), [envelope]).orders.pop().unwrap_or_default()
}

fn table(rows: &[Row], accepted: impl Fn(u8) -> u64) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ATTACK", "SENT", "ACCEPTED", "REFUSED"]);
    let mut sums = [0; 3];
    for row in rows {
        let figures = [row.sent, accepted(row.mark), row.refused];
        sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
        table.add_row([vec![row.name.to_owned()], figures.map(|figure| figure.to_string()).to_vec()].concat());
    }
    table.add_row([vec!["all".to_owned()], sums.map(|sum| sum.to_string()).to_vec()].concat());
    table
}
