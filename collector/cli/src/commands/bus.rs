//! `beffroi bus`: Kafka as the collector sees it, decoded. Only reads: it joins no group, creates no topic, commits nothing.
//!
//! An embedded bus is owned by its collector's process and cannot be opened beside it; that is said, with what shows the
//! same.

use std::path::Path;
use std::time::Duration;

use beffroi_bus::{Bus, BusError, BusOptions, TailFrom, Topic};
use beffroi_schema::wire::{GROUP_CORRELATE, GROUP_DETECT, GROUP_STORE};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{Bus as Verb, BusStart, BusTopic};
use crate::commands::records;
use crate::errors::{Failure, Outcome};
use crate::output::{Column, Form, Output, column, say};

/// Pause before a broker that is away is asked again.
const AWAY_PAUSE: Duration = Duration::from_secs(2);

const TOPICS: [Column; 5] = [
    column("TOPIC", "/topic", 0),
    column("NAME", "/name", 0),
    column("PARTITIONS", "/partitions", 0),
    column("RECORDS", "/records", 0),
    column("EMPTY", "/empty_partitions", 0),
];
const LAG: [Column; 7] = [
    column("TOPIC", "/topic", 0),
    column("GROUP", "/group", 0),
    column("PARTITION", "/partition", 0),
    column("FIRST", "/first", 0),
    column("COMMITTED", "/committed", 0),
    column("END", "/end", 0),
    column("LAG", "/lag", 0),
];

/// Who reads what.
fn groups() -> [(Topic, String); 7] {
    let store = |what: &str| format!("{GROUP_STORE}-{what}");
    [
        (Topic::Events, GROUP_DETECT.into()),
        (Topic::Detections, GROUP_CORRELATE.into()),
        (Topic::Events, GROUP_STORE.into()),
        (Topic::Alerts, store("alerts")),
        (Topic::DeadLetters, store("dlq")),
        (Topic::Audit, store("audit")),
        (Topic::Control, store("control")),
    ]
}

/// Every verb. `form` is the form that was asked for, if any.
pub async fn run(output: &Output, form: Option<Form>, verb: Verb) -> Outcome {
    match verb {
        Verb::Topics { collector } => topics(&open(&collector.config_collector).await?, output).await,
        Verb::Lag { collector } => lag(&open(&collector.config_collector).await?, output).await,
        Verb::Tail { topic, collector, from, to_end, limit } => {
            if matches!(form, Some(Form::Table | Form::Csv)) {
                return Err(Failure::usage(
                    "records of the bus have no common columns",
                    "leave --output out: they come as NDJSON",
                ));
            }
            let request = Request { topic: topic.into(), from: from.into(), to_end, limit };
            tail(&open(&collector.config_collector).await?, &request, |object| output.json_line(object)).await
        }
    }
}

impl From<BusTopic> for Topic {
    fn from(topic: BusTopic) -> Self {
        match topic {
            BusTopic::Events => Self::Events,
            BusTopic::Alerts => Self::Alerts,
            BusTopic::Detections => Self::Detections,
            BusTopic::Dlq => Self::DeadLetters,
            BusTopic::Orders => Self::Orders,
            BusTopic::Control => Self::Control,
            BusTopic::Audit => Self::Audit,
        }
    }
}

impl From<BusStart> for TailFrom {
    fn from(start: BusStart) -> Self {
        match start {
            BusStart::Beginning => Self::Beginning,
            BusStart::Now => Self::Now,
        }
    }
}

/// What this program needs of the collector's configuration; the collector itself checks the rest.
#[derive(Deserialize)]
struct Collector {
    #[serde(default)]
    bus: BusOptions,
}

fn options(path: &Path) -> Outcome<BusOptions> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(
            format!("cannot read {}: {error}", path.display()),
            "name the collector's configuration, and run as who may read it",
        )
    })?;
    let collector: Collector = toml::from_str(&text).map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display()), "mend [bus] as the collector's documentation says")
    })?;
    match collector.bus {
        // A reader changes nothing: no topics come into being, and no place of the collector's own in a group is taken.
        BusOptions::Kafka(kafka) => {
            Ok(BusOptions::Kafka(beffroi_bus::KafkaOptions { create_topics: false, instance: None, ..kafka }))
        }
        BusOptions::Embedded(_) => Err(Failure::usage(
            format!("{} names the embedded bus, which only the collector's own process can open", path.display()),
            "`beffroi status` shows its lag, `beffroi events search` and `beffroi alerts list` what was in it; bus topics|lag|tail are for kind = \"kafka\"",
        )),
    }
}

async fn open(path: &Path) -> Outcome<Bus> {
    let bus = Bus::open(options(path)?).await.map_err(|error| failure(&error))?;
    bus.check().await.map_err(|error| failure(&error))?;
    Ok(bus)
}

fn failure(error: &BusError) -> Failure {
    match error {
        BusError::Unavailable { what, hint } => {
            Failure::server(format!("the bus is not available: {what}"), hint.clone()).passing()
        }
        BusError::Option { .. } => Failure::usage(error.to_string(), "mend [bus] in the collector's configuration"),
        _ => Failure::server(error.to_string(), ""),
    }
}

async fn topics(bus: &Bus, output: &Output) -> Outcome {
    let mut rows = Vec::new();
    for topic in Topic::ALL {
        // The ends of partitions do not depend on the group that is asked about.
        let partitions = bus.lag(topic, GROUP_DETECT).await.map_err(|error| failure(&error))?;
        let records: i64 = partitions.iter().map(|partition| partition.end - partition.first).sum();
        let empty = partitions.iter().filter(|partition| partition.end == partition.first).count();
        rows.push(json!({"topic": topic.name(), "name": bus.topic_id(topic), "partitions": partitions.len(), "records": records,
            "empty_partitions": empty}));
    }
    output.rows(&TOPICS, &rows)
}

async fn lag(bus: &Bus, output: &Output) -> Outcome {
    let mut rows: Vec<Value> = Vec::new();
    for (topic, group) in groups() {
        for it in bus.lag(topic, &group).await.map_err(|error| failure(&error))? {
            // A partition that nobody ever wrote to says nothing.
            if it.end > 0 || it.committed.is_some() {
                rows.push(json!({"topic": topic.name(), "group": group, "partition": it.partition, "first": it.first,
                    "committed": it.committed, "end": it.end, "lag": it.records()}));
            }
        }
    }
    output.rows(&LAG, &rows)?;
    let total: i64 = rows.iter().filter_map(|row| row["lag"].as_i64()).sum();
    say(&format!("{total} records are yet to be read"));
    Ok(())
}

/// What `bus tail` was asked for.
struct Request {
    topic: Topic,
    from: TailFrom,
    /// End with what was there at the start.
    to_end: bool,
    /// Objects at most.
    limit: Option<u64>,
}

async fn tail(bus: &Bus, request: &Request, mut show: impl FnMut(&Value) -> Outcome) -> Outcome {
    let mut tail = bus.tail(request.topic, request.from).await.map_err(|error| failure(&error))?;
    let mut left = request.limit.unwrap_or(u64::MAX);
    let mut is_away = false;
    while left > 0 {
        if request.to_end && tail.caught_up().await.map_err(|error| failure(&error))? {
            break;
        }
        let record = match tail.next().await {
            Ok(record) => record,
            Err(error) if error.is_retryable() => {
                if !std::mem::replace(&mut is_away, true) {
                    say(&format!("{error}\nwaiting for it; Ctrl-C ends"));
                }
                tokio::time::sleep(AWAY_PAUSE).await;
                continue;
            }
            Err(error) => return Err(failure(&error)),
        };
        is_away = false;
        for object in records::objects(&record).iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            show(object)?;
            left -= 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use beffroi_bus::{EmbeddedOptions, Outgoing};

    async fn bus(folder: &Path) -> Bus {
        let options = EmbeddedOptions { dir: folder.join("bus"), partitions: 1, ..EmbeddedOptions::default() };
        Bus::open(BusOptions::Embedded(options)).await.unwrap()
    }

    async fn shown(bus: &Bus, limit: Option<u64>) -> Vec<Value> {
        let request = Request { topic: Topic::DeadLetters, from: TailFrom::Beginning, to_end: true, limit };
        let mut shown = Vec::new();
        let take = |object: &Value| {
            shown.push(object.clone());
            Ok(())
        };
        tail(bus, &request, take).await.unwrap();
        shown
    }

    #[tokio::test]
    async fn a_tail_to_the_end_shows_what_was_there_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let bus = bus(folder.path()).await;
        assert!(shown(&bus, None).await.is_empty());
        for number in 0..3 {
            bus.publish(Topic::DeadLetters, Outgoing::new("k", json!({"n": number}).to_string())).await.unwrap();
        }
        bus.publish(Topic::DeadLetters, Outgoing::new("k", "rubbish")).await.unwrap();
        let all = shown(&bus, None).await;
        assert_eq!(all[..3], [json!({"n": 0}), json!({"n": 1}), json!({"n": 2})]);
        assert_eq!((all.len(), &all[3]["record"]), (4, &json!("unreadable")));
        assert_eq!(shown(&bus, Some(2)).await, all[..2]);
        assert!(shown(&bus, Some(0)).await.is_empty());
        bus.close().await;
    }

    #[test]
    fn a_reader_creates_no_topics_and_takes_no_place_in_a_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.toml");
        std::fs::write(
            &path,
            "roles = [\"store\"]\n[bus]\nkind = \"kafka\"\nbrokers = [\"b:9092\"]\ninstance = \"one\"\n[api]\nlisten = \"x\"\n",
        )
        .unwrap();
        match options(&path).unwrap() {
            BusOptions::Kafka(kafka) => {
                assert!(!kafka.create_topics && kafka.instance.is_none());
                assert_eq!(kafka.brokers, ["b:9092"]);
            }
            other => panic!("{other:?}"),
        }
    }
}
