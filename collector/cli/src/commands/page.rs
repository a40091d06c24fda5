//! Parts of a page for a person: titles, and lines of a name and what stands under it. What is empty is left out.

use std::fmt::Write;

use serde_json::Value;

use crate::output::Output;

/// Width of names.
const NAME_WIDTH: usize = 14;

/// A page that grows.
pub struct Page<'a> {
    text: String,
    output: &'a Output,
}

impl<'a> Page<'a> {
    /// An empty page.
    pub fn new(output: &'a Output) -> Self {
        Self { text: String::new(), output }
    }

    /// A line as it is: it must be safe for a terminal already.
    pub fn raw(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    /// An empty line and a title.
    pub fn title(&mut self, title: &str) {
        let _ = writeln!(self.text, "\n{title}");
    }

    /// A name and what stands at `at`; nothing where that is empty.
    pub fn line(&mut self, name: &str, value: &Value, at: &str) {
        self.named(name, &self.output.shown(value, at));
    }

    /// A name and its text, which must be safe for a terminal already.
    pub fn named(&mut self, name: &str, shown: &str) {
        if !shown.is_empty() {
            let _ = writeln!(self.text, "  {name:<NAME_WIDTH$} {shown}");
        }
    }

    /// Several lines.
    pub fn lines(&mut self, value: &Value, lines: &[(&str, &str)]) {
        lines.iter().for_each(|(name, at)| self.line(name, value, at));
    }

    /// Its text.
    pub fn finish(self) -> String {
        self.text
    }
}

/// Bytes as people read them: `12.3 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut rest = count as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if rest < 1024.0 {
            break;
        }
        rest /= 1024.0;
        unit = next;
    }
    if unit == "bytes" { format!("{count} bytes") } else { format!("{rest:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_fits() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }
}
