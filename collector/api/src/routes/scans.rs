//! Scans: signed orders taken in and handed down, how they stand, what they found.

use beffroi_bus::Outgoing;
use beffroi_bus::control::Outcome;
use beffroi_schema::AgentId;
use beffroi_schema::control::{Change, ScanOrdered};
use beffroi_schema::wire::{CONTENT_TYPE_BLOB, HEADER_CONTENT_TYPE};
use beffroi_store::{MIN_PREFIX, ScanMatch, ScanUnknown};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::given::{Blob, Given, MAX_RULES_BYTES, blobs};
use super::scan_status::{Ordered, ScanStatus, ScanSummary, Seen, status, summary};
use super::tokens::not_covered;
use crate::ask::Operation;
use crate::desk::{Desk, lost};
use crate::error::Refusal;
use crate::params;

/// Scans of a list when no number is asked for, and at most.
const DEFAULT_ROWS: usize = 50;
const MAX_ROWS: usize = 200;
/// Matches and unknown files of one answer when no number is asked for.
const DEFAULT_RESULTS: u64 = 1_000;
/// Candidates that an ambiguous prefix lists.
const MAX_CANDIDATES: usize = 10;
/// Digits of an order's id.
const ID_CHARS: usize = 32;

/// Gives a signed scan order to the fleet.
pub(crate) struct Create;

/// A signed order, and the rule texts that it names.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ScanInput")]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateInput {
    /// The signed order, base64.
    pub(crate) envelope: String,
    /// Each rule text that it names, base64.
    pub(crate) blobs: Vec<String>,
}

/// It was given.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ScanCreated")]
pub(crate) struct Created {
    /// Id of the order.
    pub(crate) order_id: String,
    /// Hosts that are asked.
    pub(crate) asked: u64,
    #[serde(skip)]
    again: bool,
}

impl Operation for Create {
    type Input = CreateInput;
    type Answer = Created;
    // Rule texts in base64, and the envelope.
    const MAX_BODY: usize = MAX_RULES_BYTES / 3 * 4 + 1024 * 1024;

    async fn run(desk: &Desk<'_>, asked: CreateInput) -> Result<Created, Refusal> {
        let given = Given::read(&asked.envelope)?;
        if !desk.allows(&given.tenant) {
            return Err(not_covered());
        }
        given.check(params::now())?;
        let (order, rules) = (given.ordered()?, blobs(given.scan()?, &asked.blobs)?);
        drop(asked);
        known_hosts(desk, &order)?;
        let _one_at_a_time = desk.giving().await;
        let again = match desk.scan(&given.id, |look| look.scan.scan.clone()) {
            Some(known) if known == order => true,
            Some(_) => return Err(Refusal::lost("a different order has this id already; sign a new one", "sign a new one")),
            None => false,
        };
        give(desk, &given, order, rules, again).await?;
        let hosts = desk.scan(&given.id, |look| look.asked().len()).unwrap_or_default();
        Ok(Created { order_id: given.id, asked: hosts as u64, again })
    }

    fn rows(_answer: &Created) -> u64 {
        1
    }

    fn status(answer: &Created) -> StatusCode {
        if answer.again { StatusCode::OK } else { StatusCode::CREATED }
    }

    fn audited(input: &CreateInput) -> serde_json::Value {
        Given::read(&input.envelope).map(|given| given.audited()).unwrap_or_default()
    }
}

/// Whether every host that the order names is one of its tenant's. Another tenant's host is an unknown one.
fn known_hosts(desk: &Desk<'_>, order: &ScanOrdered) -> Result<(), Refusal> {
    let of_tenant = desk.narrowed(Some(&order.tenant));
    let known = |id: &AgentId| of_tenant.host(id, |look| look.revoked.is_none()).unwrap_or(false);
    match order.asked.iter().find(|id| !known(id)) {
        Some(id) => {
            let error = format!("the tenant {} has no host {id} that is not cut off", order.tenant);
            Err(Refusal::bad(error, "take the ids from `beffroi hosts list`, and sign the order again"))
        }
        None => Ok(()),
    }
}

/// Rule texts first, then the record by which everybody knows of the scan, then the order itself: whoever hands out the
/// order has its rules, and no host can answer a scan that nobody knows. What an earlier try left undone is finished.
async fn give(desk: &Desk<'_>, given: &Given, order: ScanOrdered, rules: Vec<Blob>, again: bool) -> Result<(), Refusal> {
    if again && desk.stands_down(&given.id).await? {
        return Ok(());
    }
    for (hash, text) in rules {
        desk.publish_down(Outgoing::new(hash, text).header(HEADER_CONTENT_TYPE, CONTENT_TYPE_BLOB)).await?;
    }
    if let Outcome::Lost(why) = desk.submit(Change::ScanOrdered(order)).await? {
        return Err(lost(&why, "sign a new one"));
    }
    desk.publish_down(Outgoing::new(given.id.as_bytes(), given.envelope.clone())).await
}

/// Ends a scan.
pub(crate) struct Cancel;

/// Which scan, and the signed cancellation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ScanCancelInput")]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelInput {
    /// Id of the scan's order, or a prefix of at least six digits.
    pub(crate) id: String,
    /// The signed cancellation, base64.
    pub(crate) envelope: String,
}

/// It is cancelled.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ScanCancelled")]
pub(crate) struct Cancelled {
    /// The scan.
    pub(crate) order_id: String,
    /// The order that ended it first.
    pub(crate) cancel_id: String,
    /// Always true.
    pub(crate) cancelled: bool,
}

impl Operation for Cancel {
    type Input = CancelInput;
    type Answer = Cancelled;

    async fn run(desk: &Desk<'_>, asked: CancelInput) -> Result<Cancelled, Refusal> {
        let order_id = resolve(desk, &asked.id)?;
        let tenant = desk.scan(&order_id, |look| look.scan.scan.tenant.clone()).ok_or_else(|| Refusal::unknown("scan"))?;
        let given = Given::read(&asked.envelope)?;
        given.check(params::now())?;
        if given.cancels()? != order_id || given.tenant != tenant {
            return Err(Refusal::bad("the envelope cancels another scan", "sign the cancellation of this one"));
        }
        let _one_at_a_time = desk.giving().await;
        let change = Change::ScanCancelled { order_id: order_id.clone(), cancel_id: given.id.clone() };
        if let Outcome::Lost(why) = desk.submit(change).await? {
            return Err(lost(&why, "list the scans with `beffroi scan list`"));
        }
        let first = desk.scan(&order_id, |look| look.scan.cancelled.as_ref().map(|it| it.cancel_id.clone())).flatten();
        if !desk.stands_down(&given.id).await? {
            desk.publish_down(Outgoing::new(given.id.as_bytes(), given.envelope)).await?;
        }
        Ok(Cancelled { order_id, cancel_id: first.unwrap_or(given.id), cancelled: true })
    }

    fn rows(_answer: &Cancelled) -> u64 {
        1
    }

    fn audited(input: &CancelInput) -> serde_json::Value {
        let given = Given::read(&input.envelope).map(|given| given.audited()).unwrap_or_default();
        serde_json::json!({ "id": input.id, "cancellation": given })
    }
}

/// The whole id of a scan, from a prefix of at least six digits.
fn resolve(desk: &Desk<'_>, text: &str) -> Result<String, Refusal> {
    let prefix = text.to_ascii_lowercase();
    let fits = (MIN_PREFIX..=ID_CHARS).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_hexdigit());
    let ids = desk.scans(|look| look.scan.scan.order_id.clone());
    let mut ids: Vec<String> = ids.into_iter().filter(|id| fits && id.starts_with(&prefix)).collect();
    ids.truncate(MAX_CANDIDATES);
    match ids.len() {
        0 => Err(Refusal::unknown("scan")),
        1 => Ok(ids.remove(0)),
        _ => Err(Refusal::ambiguous("scan", &ids)),
    }
}

fn ordered(desk: &Desk<'_>, text: &str) -> Result<Ordered, Refusal> {
    let id = resolve(desk, text)?;
    desk.scan(&id, Ordered::of).ok_or_else(|| Refusal::unknown("scan"))
}

/// Scans, newest first.
pub(crate) struct List;

/// Which scans.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ScanListInput")]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListInput {
    /// Only this tenant.
    pub(crate) tenant: Option<String>,
    /// Rows; 0 for 50, at most 200.
    pub(crate) limit: u64,
}

/// A list of scans.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ScanList")]
pub(crate) struct Scans {
    /// Newest first.
    pub(crate) scans: Vec<ScanSummary>,
}

impl Operation for List {
    type Input = ListInput;
    type Answer = Scans;

    async fn run(desk: &Desk<'_>, p: ListInput) -> Result<Scans, Refusal> {
        let desk = desk.narrowed(p.tenant.as_deref());
        let limit = if p.limit == 0 { DEFAULT_ROWS } else { usize::try_from(p.limit).unwrap_or(MAX_ROWS).min(MAX_ROWS) };
        let mut newest = desk.scans(|look| (look.scan.at, look.scan.scan.order_id.clone()));
        newest.sort_by(|a, b| b.cmp(a));
        newest.truncate(limit);
        let scans: Vec<Ordered> = newest.iter().filter_map(|(_, id)| desk.scan(id, Ordered::of)).collect();
        let Some(since) = scans.iter().map(Ordered::since).min() else { return Ok(Scans { scans: Vec::new() }) };
        // Where hosts are named, only their own answers count, so each is looked at; a whole tenant is added up by the store.
        let ids =
            |whole: bool| scans.iter().filter(|it| it.state.scan.whole_tenant == whole).map(Ordered::id).collect::<Vec<_>>();
        let totals = desk.scan_totals(&ids(true), since).await?;
        let (mut answers, seen) = (desk.scan_answers(&ids(false), since).await?, Seen::new(desk.last_seen().await?));
        let line = |it: &Ordered| match it.state.scan.whole_tenant {
            true => summary(it, totals.iter().find(|row| row.order_id == it.id()), &seen),
            false => status(it, answers.extract_if(.., |row| row.order_id == it.id()).collect(), &seen).summary,
        };
        Ok(Scans { scans: scans.iter().map(line).collect() })
    }

    fn rows(answer: &Scans) -> u64 {
        answer.scans.len() as u64
    }
}

/// Which scan.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ScanId")]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Id of the order, or a prefix of at least six digits.
    pub(crate) id: String,
}

/// One scan, with each of its hosts.
pub(crate) struct Show;

impl Operation for Show {
    type Input = Which;
    type Answer = ScanStatus;

    async fn run(desk: &Desk<'_>, p: Which) -> Result<ScanStatus, Refusal> {
        let scan = ordered(desk, &p.id)?;
        let desk = desk.narrowed(Some(&scan.state.scan.tenant));
        let answers = desk.scan_answers(std::slice::from_ref(&scan.state.scan.order_id), scan.since()).await?;
        Ok(status(&scan, answers, &Seen::new(desk.last_seen().await?)))
    }

    fn rows(answer: &ScanStatus) -> u64 {
        answer.hosts.len() as u64
    }
}

/// What a scan found.
pub(crate) struct Results;

/// Which scan, how much of it.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ScanResultsInput")]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ResultsInput {
    /// Id of the order, or a prefix of at least six digits.
    pub(crate) id: String,
    /// Rows of each list; 0 for 1000, at most 10000.
    pub(crate) limit: u64,
}

/// Matches, and files of which nothing is known.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ScanResults")]
pub(crate) struct Found {
    /// Id of the order.
    pub(crate) order_id: String,
    /// Matches, oldest first.
    pub(crate) matches: Vec<ScanMatch>,
    /// Files that could not be judged, oldest first; hosts name at most 1000 each, and count the rest.
    pub(crate) unknown: Vec<ScanUnknown>,
}

impl Operation for Results {
    type Input = ResultsInput;
    type Answer = Found;

    async fn run(desk: &Desk<'_>, p: ResultsInput) -> Result<Found, Refusal> {
        let scan = ordered(desk, &p.id)?;
        let desk = desk.narrowed(Some(&scan.state.scan.tenant));
        let (id, since) = (&scan.state.scan.order_id, scan.since());
        let limit = if p.limit == 0 { DEFAULT_RESULTS } else { p.limit };
        let (matches, unknown) = (desk.scan_matches(id, since, limit).await?, desk.scan_unknowns(id, since, limit).await?);
        Ok(Found { order_id: id.clone(), matches, unknown })
    }

    fn rows(answer: &Found) -> u64 {
        (answer.matches.len() + answer.unknown.len()) as u64
    }
}
