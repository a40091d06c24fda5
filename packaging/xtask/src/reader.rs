//! Reading alerts back through the API, as an analyst's tool would, and noting when each could first be read.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// Between two looks: what it adds to a measured latency is at most this.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A single call to an API on loopback.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// One alert, as the list shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Alert {
    /// Id.
    pub alert_id: String,
    /// Level.
    pub level: String,
    /// Tenant.
    pub tenant: String,
    /// Rule id.
    pub rule_id: String,
    /// Rule title.
    pub rule_title: String,
    /// Host name.
    pub hostname: String,
    /// One line that says what happened.
    #[serde(default)]
    pub what: String,
    /// Distinct matches.
    pub count: u64,
    /// Agent's clock at the newest event, RFC 3339.
    pub event_time: String,
    /// Recorded elsewhere.
    #[serde(default)]
    pub replayed: bool,
}

/// An alert and when it was first seen here.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The alert as it was first seen.
    pub alert: Alert,
    /// From the event to readability; none for replayed events.
    pub delay: Option<Duration>,
}

/// Client of the API with a memory of what it has shown.
pub struct Reader {
    client: reqwest::Client,
    base: String,
    token: String,
    known: HashMap<String, u64>,
}

impl Reader {
    /// A reader of the API at `address` (host and port).
    pub fn new(address: &str, token: &str) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(CALL_LIMIT).no_proxy().build()?;
        Ok(Self { client, base: format!("http://{address}"), token: token.into(), known: HashMap::new() })
    }

    /// One GET, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.ask(self.client.get(format!("{}{path}", self.base)), path).await
    }

    /// One POST of JSON, answered with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(self.client.post(format!("{}{path}", self.base)).json(body), path).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder, path: &str) -> Result<Value> {
        let answer = request.bearer_auth(&self.token).send().await.with_context(|| path.to_string())?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{path}: {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{path} gave no JSON"))
    }

    /// The alerts of the last day, newest first.
    pub async fn alerts(&self) -> Result<Vec<Alert>> {
        let body = self.get("/v1/alerts?limit=500").await?;
        serde_json::from_value(body["alerts"].clone()).context("the list of alerts")
    }

    /// Alerts that were not there at the last look.
    pub async fn fresh(&mut self) -> Result<Vec<Seen>> {
        let alerts = self.alerts().await?;
        let now = now_us();
        let mut fresh = Vec::new();
        for alert in alerts.into_iter().rev() {
            if self.known.insert(alert.alert_id.clone(), alert.count).is_none() {
                let delay = time_us(&alert.event_time).and_then(|time| u64::try_from(now - time).ok()).map(Duration::from_micros);
                fresh.push(Seen { delay: delay.filter(|_| !alert.replayed), alert });
            }
        }
        Ok(fresh)
    }

    /// Waits until an alert's count passes `count`; returns the time from `since_us` until it could be read.
    pub async fn wait_count(&self, rule: &str, tenant: &str, count: u64, since_us: i64, limit: Duration) -> Result<Duration> {
        let deadline = tokio::time::Instant::now() + limit;
        while tokio::time::Instant::now() < deadline {
            let alerts = self.alerts().await?;
            let found: u64 =
                alerts.iter().filter(|alert| alert.rule_id == rule && alert.tenant == tenant).map(|alert| alert.count).sum();
            if found > count {
                return Ok(Duration::from_micros((now_us() - since_us).max(0) as u64));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("the count of rule {rule} did not pass {count} within {} s", limit.as_secs())
    }
}

/// This machine's clock, microseconds since 1970.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// A time of the API in microseconds since 1970.
pub fn time_us(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|time| time.as_microsecond())
}
