//! From text to documents: YAML, size checks and the Sigma grammar. Every failure becomes a [`RuleProblem`] with a line.

use std::path::{Path, PathBuf};

use rsigma_parser::{SigmaCollection, SigmaDocument};
use serde_yaml_ng::Value as Yaml;
use sha2::{Digest, Sha256};

pub(crate) use crate::assemble::assemble;
use crate::correlate::{Written, readable};
use crate::limits::{MAX_CONDITION_BYTES, MAX_CONDITION_DEPTH, MAX_DOCUMENTS, MAX_FILE_BYTES, MAX_FLOW_DEPTH};
use crate::locate::Place;
use crate::problem::RuleProblem;

/// What one file holds.
#[derive(Debug, Default)]
pub(crate) struct FileRules {
    pub documents: Vec<Document>,
    pub problems: Vec<RuleProblem>,
}

impl FileRules {
    pub(crate) fn broken(problem: RuleProblem) -> Self {
        Self { documents: Vec::new(), problems: vec![problem] }
    }
}

/// One document of a file, parsed.
#[derive(Debug)]
pub(crate) struct Document {
    pub origin: Origin,
    pub body: SigmaDocument,
    /// What a correlation's text says beyond the syntax tree; none where its document was made of several.
    pub written: Option<Written>,
}

/// Where a document stands, and its text.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub path: PathBuf,
    /// Line of its first line in the file.
    pub line: u32,
    pub text: String,
    /// SHA-256 of the text, hex.
    pub sha256: String,
}

impl Origin {
    fn new(path: &Path, line: u32, text: &str, sha256_of: &[u8]) -> Self {
        Self { path: path.into(), line, text: text.into(), sha256: hex::encode(Sha256::digest(sha256_of)) }
    }

    /// A problem of this document, placed at what its reason talks about.
    pub(crate) fn problem(&self, reason: &str) -> RuleProblem {
        let place = Place::of(reason, &self.text);
        RuleProblem::new(&self.path, self.line + place.line, place.code, reason, place.hint).at_column(place.column)
    }
}

/// Reads the text of one file.
pub(crate) fn read(path: &Path, text: &str) -> FileRules {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() as u64 > MAX_FILE_BYTES {
        let reason = format!("the text is larger than {MAX_FILE_BYTES} bytes");
        return FileRules::broken(RuleProblem::new(path, 1, "too_large", reason, "split it"));
    }
    if let Some(line) = too_deep_line(text) {
        let reason = format!("brackets are nested more than {MAX_FLOW_DEPTH} deep");
        return FileRules::broken(RuleProblem::new(path, line, "yaml", reason, "write it as nested blocks"));
    }
    let pieces = split(text);
    if pieces.len() > MAX_DOCUMENTS {
        let reason = format!("{} documents, the limit is {MAX_DOCUMENTS}", pieces.len());
        return FileRules::broken(RuleProblem::new(path, 1, "too_many", reason, "split the file"));
    }
    if pieces.is_empty() {
        return FileRules::broken(RuleProblem::new(path, 1, "empty", "the file holds no rule", "write one or remove it"));
    }
    let has_actions = text.lines().any(|line| line.starts_with("action:"));
    let mut file = FileRules::default();
    for (line, piece) in &pieces {
        let origin = Origin::new(path, *line, piece, if pieces.len() == 1 { text.as_bytes() } else { piece.as_bytes() });
        match check_yaml(&origin) {
            Ok(_) if has_actions => {}
            Ok(yaml) => read_piece(origin, &yaml, &mut file),
            Err(problem) => file.problems.push(problem),
        }
    }
    if has_actions && file.problems.is_empty() {
        read_with_actions(path, text, &mut file);
    }
    file
}

fn parse(text: &str) -> Result<SigmaCollection, String> {
    // The grammar is a dependency fed with hostile text: its panic must cost one file, not the process.
    let parsed = std::panic::catch_unwind(|| rsigma_parser::parse_sigma_yaml(text));
    match parsed {
        Ok(Ok(collection)) => Ok(collection),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the parser failed on this document".into()),
    }
}

fn read_piece(origin: Origin, yaml: &Yaml, file: &mut FileRules) {
    let readable = readable(yaml);
    let parsed = parse(readable.as_ref().unwrap_or(&origin.text)).and_then(|collection| Ok((collection, Written::of(yaml)?)));
    let (collection, written) = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return file.problems.push(origin.problem(&reason)),
    };
    let is_loaded = !collection.is_empty();
    for reason in &collection.errors {
        let problem = origin.problem(reason);
        file.problems.push(if is_loaded { problem.warning() } else { problem });
    }
    file.documents.extend(bodies(collection).map(|body| Document { origin: origin.clone(), body, written: written.clone() }));
}

/// Documents with `action:` build on each other, so the file is parsed whole; lines are found by title.
fn read_with_actions(path: &Path, text: &str, file: &mut FileRules) {
    let whole = Origin::new(path, 1, text, text.as_bytes());
    match parse(text) {
        Ok(collection) => {
            file.problems.extend(collection.errors.iter().map(|reason| whole.problem(reason)));
            for (index, body) in bodies(collection).enumerate() {
                let title = match &body {
                    SigmaDocument::Rule(rule) => &rule.title,
                    SigmaDocument::Correlation(rule) => &rule.title,
                    SigmaDocument::Filter(rule) => &rule.title,
                };
                let at = text.lines().position(|line| line.starts_with("title:") && line.contains(title.as_str()));
                // The index makes the hashes of the documents of one text differ.
                let mut origin = Origin::new(path, 1, text, format!("{index}\n{text}").as_bytes());
                origin.line = at.unwrap_or(0) as u32 + 1;
                file.documents.push(Document { origin, body, written: None });
            }
        }
        Err(reason) => file.problems.push(whole.problem(&reason)),
    }
}

fn bodies(collection: SigmaCollection) -> impl Iterator<Item = SigmaDocument> {
    let rules = collection.rules.into_iter().map(|rule| SigmaDocument::Rule(Box::new(rule)));
    let correlations = collection.correlations.into_iter().map(SigmaDocument::Correlation);
    rules.chain(correlations).chain(collection.filters.into_iter().map(SigmaDocument::Filter))
}

/// The documents of a text with the line each begins at; those of comments and blanks only are left out.
fn split(text: &str) -> Vec<(u32, &str)> {
    let mut pieces = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        // Inside of block scalars text is indented, so a line that begins with `---` always ends a document.
        if line.trim_end() == "---" || line.starts_with("--- ") {
            pieces.push((start_line, &text[start..at]));
            start = at + line.len();
            start_line = index as u32 + 2;
        }
        at += line.len();
    }
    pieces.push((start_line, &text[start..]));
    let holds_text = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#') && line.trim() != "...";
    pieces.retain(|(_, piece)| piece.lines().any(holds_text));
    pieces
}

/// The first line at which a line's own brackets (or list dashes) nest too deep for the YAML scanner, whose time grows
/// with the square of that depth.
fn too_deep_line(text: &str) -> Option<u32> {
    let mut flow = 0usize;
    for (index, line) in text.lines().enumerate() {
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => flow += 1,
                b']' | b'}' => flow = flow.saturating_sub(1),
                _ => {}
            }
        }
        let is_nested_list = line.split_ascii_whitespace().take_while(|word| matches!(*word, "-" | "?")).count();
        if flow > MAX_FLOW_DEPTH || is_nested_list > MAX_FLOW_DEPTH {
            return Some(index as u32 + 1);
        }
    }
    None
}

/// Reads the YAML once with positions, and refuses conditions that the recursive grammar should not see.
fn check_yaml(origin: &Origin) -> Result<Yaml, RuleProblem> {
    let yaml: Yaml = serde_yaml_ng::from_str(&origin.text).map_err(|error| {
        let (line, column) = error.location().map_or((0, 1), |at| (at.line().max(1) - 1, at.column()));
        let reason = format!("this is no YAML: {error}");
        RuleProblem::new(&origin.path, origin.line + line as u32, "yaml", reason, "correct the indentation or the quotes")
            .at_column(column as u32)
    })?;
    check_conditions(&yaml).map_err(|reason| origin.problem(&reason))?;
    Ok(yaml)
}

fn check_conditions(yaml: &Yaml) -> Result<(), String> {
    match yaml {
        Yaml::Mapping(mapping) => mapping.iter().try_for_each(|(key, value)| {
            if key.as_str() == Some("condition") {
                check_condition(value)?;
            }
            check_conditions(value)
        }),
        Yaml::Sequence(list) => list.iter().try_for_each(check_conditions),
        _ => Ok(()),
    }
}

fn check_condition(value: &Yaml) -> Result<(), String> {
    match value {
        Yaml::String(text) if text.len() > MAX_CONDITION_BYTES => {
            Err(format!("Condition of {} bytes, the limit is {MAX_CONDITION_BYTES}", text.len()))
        }
        Yaml::String(text) => {
            let (mut depth, mut deepest) = (0usize, 0);
            for byte in text.bytes() {
                match byte {
                    b'(' => depth += 1,
                    b')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                deepest = deepest.max(depth);
            }
            if deepest > MAX_CONDITION_DEPTH {
                return Err(format!("Condition nests {deepest} parentheses, the limit is {MAX_CONDITION_DEPTH}"));
            }
            Ok(())
        }
        Yaml::Sequence(list) => list.iter().try_for_each(check_condition),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_the_lines_they_begin_at() {
        let text = "# only words\n---\ntitle: a\n--- # second\ntitle: b\ntext: |\n  ---\n";
        let pieces: Vec<(u32, &str)> = split(text);
        assert_eq!(pieces, [(3, "title: a\n"), (5, "title: b\ntext: |\n  ---\n")]);
    }

    #[test]
    fn the_hash_of_a_rule_is_that_of_its_file_when_it_stands_alone() {
        let text = "title: a\nlogsource: {product: linux}\ndetection: {k: [word], condition: k}\n";
        let file = read(Path::new("a.yml"), text);
        assert_eq!(file.documents[0].origin.sha256, hex::encode(Sha256::digest(text)));
    }
}
