//! The four forms of every answer: table for people, JSON and NDJSON for programs, CSV for spreadsheets. Data goes to
//! stdout, talk to stderr. No colours, ever: nothing has to be switched off for `NO_COLOR`.
//!
//! One object has a page in a table, itself in JSON and NDJSON, and lines of `field,value` in CSV.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::errors::{Failure, Outcome};
use crate::safe;

/// Narrowest a column gets on a terminal before lines break instead; less cannot be recognised.
const MIN_WIDTH: usize = 8;
/// Blanks behind each cell.
const PADDING: usize = 2;
/// Digits of an id that a table shows: 48 bits, of which the API needs 24.
const ID_WIDTH: usize = 12;
/// Last part of a pointer under which a time stands: only what the API writes as a time is turned into the zone asked
/// for, whatever a command line looks like.
const TIMES: [&str; 23] = [
    "ts",
    "event_time",
    "received_at",
    "detected_at",
    "stored_at",
    "first_seen",
    "last_seen",
    "last_heartbeat",
    "spool_oldest",
    "enrolled",
    "certificate_expires",
    "at",
    "expires",
    "created",
    "from",
    "to",
    "last_batch",
    "time",
    "issued",
    "last_used",
    "last_ts",
    "not_before",
    "not_after",
];

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// One JSON document (of what goes on without an end: one JSON object a line).
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
    /// Columns of the terminal; none where stdout is none.
    width: Option<u16>,
}

/// A column: its head, and where its value stands in a row.
pub struct Column {
    head: &'static str,
    /// JSON pointer into the row.
    at: &'static str,
    /// Longest text in a table; 0 is no limit.
    width: usize,
    /// On a terminal it takes what the others leave.
    takes_rest: bool,
    /// Cut without an ellipsis: what stands there can be given to the next command.
    is_id: bool,
}

/// A column of at most `width` characters in a table; 0 is never cut.
pub const fn column(head: &'static str, at: &'static str, width: usize) -> Column {
    Column { head, at, width, takes_rest: false, is_id: false }
}

/// A column that takes the rest of a terminal's width, and `width` elsewhere.
pub const fn rest(head: &'static str, at: &'static str, width: usize) -> Column {
    Column { head, at, width, takes_rest: true, is_id: false }
}

/// A column of ids, cut to a prefix that every verb takes.
pub const fn id(head: &'static str, at: &'static str) -> Column {
    Column { head, at, width: ID_WIDTH, takes_rest: false, is_id: true }
}

impl Output {
    /// The form asked for, or a table on a terminal and NDJSON in a pipe. `zone` is an IANA name; UTC without one.
    pub fn new(form: Option<Form>, zone: Option<&str>) -> Outcome<Self> {
        let is_terminal = std::io::stdout().is_terminal();
        let form = form.unwrap_or(if is_terminal { Form::Table } else { Form::Ndjson });
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|error| {
                Failure::usage(format!("--tz {name:?}: {error}"), "use a name such as Europe/Paris, or leave it out for UTC")
            })?,
        };
        let width = if is_terminal { Table::new().width() } else { None };
        Ok(Self { form, zone, width })
    }

    /// The form that was chosen.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Rows in every form.
    pub fn rows(&self, columns: &[Column], rows: &[Value]) -> Outcome {
        match self.form {
            Form::Table => self.print(&self.table(columns, rows)),
            Form::Json => self.document(&Value::Array(rows.to_vec())),
            Form::Ndjson => rows.iter().try_for_each(|row| self.json_line(row)),
            Form::Csv => {
                let heads = columns.iter().map(|column| column.head.to_string()).collect();
                let cells = rows.iter().map(|row| self.csv_row(columns, row));
                self.print(&csv(std::iter::once(heads).chain(cells))?)
            }
        }
    }

    /// Heads of what comes row by row.
    pub fn heads(&self, columns: &[Column]) -> Outcome {
        let heads = columns.iter().map(|column| column.head.to_string());
        match self.form {
            Form::Table => self.print(&aligned(columns, heads)),
            // Heads of lines are as wide as their cells; a spreadsheet wants the word.
            Form::Csv => self.print(&csv(std::iter::once(heads.map(|head| head.trim_end().to_string()).collect()))?),
            Form::Json | Form::Ndjson => Ok(()),
        }
    }

    /// A row of what comes row by row: a line, written at once.
    pub fn row(&self, columns: &[Column], row: &Value) -> Outcome {
        match self.form {
            Form::Table => self.print(&aligned(columns, columns.iter().map(|column| self.cell(column, row, false)))),
            Form::Csv => self.print(&csv(std::iter::once(self.csv_row(columns, row)))?),
            Form::Json | Form::Ndjson => self.json_line(row),
        }
    }

    /// One object: see the module's page.
    pub fn page(&self, value: &Value, page: impl FnOnce(&Self) -> String) -> Outcome {
        match self.form {
            Form::Table => self.print(page(self).trim_end()),
            Form::Ndjson => self.json_line(value),
            Form::Json => self.document(value),
            Form::Csv => {
                let mut cells = vec![vec!["field".to_string(), "value".to_string()]];
                self.flatten("", value, &mut cells);
                self.print(&csv(cells.into_iter())?)
            }
        }
    }

    /// One JSON object on one line, whatever the form.
    pub fn json_line(&self, value: &Value) -> Outcome {
        self.print(&safe::json(&value.to_string()))
    }

    fn document(&self, value: &Value) -> Outcome {
        let text = serde_json::to_string_pretty(value).expect("a JSON value is always JSON");
        self.print(&safe::json(&text))
    }

    /// A table, as wide as the terminal where there is one.
    pub fn table(&self, columns: &[Column], rows: &[Value]) -> String {
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| columns.iter().map(|column| self.cell(column, row, self.width.is_some())).collect()).collect();
        let mut table = Table::new();
        table.load_style(presets::NOTHING).force_no_tty().set_truncation_indicator("…");
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().map(|column| column.head));
        for row in &cells {
            let mut row = Row::from(row);
            row.max_height(1);
            table.add_row(row);
        }
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, PADDING as u16));
        });
        if let Some(width) = self.width {
            table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
            table.set_constraints(columns.iter().enumerate().map(|(at, column)| constraint(column, &cells, at)));
        }
        table.lines().map(|line| line.trim_end().to_string()).collect::<Vec<_>>().join("\n")
    }

    fn cell(&self, column: &Column, row: &Value, has_rest: bool) -> String {
        let text = self.shown(row, column.at);
        match column.width {
            0 => text,
            _ if column.takes_rest && has_rest => text,
            width if column.is_id => text.chars().take(width).collect(),
            width => safe::cut(&text, width),
        }
    }

    fn csv_row(&self, columns: &[Column], row: &Value) -> Vec<String> {
        columns.iter().map(|column| self.csv_cell(row.pointer(column.at).unwrap_or(&Value::Null), column.at)).collect()
    }

    fn csv_cell(&self, value: &Value, at: &str) -> String {
        // A negative number is a number to a spreadsheet, and no formula.
        if value.is_number() { value.to_string() } else { safe::cell(&self.text(value, at)) }
    }

    fn flatten(&self, name: &str, value: &Value, cells: &mut Vec<Vec<String>>) {
        let below = |key: &str| if name.is_empty() { key.to_string() } else { format!("{name}/{key}") };
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| self.flatten(&below(key), value, cells)),
            Value::Array(list) if list.iter().any(|value| value.is_object() || value.is_array()) => {
                list.iter().enumerate().for_each(|(at, value)| self.flatten(&below(&at.to_string()), value, cells));
            }
            scalar => cells.push(vec![safe::cell(name), self.csv_cell(scalar, name)]),
        }
    }

    /// What stands at `at` in `value`, safe for a terminal; times in the zone asked for.
    pub fn shown(&self, value: &Value, at: &str) -> String {
        safe::terminal(&self.text(value.pointer(at).unwrap_or(&Value::Null), at))
    }

    fn text(&self, value: &Value, at: &str) -> String {
        match value {
            Value::Null => String::new(),
            Value::String(text) => {
                let is_time = at.rsplit('/').next().is_some_and(|name| TIMES.contains(&name));
                is_time.then(|| self.time(text)).flatten().unwrap_or_else(|| text.clone())
            }
            Value::Array(list) => list.iter().map(|value| self.text(value, "")).collect::<Vec<_>>().join(", "),
            Value::Object(object) => {
                object.iter().map(|(key, value)| format!("{key}={}", self.text(value, ""))).collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        }
    }

    fn time(&self, text: &str) -> Option<String> {
        let time: jiff::Timestamp = text.parse().ok()?;
        let form = if self.zone == TimeZone::UTC { "%Y-%m-%d %H:%M:%S.%3fZ" } else { "%Y-%m-%d %H:%M:%S.%3f %Z" };
        Some(time.to_zoned(self.zone.clone()).strftime(form).to_string())
    }

    /// Text and the end of its line, at once.
    pub fn print(&self, text: &str) -> Outcome {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| not_written(&error))
    }
}

fn constraint(column: &Column, cells: &[Vec<String>], at: usize) -> ColumnConstraint {
    if column.width == 0 || column.is_id {
        return ColumnConstraint::ContentWidth;
    }
    let widest = cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0).max(column.head.len());
    ColumnConstraint::LowerBoundary(Width::Fixed((widest.min(MIN_WIDTH) + PADDING) as u16))
}

/// Cells of one line, each padded to its column's width.
fn aligned(columns: &[Column], cells: impl Iterator<Item = String>) -> String {
    let cells = columns.iter().zip(cells).map(|(column, cell)| format!("{cell:<width$}", width = column.width));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
}

/// Lines of CSV without the end of the last one.
fn csv(rows: impl Iterator<Item = Vec<String>>) -> Outcome<String> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    let bad = |why: String| Failure::usage(format!("the answer has no CSV form: {why}"), "use --output json");
    for row in rows {
        writer.write_record(row).map_err(|error| bad(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| bad(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    Ok(text.trim_end_matches('\n').to_string())
}

/// Talk: never mixed with data.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", safe::lines(text));
}

/// Nobody reads on (`| head`) is no error to tell of; a full disk is.
fn not_written(error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::interrupted(),
        _ => Failure::usage(format!("cannot write the answer: {error}"), "is there room where stdout goes to?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: [Column; 3] = [column("TIME", "/ts", 0), rest("WHAT", "/what", 10), column("N", "/count", 0)];

    fn output(zone: Option<&str>, width: Option<u16>) -> Output {
        Output { width, ..Output::new(Some(Form::Table), zone).unwrap() }
    }

    #[test]
    fn a_table_shows_hostile_text_without_acting_on_it() {
        let table = output(None, None).table(&COLUMNS, &[json!({"what": "\u{1b}[31mred", "count": 3})]);
        assert!(!table.contains('\u{1b}') && table.contains("\\u{1b}") && table.contains('3'), "{table}");
    }

    #[test]
    fn only_what_is_a_time_is_shown_in_the_zone_asked_for() {
        let row = json!({"ts": "2026-11-21T10:00:00.123456Z", "what": "2026-11-21T10:00:00.123456Z"});
        assert_eq!(output(None, None).shown(&row, "/ts"), "2026-11-21 10:00:00.123Z");
        assert_eq!(output(Some("Europe/Paris"), None).shown(&row, "/ts"), "2026-11-21 11:00:00.123 CET");
        assert_eq!(output(None, None).shown(&row, "/what"), "2026-11-21T10:00:00.123456Z");
    }

    #[test]
    fn a_wide_terminal_gives_the_rest_to_what_happened_and_a_narrow_one_cuts_it() {
        let row = json!({"ts": "x".repeat(20), "what": "java -jar ".repeat(9).trim_end(), "count": 12345});
        let wide = output(None, Some(140)).table(&COLUMNS, std::slice::from_ref(&row));
        assert!(wide.contains(row["what"].as_str().unwrap()), "{wide}");
        let narrow = output(None, Some(60)).table(&COLUMNS, std::slice::from_ref(&row));
        assert!(narrow.lines().count() == 2 && narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
        assert!(narrow.contains(&"x".repeat(20)) && narrow.contains('…') && narrow.contains("12345"), "{narrow}");
        let tiny = output(None, Some(10)).table(&COLUMNS, &[row]);
        assert!(tiny.contains(&"x".repeat(20)) && tiny.contains("12345"), "{tiny}");
    }

    #[test]
    fn an_object_is_lines_of_field_and_value_for_a_spreadsheet() {
        let mut cells = Vec::new();
        output(None, None).flatten("", &json!({"=a": {"l": ["x", "=y"], "n": -1}, "o": [{"t": "+1"}]}), &mut cells);
        assert_eq!(cells, [["'=a/l", "x, =y"], ["'=a/n", "-1"], ["o/0/t", "'+1"]]);
    }

    #[test]
    fn an_unknown_zone_is_refused_with_advice() {
        assert!(Output::new(None, Some("Mars/Olympus")).unwrap_err().hint.contains("Europe/Paris"));
    }
}
