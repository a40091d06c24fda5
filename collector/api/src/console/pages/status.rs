//! How the collector stands: roles, lag, disk. Answered as far as it can be when a part of it is away.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use beffroi_store::{Figures, TableFigures};

use crate::ask::ask;
use crate::console::frame::{Frame, Place};
use crate::console::text::Lang;
use crate::console::web::{Console, Shared, Stop, Visit, page};
use crate::routes::operations::{Nothing, Role, Status};

/// From this part of the disk on, in percent, it is shown as filling, and as full.
const FILLING_PERCENT: u64 = 75;
const FULL_PERCENT: u64 = 90;

struct LagRow {
    topic: String,
    group: String,
    partitions: u64,
    records: u64,
}

struct StoreView {
    version: String,
    last_batch: String,
    total: u64,
    used: u64,
    low: u64,
    high: u64,
    disk: String,
    tables: Vec<TableFigures>,
}

#[derive(Template)]
#[template(path = "status.html")]
struct Page {
    f: Frame,
    all_ready: bool,
    roles: Vec<Role>,
    lag: Vec<LagRow>,
    bus_error: String,
    store: Option<StoreView>,
    store_error: String,
}

/// `/status`.
pub(crate) async fn show(State(console): State<Shared>, visit: Visit) -> Response {
    visit.answer(whole(&console, &visit).await)
}

async fn whole(console: &Console, visit: &Visit) -> Result<Response, Stop> {
    let answer = ask::<Status>(&console.app, &visit.caller()?, Nothing::default()).await?;
    let lag = answer.lag.into_iter().map(|row| LagRow {
        topic: row.topic,
        group: row.group,
        partitions: row.partitions as u64,
        records: u64::try_from(row.records).unwrap_or(0),
    });
    page(&Page {
        f: visit.frame(Place::Status, visit.lang.t("status")),
        all_ready: !answer.roles.is_empty() && answer.roles.iter().all(|role| role.ready),
        roles: answer.roles,
        lag: lag.collect(),
        bus_error: answer.bus_error.unwrap_or_default(),
        store: answer.store.map(|figures| store(visit.lang, figures)),
        store_error: answer.store_error.unwrap_or_default(),
    })
}

fn store(lang: Lang, figures: Figures) -> StoreView {
    let (free, total) = (figures.disk_free_bytes, figures.disk_total_bytes);
    let part = |percent: u64| (u128::from(total) * u128::from(percent) / 100) as u64;
    StoreView {
        version: figures.version,
        last_batch: figures.last_batch,
        total: total.max(1),
        used: total.saturating_sub(free),
        low: part(FILLING_PERCENT),
        high: part(FULL_PERCENT),
        disk: lang.fill("disk_free_of", &[("free", &lang.bytes(free)), ("total", &lang.bytes(total))]),
        tables: figures.tables,
    }
}
