//! Rows sorted by time, however many there are: what does not fit into memory waits in sorted files of a scratch folder.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Lines, Seek, Write};

use serde_json::Value;

use super::row::Row;
use crate::errors::{Failure, Outcome};

/// Bytes of rows that stay in memory: some hundred thousand matches.
const MAX_MEMORY: usize = 64 * 1024 * 1024;

/// A row with what it is sorted by: time (rows without one come first), then the order in which it came.
type Line = (i64, u64, String);

/// Collects rows.
#[derive(Default)]
pub struct Timeline {
    rows: Vec<Line>,
    bytes: usize,
    count: u64,
    runs: Vec<File>,
    limit: Option<usize>,
}

impl Timeline {
    /// Adds a row.
    pub fn push(&mut self, row: &Row) -> Outcome {
        let text = row.value.to_string();
        self.bytes += text.len();
        self.rows.push((row.time_us.unwrap_or(i64::MIN), self.count, text));
        self.count += 1;
        if self.bytes > self.limit.unwrap_or(MAX_MEMORY) { self.spill().map_err(|error| failed(&error)) } else { Ok(()) }
    }

    fn spill(&mut self) -> std::io::Result<()> {
        self.rows.sort_unstable();
        let mut file = tempfile::tempfile()?;
        let mut writer = BufWriter::new(&mut file);
        for (time, number, text) in self.rows.drain(..) {
            // JSON text holds no line break.
            writeln!(writer, "{time} {number} {text}")?;
        }
        writer.flush()?;
        drop(writer);
        file.rewind()?;
        self.runs.push(file);
        self.bytes = 0;
        Ok(())
    }

    /// Gives every row to `take`, sorted.
    pub fn each(mut self, mut take: impl FnMut(&Value) -> Outcome) -> Outcome {
        self.rows.sort_unstable();
        let mut runs: Vec<Lines<BufReader<File>>> = self.runs.into_iter().map(|file| BufReader::new(file).lines()).collect();
        let (count, mut memory) = (runs.len(), self.rows.into_iter());
        // The run in memory comes last.
        let mut next = |run: usize| -> Outcome<Option<Line>> {
            match runs.get_mut(run) {
                None => Ok(memory.next()),
                Some(lines) => {
                    lines.next().map(|line| line.map_err(|error| failed(&error)).and_then(|line| parse(&line))).transpose()
                }
            }
        };
        let mut heads = BinaryHeap::new();
        for run in 0..=count {
            heads.extend(next(run)?.map(|line| Reverse((line, run))));
        }
        while let Some(Reverse(((_, _, text), run))) = heads.pop() {
            take(&serde_json::from_str(&text).unwrap_or(Value::Null))?;
            if let Some(line) = next(run)? {
                heads.push(Reverse((line, run)));
            }
        }
        Ok(())
    }
}

fn parse(line: &str) -> Outcome<Line> {
    let damaged = || Failure::usage("a scratch file of the timeline was changed", "run it again");
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().ok_or_else(damaged);
    let (time, number, text) = (part()?, part()?, part()?);
    Ok((time.parse().map_err(|_| damaged())?, number.parse().map_err(|_| damaged())?, text.into()))
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::usage(format!("the timeline cannot be sorted: {error}"), "is there room in the folder for temporary files (TMPDIR)?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sorted(limit: Option<usize>, times: impl Iterator<Item = Option<i64>>) -> (Vec<(Option<i64>, u64)>, usize) {
        let mut timeline = Timeline { limit, ..Timeline::default() };
        for (number, time_us) in times.enumerate() {
            timeline.push(&Row { time_us, value: json!({"time": time_us, "number": number}) }).unwrap();
        }
        let (runs, mut found) = (timeline.runs.len(), Vec::new());
        let all = timeline.each(|row| {
            found.push((row["time"].as_i64(), row["number"].as_u64().unwrap()));
            Ok(())
        });
        all.unwrap();
        (found, runs)
    }

    #[test]
    fn rows_come_by_time_and_those_of_one_time_as_they_came() {
        let times = [Some(5), None, Some(-3), Some(5), Some(0)];
        let wanted = vec![(None, 1), (Some(-3), 2), (Some(0), 4), (Some(5), 0), (Some(5), 3)];
        assert_eq!(sorted(None, times.into_iter()), (wanted, 0));
        assert_eq!(sorted(None, std::iter::empty()).0, []);
    }

    #[test]
    fn what_does_not_fit_into_memory_is_sorted_all_the_same() {
        let times = || (0..5_000_i64).map(|at| Some((at * 7_919) % 1_000));
        let (found, runs) = sorted(Some(10_000), times());
        assert!(runs > 5, "{runs}");
        assert_eq!(found, sorted(None, times()).0);
        assert_eq!(found.len(), 5_000);
    }
}
