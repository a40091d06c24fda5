//! The rules of the dashboards: what Grafana needs, and what keeps them legible and free of anybody's names.

use std::collections::BTreeSet;

use beffroi_dashboards::board::{Board, CLICKHOUSE, PROMETHEUS, Panel, boards, folder};
use beffroi_dashboards::promql::{label_values, needs};
use serde_json::Value;

/// Columns of Grafana's grid.
const GRID: u64 = 24;
/// Shortest description that can say what a figure means.
const MIN_DESCRIPTION: usize = 15;

fn each_panel(mut check: impl FnMut(&Panel<'_>)) {
    for board in boards() {
        board.panels().iter().for_each(&mut check);
    }
}

#[test]
fn ids_of_dashboards_and_panels_are_unique() {
    let boards = boards();
    let uids: BTreeSet<&str> = boards.iter().map(Board::uid).collect();
    assert_eq!(uids.len(), boards.len(), "two dashboards share a uid");
    for board in &boards {
        assert!(board.uid().starts_with("beffroi-") && board.uid().len() <= 40, "{}: uid {:?}", board.file, board.uid());
        assert!(board.json["id"].is_null(), "{}: an id belongs to one Grafana only", board.file);
        let ids: BTreeSet<u64> =
            board.places().iter().map(|panel| panel.json["id"].as_u64().expect("a panel has an id")).collect();
        assert_eq!(ids.len(), board.places().len(), "{}: two panels share an id", board.file);
    }
}

#[test]
fn every_panel_has_a_place_of_its_own_on_the_grid() {
    for board in boards() {
        let mut taken = BTreeSet::new();
        for panel in board.places() {
            let at =
                |name: &str| panel.json["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{} has no {name}", panel.name()));
            assert!(at("x") + at("w") <= GRID && at("w") > 0 && at("h") > 0, "{} leaves the grid", panel.name());
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{} lies over another panel", panel.name());
                }
            }
        }
    }
}

#[test]
fn every_source_is_a_variable() {
    each_panel(|panel| {
        let sources = panel.targets().iter().map(|target| &target["datasource"]).chain([&panel.json["datasource"]]);
        for source in sources {
            let expected = match source["type"].as_str() {
                Some(CLICKHOUSE) => "${clickhouse}",
                Some(PROMETHEUS) => "${prometheus}",
                other => panic!("{} asks {other:?}", panel.name()),
            };
            assert_eq!(source["uid"], expected, "{}", panel.name());
        }
        let offered: BTreeSet<&str> = panel.board.variables().iter().map(|variable| variable.name()).collect();
        let asked = panel.sql().len() + panel.promql().len();
        assert!(asked > 0 && asked == panel.targets().len(), "{} has a target without a question", panel.name());
        assert!(panel.sql().is_empty() || offered.contains("clickhouse"), "{}", panel.name());
        assert!(panel.promql().is_empty() || offered.contains("prometheus"), "{}", panel.name());
    });
}

#[test]
fn every_panel_says_what_it_shows_and_what_to_do_when_it_is_red() {
    each_panel(|panel| {
        let description = panel.json["description"].as_str().unwrap_or_default();
        assert!(!panel.title().is_empty() && description.len() >= MIN_DESCRIPTION, "{} is not described", panel.name());
        assert!(!panel.can_be_red() || description.contains("Red"), "{} can be red and does not say what then", panel.name());
        assert!(panel.json["fieldConfig"]["defaults"]["unit"].is_string(), "{} has no unit", panel.name());
    });
}

#[test]
fn time_series_of_clickhouse_follow_the_step_of_the_dashboard() {
    each_panel(|panel| {
        if panel.kind() == "timeseries" && !panel.sql().is_empty() {
            assert_eq!(panel.json["interval"], "$interval", "{}", panel.name());
            assert!(
                panel.sql().iter().all(|text| text.contains("$__timeInterval(") && text.contains("ORDER BY time")),
                "{}",
                panel.name()
            );
        }
    });
}

#[test]
fn no_dashboard_names_a_tenant_a_host_or_an_address() {
    let literal = |text: &str, column: &str| {
        [" = '", "='", " IN ('", " != '", " LIKE '"].iter().any(|operator| text.contains(&format!("{column}{operator}")))
    };
    each_panel(|panel| {
        for text in panel.sql() {
            for column in ["tenant", "host", "hostname", "agent"] {
                assert!(!literal(text, column), "{} names a {column}", panel.name());
            }
            assert!(!text.contains("beffroi."), "{} names the database, which the source does", panel.name());
        }
        for text in panel.promql() {
            assert!(text.contains(r#"instance=~"$instance""#), "{} leaves the choice of collectors out", panel.name());
            assert!(!text.contains("job="), "{} names a job, which every site calls otherwise", panel.name());
        }
    });
}

#[test]
fn texts_are_letters_and_not_pictures() {
    fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::String(text) => found.push(text),
            Value::Array(list) => list.iter().for_each(|value| texts(value, found)),
            Value::Object(map) => map.values().for_each(|value| texts(value, found)),
            _ => {}
        }
    }
    for board in boards() {
        let mut found = Vec::new();
        texts(&board.json, &mut found);
        let odd = found.into_iter().find(|text| !text.is_ascii());
        assert!(odd.is_none(), "{}: {odd:?}", board.file);
    }
}

#[test]
fn links_lead_to_dashboards_and_variables_that_exist() {
    let boards = boards();
    for panel in boards.iter().flat_map(Board::panels) {
        for link in panel.links() {
            let (uid, query) = link.strip_prefix("/d/").and_then(|rest| rest.split_once('?')).expect("a link to a dashboard");
            let to = boards.iter().find(|board| board.uid() == uid);
            let to = to.unwrap_or_else(|| panic!("{} leads to {uid}, which does not exist", panel.name()));
            for part in query.split('&').filter_map(|part| part.strip_prefix("var-")) {
                let name = part.split('=').next().unwrap_or_default();
                assert!(to.variables().iter().any(|variable| variable.name() == name), "{}: {uid} has no {name}", panel.name());
                assert!(part.ends_with(":percentencode}"), "{}: {part} is not encoded", panel.name());
            }
        }
    }
}

#[test]
fn every_expression_of_promql_can_be_parsed() {
    let mut parsed = 0;
    each_panel(|panel| {
        for text in panel.promql() {
            needs(text).unwrap_or_else(|why| panic!("{}: {text}: {why}", panel.name()));
            parsed += 1;
        }
    });
    assert!(parsed >= 40, "only {parsed} expressions were found: are the dashboards all there?");
    for board in boards() {
        for variable in board.variables().iter().filter_map(|variable| variable.promql()) {
            label_values(variable).unwrap_or_else(|why| panic!("{}: {why}", board.file));
        }
    }
}

#[test]
fn the_provisioning_files_name_both_sources_and_the_folder_and_hold_no_secret() {
    let read = |name: &str| {
        let path = folder().join("provisioning").join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_yaml_ng::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let sources = read("datasources/beffroi.yaml");
    let kinds: Vec<_> = sources["datasources"].as_array().expect("sources").iter().map(|one| one["type"].clone()).collect();
    assert_eq!(kinds, [CLICKHOUSE, PROMETHEUS]);
    for source in sources["datasources"].as_array().expect("sources") {
        let secrets = source["secureJsonData"].as_object().into_iter().flatten();
        for (name, value) in secrets {
            assert!(value.as_str().is_some_and(|value| value.starts_with('$')), "{name} stands in the file itself");
        }
    }
    let provider = &read("dashboards/beffroi.yaml")["providers"][0];
    assert_eq!(provider["type"], "file");
    assert!(provider["options"]["path"].as_str().is_some_and(|path| path.ends_with("/dashboards")));
}
