//! Rows in the form asked for: as they come, or by time in a spreadsheet.

use serde_json::Value;

use super::row::{COLUMNS, Row};
use super::timeline::Timeline;
use crate::errors::Outcome;
use crate::output::{Form, Output};
use crate::safe;

/// Writes rows.
pub struct Show<'o> {
    output: &'o Output,
    timeline: Timeline,
    /// The last element of a JSON document: whether a comma follows it is known with the next.
    waiting: Option<String>,
}

impl<'o> Show<'o> {
    /// Writes what stands before the first row.
    pub fn begin(output: &'o Output) -> Outcome<Self> {
        match output.form() {
            Form::Table => output.heads(&COLUMNS)?,
            Form::Json => output.print("[")?,
            Form::Ndjson | Form::Csv => {}
        }
        Ok(Self { output, timeline: Timeline::default(), waiting: None })
    }

    /// Writes rows, or keeps them for the timeline.
    pub fn rows(&mut self, rows: &[Row]) -> Outcome {
        match self.output.form() {
            Form::Csv => rows.iter().try_for_each(|row| self.timeline.push(row)),
            Form::Table => rows.iter().try_for_each(|row| self.output.row(&COLUMNS, &row.value)),
            Form::Ndjson if rows.is_empty() => Ok(()),
            Form::Ndjson => self.output.print(&rows.iter().map(|row| text(&row.value)).collect::<Vec<_>>().join("\n")),
            Form::Json => rows.iter().try_for_each(|row| match self.waiting.replace(text(&row.value)) {
                Some(before) => self.output.print(&format!("{before},")),
                None => Ok(()),
            }),
        }
    }

    /// Writes what stands behind the last row.
    pub fn end(self) -> Outcome {
        match self.output.form() {
            Form::Csv => {
                self.output.heads(&COLUMNS)?;
                self.timeline.each(|row| self.output.row(&COLUMNS, row))
            }
            Form::Json => {
                let last = self.waiting.map_or(String::new(), |last| format!("{last}\n"));
                self.output.print(&format!("{last}]"))
            }
            Form::Table | Form::Ndjson => Ok(()),
        }
    }
}

/// A row on one line.
fn text(row: &Value) -> String {
    safe::json(&row.to_string())
}
