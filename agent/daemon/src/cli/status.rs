//! `status`: how the agent stands, from its files alone.
//!
//! Owns the table. The JSON form is the report as it is.

use std::process::ExitCode;

use anyhow::Result;
use comfy_table::{Table, presets};

use super::Output;
use super::out::print;
use crate::clock::{bytes, now_us, span};
use crate::layout::Layout;
use crate::orders::OrdersStatus;
use crate::status::{Report, SensorStatus, gather};
use crate::uplink::UplinkStatus;

pub(super) fn status(layout: &Layout, output: Output) -> Result<ExitCode> {
    let report = gather(layout);
    match output {
        Output::Json => print(&serde_json::to_string_pretty(&report)?)?,
        Output::Table => print(&table(&report))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A table without lines: names left, values right.
pub(super) fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn table(report: &Report) -> String {
    let mut table = plain();
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_string(), value]);
    };
    row("agent", format!("beffroi-agent {}, state in {}", report.version, report.state));
    row("enrolled", enrolled(report));
    if report.enrolled {
        row("root", report.root.map_or("none is pinned: this host takes no orders".into(), |root| root.to_string()));
    }
    if let Some(not_after) = report.certificate_not_after {
        row("certificate", expiry(not_after));
    }
    row("sensor", process(report.sensor_alive, report.sensor.as_ref().map(|status| status.pid)));
    if let Some(sensor) = &report.sensor {
        sensor_rows(sensor, &mut row);
    }
    row("uplink", process(report.uplink_alive, report.uplink.as_ref().map(|status| status.pid)));
    if let Some(uplink) = &report.uplink {
        uplink_rows(uplink, &mut row);
    }
    for line in &report.spool {
        let age = line.age_us.map_or(String::new(), |age| format!(", oldest {}", span(age)));
        row(&format!("spool {}", line.stream), format!("{} batches, {}{age}", line.batches, bytes(line.bytes)));
    }
    for unknown in &report.unknown {
        row("unknown", unknown.clone());
    }
    table.to_string()
}

fn enrolled(report: &Report) -> String {
    match (&report.agent_id, &report.tenant, &report.gateway) {
        (Some(agent), Some(tenant), Some(gateway)) => format!("{agent}, tenant {tenant}, gateway {gateway}"),
        _ => "no".into(),
    }
}

fn process(alive: bool, pid: Option<u32>) -> String {
    match (alive, pid) {
        (true, Some(pid)) => format!("running (process {pid})"),
        (_, Some(pid)) => format!("NOT running (last process {pid})"),
        _ => "has never run".into(),
    }
}

fn expiry(not_after: i64) -> String {
    let left = not_after - now_us();
    let time = beffroi_schema::json::rfc3339(not_after);
    if left > 0 { format!("good until {time} ({} left)", span(left)) } else { format!("EXPIRED at {time}") }
}

fn sensor_rows(sensor: &SensorStatus, row: &mut impl FnMut(&str, String)) {
    for hook in &sensor.hooks {
        let state =
            if hook.on { format!("on, {} seen, {} dropped", hook.seen, hook.dropped) } else { format!("off: {}", hook.why) };
        row(&format!("hook {}", hook.name), state);
    }
    let scan = &sensor.scan;
    let figures = format!("{} matches, {} clean, {} unknown, {} restarts", scan.matches, scan.clean, scan.unknown, scan.restarts);
    row("scan", if scan.on { format!("on, {} rules, {figures}", scan.rules) } else { format!("off: {}", scan.detail) });
    order_rows(&sensor.orders, row);
    let lost: u64 = sensor.streams.iter().map(|stream| stream.lost).sum();
    row("lost on the spool", lost.to_string());
    let up = sensor.updated_at.saturating_sub(sensor.started_at).max(1);
    let percent = sensor.cost.cpu_us as f64 * 100.0 / up as f64;
    row(
        "cost",
        format!(
            "CPU {} ({percent:.2} % of a core), memory {}",
            span(sensor.cost.cpu_us.cast_signed()),
            bytes(sensor.cost.rss_bytes)
        ),
    );
}

fn order_rows(orders: &OrdersStatus, row: &mut impl FnMut(&str, String)) {
    let refused: u64 = orders.refused.values().sum();
    let why = orders.refused.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ");
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    row("orders", format!("{} accepted, {refused} refused{why}, {} repeated", orders.accepted, orders.repeated));
    if !orders.problem.is_empty() {
        row("orders", format!("NONE TAKEN: {}", orders.problem));
    }
    for order in &orders.pending {
        let figures = format!("{} files scanned, {} matched", order.files_scanned, order.files_matched);
        let until = beffroi_schema::json::rfc3339(order.expires);
        row(&format!("order {}", order.id), format!("{}, by {:?}, until {until}, {figures}", order.state.name(), order.operator));
    }
}

fn uplink_rows(uplink: &UplinkStatus, row: &mut impl FnMut(&str, String)) {
    let state = format!("{:?}", uplink.state).to_lowercase();
    row("sending", if uplink.detail.is_empty() { state } else { format!("{state}: {}", uplink.detail) });
    row(
        "last acknowledged",
        match &uplink.last_acknowledged {
            Some(batch) => {
                let ago = span(now_us() - batch.at);
                format!(
                    "{} {}-{}, {ago} ago, {} after it was spooled",
                    batch.stream,
                    batch.first,
                    batch.last,
                    span(batch.at - batch.spooled_at)
                )
            }
            None => "none yet".into(),
        },
    );
    if let Some((at, failure)) = &uplink.last_failure {
        row("last failure", format!("{} ago: {failure}", span(now_us() - at)));
    }
    if !uplink.orders.problem.is_empty() {
        row("fetching orders", uplink.orders.problem.clone());
    }
    for (stream, why) in &uplink.blocked {
        row(&format!("blocked {stream}"), why.clone());
    }
    if let Some(skew) = uplink.clock_skew_us {
        row("clock", format!("gateway {}{} ms", if skew < 0 { "" } else { "+" }, skew / 1000));
    }
}
