//! Every question in SQL is run against the real engine, on rows that the store has written: it must be accepted, give columns
//! of the kinds that its panel draws, and find what is there.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod fixture;
#[path = "../../../../collector/store/tests/support/mod.rs"]
mod support;

use beffroi_dashboards::board::{Panel, boards};
use beffroi_dashboards::sql::{Choice, Range, fill};
use serde_json::Value;

use crate::support::Engine;

/// One column of an answer.
#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
}

/// What Grafana makes of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Time,
    Number,
    Text,
    Other,
}

impl Kind {
    fn of(declared: &str) -> Self {
        let mut inner = declared;
        for wrapper in ["Nullable(", "LowCardinality(", "SimpleAggregateFunction("] {
            inner = inner.strip_prefix(wrapper).map_or(inner, |rest| rest.trim_end_matches(')'));
        }
        match inner {
            _ if inner.starts_with("Date") => Self::Time,
            _ if ["UInt", "Int", "Float", "Decimal", "Bool"].iter().any(|number| inner.starts_with(number)) => Self::Number,
            _ if ["String", "FixedString", "Enum", "UUID", "IPv"].iter().any(|text| inner.starts_with(text)) => Self::Text,
            _ => Self::Other,
        }
    }
}

struct Answer {
    columns: Vec<Column>,
    rows: Vec<Value>,
}

impl Answer {
    fn count(&self, kind: Kind) -> usize {
        self.columns.iter().filter(|column| column.kind == kind).count()
    }

    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }
}

async fn ask(engine: &Engine, question: &str) -> Answer {
    let text = engine.sql(&format!("{question}\nFORMAT JSON")).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    let column =
        |meta: &Value| Column { name: meta["name"].as_str().unwrap().to_owned(), kind: Kind::of(meta["type"].as_str().unwrap()) };
    Answer {
        columns: answer["meta"].as_array().unwrap().iter().map(column).collect(),
        rows: answer["data"].as_array().unwrap().clone(),
    }
}

fn choice(all: bool) -> Choice {
    let agents = [1, 2, 3].map(|number| support::Agent::new(number, "any").id().to_string());
    let values = [
        ("tenant", vec!["interieur".to_owned(), "sante".to_owned()]),
        ("host", agents.to_vec()),
        ("level", ["1", "2", "3", "4", "5"].map(str::to_owned).to_vec()),
    ];
    Choice { values: values.map(|(name, list)| (name.to_owned(), list)).into_iter().collect(), all }
}

fn range() -> Range {
    let now = support::now() / 1_000_000;
    Range { from: now - 6 * 3600, to: now + 60, step: 300 }
}

/// What is wrong with an answer for this way of drawing.
fn unfit(panel: &Panel<'_>, answer: &Answer) -> Option<String> {
    let (times, numbers, texts) = (answer.count(Kind::Time), answer.count(Kind::Number), answer.count(Kind::Text));
    let fits = match panel.kind() {
        "timeseries" => answer.has("time") && times == 1 && numbers >= 1 && texts <= 1,
        "stat" => numbers == 1 && answer.columns.len() == 1 && answer.rows.len() == 1,
        "barchart" => texts == 1 && numbers >= 1 && times == 0,
        "table" => !answer.columns.is_empty(),
        _ => return Some(format!("nobody has said what a {:?} needs", panel.kind())),
    };
    if !fits || answer.count(Kind::Other) > 0 {
        return Some(format!("a {} cannot draw these columns: {:?}", panel.kind(), answer.columns));
    }
    if let Some(absent) = panel.named_columns().into_iter().find(|name| panel.kind() == "table" && !answer.has(name)) {
        return Some(format!("its settings name the column {absent}, which is not in {:?}", answer.columns));
    }
    if let Some(absent) = fields_of_links(panel).into_iter().find(|name| !answer.has(name)) {
        return Some(format!("a link needs the column {absent}, which is not in {:?}", answer.columns));
    }
    if let Some(pair) =
        answer.rows.windows(2).find(|pair| answer.has("time") && pair[0]["time"].as_str() > pair[1]["time"].as_str())
    {
        return Some(format!("its rows are not in the order of time: {pair:?}"));
    }
    answer.rows.is_empty().then(|| "no row, although there is something to find".to_owned())
}

/// Columns that the links of a panel read: `${__data.fields.NAME...}`.
fn fields_of_links<'a>(panel: &Panel<'a>) -> Vec<&'a str> {
    let links = panel.links().into_iter();
    links
        .flat_map(|link| link.split("__data.fields.").skip(1))
        .map(|rest| rest.split([':', '}']).next().unwrap_or(rest))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_can_be_drawn_from_what_the_store_has_written() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = fixture::fill(&engine).await;
    let (mut asked, mut wrong) = (0, Vec::new());
    for board in boards() {
        for panel in board.panels() {
            for question in panel.sql() {
                for all in [true, false] {
                    let filled = fill(question, &choice(all), range()).unwrap_or_else(|why| panic!("{}: {why}", panel.name()));
                    let answer = ask(&engine, &filled).await;
                    wrong.extend(unfit(&panel, &answer).map(|why| format!("{}: {why}", panel.name())));
                    asked += 1;
                }
            }
        }
    }
    rig.halt().await;
    assert!(wrong.is_empty(), "{} of {asked} answers are unfit: {wrong:#?}", wrong.len());
    assert!(asked >= 80, "only {asked} questions were asked: are the dashboards all there?");
    println!("{asked} questions of panels were asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_of_another_tenant_finds_nothing() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = fixture::fill(&engine).await;
    let mut nobody = choice(false);
    nobody.values.insert("tenant".into(), vec!["nobody' OR 1=1 --".into()]);
    for board in boards() {
        for panel in board.panels() {
            for question in panel.sql().into_iter().filter(|question| question.contains("${tenant:")) {
                let filled = fill(question, &nobody, range()).unwrap();
                let answer = ask(&engine, &filled).await;
                let empty = answer.rows.iter().all(|row| row.as_object().unwrap().values().all(is_nothing));
                // The age of nothing is the age of 1970.
                let age = panel.title() == "Age of the newest batch";
                assert!(empty || age, "{} shows a foreign tenant's rows: {:?}", panel.name(), answer.rows);
            }
        }
    }
    rig.halt().await;
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("0") || value.as_f64() == Some(0.0)
}

/// Values of variables become part of SQL: none of them may be a word that a host has chosen.
#[tokio::test(flavor = "multi_thread")]
async fn variables_offer_what_is_there_and_no_value_of_them_was_chosen_by_a_host() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = fixture::fill(&engine).await;
    let mut labels = Vec::new();
    for board in boards() {
        for variable in board.variables() {
            let Some(question) = variable.sql() else { continue };
            let filled = fill(question, &choice(true), range()).unwrap();
            let answer = ask(&engine, &filled).await;
            assert!(matches!(answer.columns.len(), 1 | 2), "{}: {:?}", variable.name(), answer.columns);
            assert!(!answer.rows.is_empty(), "{} offers nothing", variable.name());
            for row in &answer.rows {
                let value = row[&answer.columns[0].name].as_str().unwrap();
                let clean = value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
                assert!(clean && !value.is_empty(), "{}: the value {value:?} could end a string of SQL", variable.name());
                labels.extend(answer.columns.get(1).map(|label| row[&label.name].as_str().unwrap().to_owned()));
            }
        }
    }
    rig.halt().await;
    assert!(labels.iter().any(|label| label.starts_with(fixture::HOSTILE)), "the hostile host is not offered: {labels:?}");
}
