//! The four forms of every answer: table for people, JSON and NDJSON for programs, CSV for spreadsheets. Data goes to
//! stdout, talk to stderr.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::errors::{Exit, Failure, Outcome};
use crate::safe;

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// For spreadsheets; cells that begin like a formula are quoted.
    Csv,
}

/// How answers are written.
#[derive(Debug, Clone)]
pub struct Output {
    form: Form,
    zone: TimeZone,
}

/// A column: its head, and where its value stands in a row.
pub struct Column {
    /// Head.
    pub head: &'static str,
    /// JSON pointer into the row.
    pub at: &'static str,
    /// Longest text in a table; 0 is no limit.
    pub width: usize,
}

/// A column.
pub const fn column(head: &'static str, at: &'static str, width: usize) -> Column {
    Column { head, at, width }
}

impl Output {
    /// The form asked for, or a table on a terminal and NDJSON in a pipe. `zone` is an IANA name; UTC without one.
    pub fn new(form: Option<Form>, zone: Option<&str>) -> Outcome<Self> {
        let form = form.unwrap_or(if std::io::stdout().is_terminal() { Form::Table } else { Form::Ndjson });
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|error| {
                Failure::usage(format!("--tz {name:?}: {error}"), "use a name such as Europe/Paris, or leave it out for UTC")
            })?,
        };
        Ok(Self { form, zone })
    }

    /// Rows in every form.
    pub fn rows(&self, columns: &[Column], rows: &[Value]) -> Outcome {
        match self.form {
            Form::Table => self.print(&self.table(columns, rows)),
            Form::Json => self.document(&Value::Array(rows.to_vec())),
            Form::Ndjson => rows.iter().try_for_each(|row| self.print(&row.to_string())),
            Form::Csv => self.csv(columns, rows, true),
        }
    }

    /// Rows that follow others, without heads.
    pub fn more_rows(&self, columns: &[Column], rows: &[Value]) -> Outcome {
        match self.form {
            Form::Csv => self.csv(columns, rows, false),
            Form::Table => rows.iter().try_for_each(|row| {
                let cells: Vec<String> = columns.iter().map(|column| self.cell(column, row)).collect();
                self.print(&cells.join("  "))
            }),
            _ => rows.iter().try_for_each(|row| self.print(&row.to_string())),
        }
    }

    /// One object: a person's page in a table, else JSON (CSV has no form for it and gets JSON).
    pub fn page(&self, value: &Value, page: impl FnOnce(&Self) -> String) -> Outcome {
        match self.form {
            Form::Table => self.print(page(self).trim_end()),
            Form::Ndjson => self.print(&value.to_string()),
            Form::Json | Form::Csv => self.document(value),
        }
    }

    fn document(&self, value: &Value) -> Outcome {
        let text = serde_json::to_string_pretty(value).expect("a JSON value is always JSON");
        self.print(&text)
    }

    /// A table for a terminal, as wide as it is.
    pub fn table(&self, columns: &[Column], rows: &[Value]) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().map(|column| column.head));
        for row in rows {
            table.add_row(columns.iter().map(|column| self.cell(column, row)));
        }
        table.lines().map(|line| line.trim_end().to_string()).collect::<Vec<_>>().join("\n")
    }

    fn cell(&self, column: &Column, row: &Value) -> String {
        let text = safe::terminal(&self.text(row.pointer(column.at).unwrap_or(&Value::Null)));
        if column.width == 0 { text } else { safe::cut(&text, column.width) }
    }

    fn csv(&self, columns: &[Column], rows: &[Value], heads: bool) -> Outcome {
        let mut writer = csv::Writer::from_writer(std::io::stdout().lock());
        if heads {
            writer.write_record(columns.iter().map(|column| column.head)).map_err(|error| broken_pipe(&error.to_string()))?;
        }
        for row in rows {
            let cells = columns.iter().map(|column| safe::cell(&self.text(row.pointer(column.at).unwrap_or(&Value::Null))));
            writer.write_record(cells).map_err(|error| broken_pipe(&error.to_string()))?;
        }
        writer.flush().map_err(|error| broken_pipe(&error.to_string()))
    }

    /// A value as text; times in the zone asked for.
    pub fn text(&self, value: &Value) -> String {
        match value {
            Value::Null => String::new(),
            Value::String(text) => self.time(text).unwrap_or_else(|| text.clone()),
            Value::Array(list) => list.iter().map(|value| self.text(value)).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        }
    }

    fn time(&self, text: &str) -> Option<String> {
        // Only what the API writes as a time: a command line that happens to be one stays as it is.
        if text.len() < 20 || !text.ends_with('Z') || text.as_bytes().get(10) != Some(&b'T') {
            return None;
        }
        let time: jiff::Timestamp = text.parse().ok()?;
        let time = time.to_zoned(self.zone.clone());
        Some(
            time.strftime(if self.zone == TimeZone::UTC { "%Y-%m-%d %H:%M:%S.%3fZ" } else { "%Y-%m-%d %H:%M:%S.%3f %Z" })
                .to_string(),
        )
    }

    /// One line of data.
    pub fn print(&self, line: &str) -> Outcome {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| broken_pipe(&error.to_string()))
    }
}

/// Talk: never mixed with data.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn broken_pipe(error: &str) -> Failure {
    Failure { exit: Exit::Interrupted, what: format!("cannot write the answer: {error}"), hint: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn output(zone: Option<&str>) -> Output {
        Output::new(Some(Form::Table), zone).unwrap()
    }

    #[test]
    fn a_table_shows_hostile_text_without_acting_on_it() {
        let columns = [column("WHAT", "/what", 0), column("N", "/count", 0)];
        let table = output(None).table(&columns, &[json!({"what": "\u{1b}[31mred", "count": 3})]);
        assert!(!table.contains('\u{1b}') && table.contains("[31mred") && table.contains('3'), "{table}");
    }

    #[test]
    fn times_are_shown_in_the_zone_asked_for() {
        let time = json!("2026-11-21T10:00:00.123456Z");
        assert_eq!(output(None).text(&time), "2026-11-21 10:00:00.123Z");
        assert_eq!(output(Some("Europe/Paris")).text(&time), "2026-11-21 11:00:00.123 CET");
        assert_eq!(output(None).text(&json!("T10Z")), "T10Z");
    }

    #[test]
    fn an_unknown_zone_is_refused_with_advice() {
        assert!(Output::new(None, Some("Mars/Olympus")).unwrap_err().hint.contains("Europe/Paris"));
    }
}
