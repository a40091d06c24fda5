//! Dashboards, their panels and their variables, as they stand in the files.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Data source of the questions in SQL.
pub const CLICKHOUSE: &str = "grafana-clickhouse-datasource";
/// Data source of the questions in PromQL.
pub const PROMETHEUS: &str = "prometheus";

/// Folder of everything for Grafana.
pub fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate lies two folders below the root");
    root.join("dashboards/grafana")
}

/// One dashboard.
#[derive(Debug)]
pub struct Board {
    /// Name of its file.
    pub file: String,
    /// What stands in it.
    pub json: Value,
}

/// Every dashboard, in the order of their file names.
pub fn boards() -> Vec<Board> {
    let folder = folder().join("dashboards");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| Board::read(path)).collect()
}

impl Board {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), json }
    }

    /// Its id for links.
    pub fn uid(&self) -> &str {
        self.json["uid"].as_str().unwrap_or_default()
    }

    /// Everything that has a place on it, rows included.
    pub fn places(&self) -> Vec<Panel<'_>> {
        let panels = self.json["panels"].as_array().map_or(&[][..], Vec::as_slice);
        panels.iter().map(|json| Panel { board: self, json }).collect()
    }

    /// Its panels: everything that asks something.
    pub fn panels(&self) -> Vec<Panel<'_>> {
        self.places().into_iter().filter(|panel| panel.kind() != "row").collect()
    }

    /// Its variables.
    pub fn variables(&self) -> Vec<Variable<'_>> {
        let list = self.json["templating"]["list"].as_array().map_or(&[][..], Vec::as_slice);
        list.iter().map(|json| Variable { json }).collect()
    }
}

/// One panel.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// Where it stands.
    pub board: &'a Board,
    /// What stands in it.
    pub json: &'a Value,
}

impl<'a> Panel<'a> {
    /// Says which it is, for people.
    pub fn name(&self) -> String {
        format!("{}, panel {} ({})", self.board.file, self.json["id"], self.title())
    }

    /// Its title.
    pub fn title(&self) -> &'a str {
        self.json["title"].as_str().unwrap_or_default()
    }

    /// How it draws: `stat`, `timeseries`, `table`...
    pub fn kind(&self) -> &'a str {
        self.json["type"].as_str().unwrap_or_default()
    }

    /// What it asks.
    pub fn targets(&self) -> &'a [Value] {
        self.json["targets"].as_array().map_or(&[][..], Vec::as_slice)
    }

    /// Its questions in SQL.
    pub fn sql(&self) -> Vec<&'a str> {
        self.asked(CLICKHOUSE, "rawSql")
    }

    /// Its questions in PromQL.
    pub fn promql(&self) -> Vec<&'a str> {
        self.asked(PROMETHEUS, "expr")
    }

    fn asked(&self, source: &str, field: &str) -> Vec<&'a str> {
        let of = |target: &&Value| target["datasource"]["type"] == source;
        self.targets().iter().filter(of).filter_map(|target| target[field].as_str()).collect()
    }

    /// Columns that its settings name: these must exist in the answer.
    pub fn named_columns(&self) -> Vec<&'a str> {
        let overrides = self.json["fieldConfig"]["overrides"].as_array().map_or(&[][..], Vec::as_slice);
        let named = overrides.iter().filter(|one| one["matcher"]["id"] == "byName");
        named.filter_map(|one| one["matcher"]["options"].as_str()).collect()
    }

    /// Links of its fields: `/d/UID?...`.
    pub fn links(&self) -> Vec<&'a str> {
        let overrides = self.json["fieldConfig"]["overrides"].as_array().map_or(&[][..], Vec::as_slice);
        let properties = overrides.iter().filter_map(|one| one["properties"].as_array()).flatten();
        let links = properties.filter(|property| property["id"] == "links").filter_map(|property| property["value"].as_array());
        links.flatten().filter_map(|link| link["url"].as_str()).collect()
    }

    /// Whether some value of it is drawn in red.
    pub fn can_be_red(&self) -> bool {
        let red = |thresholds: &Value| {
            let steps = thresholds["steps"].as_array().map_or(&[][..], Vec::as_slice);
            steps.iter().any(|step| step["color"].as_str().is_some_and(|colour| colour.contains("red")))
        };
        red(&self.json["fieldConfig"]["defaults"]["thresholds"])
    }
}

/// One variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable<'a> {
    /// What stands in it.
    pub json: &'a Value,
}

impl<'a> Variable<'a> {
    /// Its name, without the dollar sign.
    pub fn name(&self) -> &'a str {
        self.json["name"].as_str().unwrap_or_default()
    }

    /// `query`, `custom`, `datasource`.
    pub fn kind(&self) -> &'a str {
        self.json["type"].as_str().unwrap_or_default()
    }

    /// Its question, in SQL.
    pub fn sql(&self) -> Option<&'a str> {
        (self.json["datasource"]["type"] == CLICKHOUSE).then(|| self.json["query"].as_str()).flatten()
    }

    /// Its question to Prometheus, `label_values(metric, label)`.
    pub fn promql(&self) -> Option<&'a str> {
        (self.json["datasource"]["type"] == PROMETHEUS).then(|| self.json["query"]["query"].as_str()).flatten()
    }
}
