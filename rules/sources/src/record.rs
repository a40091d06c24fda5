//! One record of a file, ready to be judged: what rules see of it, under which logsources, and what people want to know
//! of it when a rule matches.

use std::borrow::Cow;

use beffroi_engine::RecordView;
use beffroi_engine::windows;
use serde_json::{Map, Value as Json};

use crate::own::OwnEvent;

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Line of its first byte, or its ordinal in an event log or batch, from 1.
    pub number: u64,
    /// `EventRecordID` of an event log, which is not its ordinal.
    pub event_record_id: Option<u64>,
    /// When it happened, microseconds since 1970, where it says so.
    pub time_us: Option<i64>,
    /// Under which logsources rules may see it. Own events have theirs in themselves.
    pub views: Vec<View>,
    /// What it says.
    pub body: Body,
    /// Host that it came from, where that stands beside it and not in it.
    pub host: Option<String>,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Flat objects that are judged one by one: one for most, one for each audit record of an audit event.
    Flat(Vec<Part>),
    /// An event of our own sensors.
    Own(Box<OwnEvent>),
}

/// One flat object.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Line, or ordinal, from 1.
    pub number: u64,
    /// Its fields.
    pub fields: Map<String, Json>,
}

/// A logsource under which rules may see a record, with second names of fields for it. Empty is unset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// `product`.
    pub product: Cow<'static, str>,
    /// `category`.
    pub category: Cow<'static, str>,
    /// `service`.
    pub service: Cow<'static, str>,
    /// Fields with a second name: (new, existing).
    pub renamed: &'static [(&'static str, &'static str)],
}

impl View {
    /// As the engine takes it.
    pub fn as_engine(&self) -> RecordView<'_> {
        RecordView { product: &self.product, category: &self.category, service: &self.service, renamed: self.renamed }
    }

    /// A view by names that are known at compile time.
    pub(crate) const fn named(product: &'static str, category: &'static str, service: &'static str) -> Self {
        Self { product: Cow::Borrowed(product), category: Cow::Borrowed(category), service: Cow::Borrowed(service), renamed: &[] }
    }

    /// The views of an event of Windows, from its flat form.
    pub(crate) fn all_of_windows(fields: &Map<String, Json>) -> Vec<Self> {
        windows::views(fields).iter().map(Self::of_windows).collect()
    }

    /// The same, with the second names that the table of Windows knows for it.
    fn of_windows(view: &windows::View) -> Self {
        let named = Self::named("windows", view.category.unwrap_or_default(), view.service.unwrap_or_default());
        Self { renamed: view.renamed, ..named }
    }
}

impl Record {
    /// A record of one flat object.
    pub(crate) fn flat(number: u64, time_us: Option<i64>, views: Vec<View>, fields: Map<String, Json>) -> Self {
        Self { number, event_record_id: None, time_us, views, body: Body::Flat(vec![Part { number, fields }]), host: None }
    }

    /// A record of Windows, from its flat form.
    pub(crate) fn of_windows(number: u64, time_us: Option<i64>, fields: Map<String, Json>) -> Self {
        let views = View::all_of_windows(&fields);
        let id = ["EventRecordID", "RecordNumber"].iter().find_map(|name| fields.get(*name)?.as_u64());
        Self { event_record_id: id, ..Self::flat(number, time_us, views, fields) }
    }

    /// An event of ours.
    pub(crate) fn of_ours(number: u64, time_us: Option<i64>, own: OwnEvent) -> Self {
        let host = own.host.clone();
        Self { number, event_record_id: None, time_us, views: Vec::new(), body: Body::Own(Box::new(own)), host }
    }

    /// Host that it came from.
    pub fn computer(&self) -> Option<String> {
        let named = ["Computer", "Hostname", "host", "HostName", "node", "SourceHostname", "hostname"];
        self.host.clone().or_else(|| named.iter().find_map(|name| self.text(name)))
    }

    /// Channel of the Windows event log.
    pub fn channel(&self) -> Option<String> {
        self.text("Channel")
    }

    /// The event's id as its source counts them: a number in most, text in ours.
    pub fn event_id(&self) -> Option<Json> {
        ["EventID", "event_id"].iter().find_map(|name| self.value(name)).filter(|value| !value.is_null())
    }

    /// A field by its name.
    pub fn value(&self, name: &str) -> Option<Json> {
        match &self.body {
            Body::Flat(parts) => parts.iter().find_map(|part| part.fields.get(name)).cloned(),
            Body::Own(own) if name == "event_id" => own.event_id.clone().map(Json::String),
            Body::Own(own) => own.event.get_named(name).map(beffroi_schema::json::value_to_json),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Json::String(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// What rules saw of it, for people and programs.
    pub fn to_json(&self) -> Json {
        match &self.body {
            Body::Flat(parts) => match &parts[..] {
                [part] => Json::Object(part.fields.clone()),
                parts => parts.iter().map(|part| Json::Object(part.fields.clone())).collect(),
            },
            Body::Own(own) => Json::Object(own.event.to_json()),
        }
    }

    /// Whether it is an event of our own, which the detector of our own events judges.
    pub fn own(&self) -> Option<&OwnEvent> {
        match &self.body {
            Body::Own(own) => Some(own),
            Body::Flat(_) => None,
        }
    }
}
