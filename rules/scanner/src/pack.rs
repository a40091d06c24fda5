//! Rule packs: compiled from files, kept and shipped as bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use yara_x::{Compiler, MetaValue, SourceCode};

use crate::limits::{MAX_DEPTH, MAX_NESTING, MAX_PACK_BYTES, MAX_RULE_FILE_BYTES, MAX_RULE_FILES};

/// First bytes of a serialised pack; the digit is the version of the frame, not of the engine inside.
const MAGIC: &[u8; 8] = b"BFYARA1\n";
/// Magic, SHA-256 of the sources, SHA-256 of the engine's bytes.
const HEADER_BYTES: usize = MAGIC.len() + 32 + 32;

/// Variables that public rule sets use beside the language: the name of the file, its whole path, its ending with the
/// dot, its owner and its kind. A scan sets the first three where it knows the path; the others stay empty.
pub(crate) const FILE_VARIABLES: [&str; 5] = ["filename", "filepath", "extension", "owner", "filetype"];

/// One thing wrong with one rule file. What it concerns is left out; everything else is in the pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackProblem {
    /// File.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Stable short code; the engine's own codes begin with `E`.
    pub code: String,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

impl PackProblem {
    fn new(path: &Path, line: u32, code: &str, reason: impl Into<String>, hint: &str) -> Self {
        Self { path: path.into(), line, column: 1, code: code.into(), reason: reason.into(), hint: hint.into() }
    }
}

impl fmt::Display for PackProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, code, reason, hint } = self;
        write!(f, "{}:{line}:{column}: {code}: {reason} ({hint})", path.display())
    }
}

/// A pack that cannot be written or read back.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The bytes are no pack, or another version of one.
    #[error("these bytes are no rule pack of this version; compile the rules again")]
    NotAPack,
    /// The bytes were changed after they were written.
    #[error("the rule pack is damaged (its checksum differs); fetch it again")]
    Damaged,
    /// More bytes than a pack may have.
    #[error("a rule pack of {0} bytes; the limit is {MAX_PACK_BYTES}")]
    TooLarge(usize),
    /// The engine refuses them.
    #[error("the engine refuses the rule pack: {0}; compile the rules again with this version")]
    Engine(String),
}

/// One rule of a pack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PackRule {
    /// Identifier.
    pub rule: String,
    /// Namespace: the name of its file without the ending.
    pub namespace: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Metadata; the last value where a key is repeated.
    pub meta: BTreeMap<String, String>,
}

/// Compiled rules.
pub struct RulePack {
    pub(crate) rules: yara_x::Rules,
    sources: [u8; 32],
}

impl fmt::Debug for RulePack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RulePack").field("rules", &self.len()).field("hash", &self.hash()).finish()
    }
}

impl RulePack {
    /// Compiles all `.yar` and `.yara` files under the paths (files or folders; links are not followed).
    ///
    /// Each file is a namespace of its own. Every bad rule and unreadable file is returned; the rest is in the pack.
    pub fn compile(paths: &[impl AsRef<Path>]) -> (Self, Vec<PackProblem>) {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for path in paths {
            find_files(path.as_ref(), &mut files, &mut problems);
        }
        files.sort();
        files.dedup();
        if files.len() > MAX_RULE_FILES {
            let reason = format!("{} rule files, the limit is {MAX_RULE_FILES}", files.len());
            problems.push(PackProblem::new(&files[MAX_RULE_FILES], 1, "too_many", reason, "name a smaller folder"));
            files.truncate(MAX_RULE_FILES);
        }
        let texts: Vec<(PathBuf, String)> = files
            .into_iter()
            .filter_map(|path| match read_text(&path) {
                Ok(text) => Some((path, text)),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            })
            .collect();
        let (pack, found) = Self::compile_texts(texts);
        problems.extend(found);
        problems.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        (pack, problems)
    }

    /// Compiles rules from texts that are in memory already, as (path to show, text).
    pub fn compile_texts<P: Into<PathBuf>, T: AsRef<str>>(texts: impl IntoIterator<Item = (P, T)>) -> (Self, Vec<PackProblem>) {
        let mut problems = Vec::new();
        let mut compiler = new_compiler();
        let mut hashes = Vec::new();
        for (path, text) in texts {
            let (path, text) = (path.into(), text.as_ref());
            match add_source(&mut compiler, &path, text) {
                Ok(()) => {}
                Err(found) => problems.extend(found),
            }
            hashes.push(Sha256::digest(text));
        }
        hashes.sort_unstable();
        let mut sources = Sha256::new();
        hashes.iter().for_each(|hash| sources.update(hash));
        (Self { rules: compiler.build(), sources: sources.finalize().into() }, problems)
    }

    /// SHA-256 over the sorted hashes of the source files, hex.
    pub fn hash(&self) -> String {
        hex::encode(self.sources)
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.iter().count()
    }

    /// Whether it has no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rules.
    pub fn rules(&self) -> Vec<PackRule> {
        self.rules.iter().map(|rule| describe(&rule)).collect()
    }

    /// The pack as bytes for [`RulePack::deserialize`] of the same version.
    ///
    /// # Errors
    /// [`PackError::Engine`] when the engine cannot write it.
    pub fn serialize(&self) -> Result<Vec<u8>, PackError> {
        let body = self.rules.serialize().map_err(|error| PackError::Engine(error.to_string()))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.sources);
        bytes.extend_from_slice(&Sha256::digest(&body));
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads a pack back.
    ///
    /// The checksum finds damage, not malice: compiled rules hold code for the engine, so hand over only bytes whose
    /// signature was checked or that this host wrote itself.
    ///
    /// # Errors
    /// [`PackError`] when the bytes are no pack of this version, damaged, or too large.
    pub fn deserialize(bytes: &[u8]) -> Result<Self, PackError> {
        if bytes.len() > MAX_PACK_BYTES {
            return Err(PackError::TooLarge(bytes.len()));
        }
        let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(PackError::NotAPack)?;
        let (magic, hashes) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(PackError::NotAPack);
        }
        let (sources, body_hash) = hashes.split_at(32);
        if body_hash != Sha256::digest(body).as_slice() {
            return Err(PackError::Damaged);
        }
        let rules = catch_unwind(AssertUnwindSafe(|| yara_x::Rules::deserialize(body)))
            .map_err(|_| PackError::Engine("it failed while reading".into()))?
            .map_err(|error| PackError::Engine(error.to_string()))?;
        Ok(Self { rules, sources: sources.try_into().map_err(|_| PackError::NotAPack)? })
    }
}

pub(crate) fn describe(rule: &yara_x::Rule<'_, '_>) -> PackRule {
    let meta = rule.metadata().map(|(key, value)| {
        let value = match value {
            MetaValue::Integer(number) => number.to_string(),
            MetaValue::Float(number) => number.to_string(),
            MetaValue::Bool(truth) => truth.to_string(),
            MetaValue::String(text) => text.to_string(),
            MetaValue::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        (key.to_string(), value)
    });
    PackRule {
        rule: rule.identifier().into(),
        namespace: rule.namespace().into(),
        tags: rule.tags().map(|tag| tag.identifier().to_string()).collect(),
        meta: meta.collect(),
    }
}

fn new_compiler<'a>() -> Compiler<'a> {
    let mut compiler = Compiler::new();
    // A rule file must not read other files of the machine that compiles it.
    compiler.enable_includes(false);
    compiler.relaxed_re_syntax(true);
    for name in FILE_VARIABLES {
        // A text is always a valid value of a variable that is new.
        compiler.define_global(name, "").expect("the names are distinct identifiers");
    }
    // One slow rule would cut every scan short by its time limit.
    compiler.error_on_slow_pattern(true);
    compiler
}

fn add_source(compiler: &mut Compiler<'_>, path: &Path, text: &str) -> Result<(), Vec<PackProblem>> {
    if text.len() as u64 > MAX_RULE_FILE_BYTES {
        let reason = format!("the text is larger than {MAX_RULE_FILE_BYTES} bytes");
        return Err(vec![PackProblem::new(path, 1, "too_large", reason, "split it")]);
    }
    if let Some(line) = too_deep_line(text) {
        let reason = format!("parentheses are nested more than {MAX_NESTING} deep");
        return Err(vec![PackProblem::new(path, line, "too_deep", reason, "write a flatter condition")]);
    }
    let known = compiler.errors().len();
    compiler.new_namespace(&path.file_stem().unwrap_or_default().to_string_lossy());
    let source = SourceCode::from(text).with_origin(path.to_string_lossy());
    match catch_unwind(AssertUnwindSafe(|| compiler.add_source(source).map(|_| ()))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(compiler.errors()[known..].iter().map(|error| problem(path, text, error)).collect()),
        Err(_) => Err(vec![PackProblem::new(path, 1, "compiler", "the compiler failed on this file", "leave it out")]),
    }
}

fn problem(path: &Path, text: &str, error: &yara_x::errors::CompileError) -> PackProblem {
    let labels: Vec<(usize, String)> = error.labels().map(|label| (label.span().start(), label.text().to_string())).collect();
    let at = labels.first().map_or(0, |(at, _)| *at).min(text.len());
    let before = &text.as_bytes()[..at];
    let line = before.iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() as u32 + 1;
    let mut reason = error.title().to_string();
    if let Some((_, label)) = labels.first().filter(|(_, label)| !label.is_empty()) {
        reason = format!("{reason}: {label}");
    }
    PackProblem { path: path.into(), line, column, code: error.code().into(), reason, hint: hint(error.code()).into() }
}

fn hint(code: &str) -> &'static str {
    match code {
        "E009" => "define the identifier, or import the module that has it",
        "E010" => "only the modules elf, hash, math, pe, string and time are built in",
        "E011" | "E012" => "give every rule of a file its own name",
        _ => "correct the rule; the other rules of the file are loaded",
    }
}

/// The line at which parentheses nest too deep; text in quotes counts, which can only refuse too much.
fn too_deep_line(text: &str) -> Option<u32> {
    let mut depth = 0usize;
    for (index, line) in text.lines().enumerate() {
        // A rule begins at depth 0, whatever parentheses the strings of the rules before it left open.
        if line.trim_start().starts_with("rule ") || line.trim_start().starts_with("condition:") {
            depth = 0;
        }
        for byte in line.bytes() {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MAX_NESTING {
                return Some(index as u32 + 1);
            }
        }
    }
    None
}

fn find_files(root: &Path, files: &mut Vec<PathBuf>, problems: &mut Vec<PackProblem>) {
    for entry in walkdir::WalkDir::new(root).max_depth(MAX_DEPTH) {
        match entry {
            Ok(entry) if entry.depth() == 0 && !entry.file_type().is_dir() => files.push(entry.into_path()),
            Ok(entry) if entry.file_type().is_file() => {
                if entry.path().extension().is_some_and(|ending| ending == "yar" || ending == "yara") {
                    files.push(entry.into_path());
                }
            }
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(root).to_path_buf();
                let reason = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                problems.push(PackProblem::new(&path, 1, "unreadable", reason, "check that it exists and may be read"));
            }
        }
    }
}

fn read_text(path: &Path) -> Result<String, PackProblem> {
    let bytes = read_bytes(path, MAX_RULE_FILE_BYTES)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
        PackProblem::new(path, line, "encoding", format!("byte {valid} is no UTF-8"), "save the file as UTF-8")
    })
}

/// The bytes of one regular file, refused when there are more than `limit`.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, PackProblem> {
    let unreadable = |error: std::io::Error| PackProblem::new(path, 1, "unreadable", error.to_string(), "check its permissions");
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(PackProblem::new(path, 1, "unreadable", "this is no regular file", "name a file or a folder"));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        let reason = format!("the file is larger than {limit} bytes");
        return Err(PackProblem::new(path, 1, "too_large", reason, "split it"));
    }
    Ok(bytes)
}
