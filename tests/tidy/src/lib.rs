//! Reads the tree as it stands, for the house tests: which crate depends on which, and what the source files look like.
//!
//! Owns nothing; a file that cannot be read fails the test that asked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/tidy lies two folders below the root").to_path_buf()
}

/// One crate of the workspace.
#[derive(Debug, Clone)]
pub struct Member {
    /// Folder, relative to the root.
    pub folder: String,
    /// Package name.
    pub name: String,
    /// Names of its dependencies (not of its tests' or its build script's).
    pub dependencies: BTreeSet<String>,
    /// Names of the dependencies of its tests.
    pub dev_dependencies: BTreeSet<String>,
}

/// Every member of the workspace, by package name.
pub fn members() -> BTreeMap<String, Member> {
    let manifest = read_toml(&root().join("Cargo.toml"));
    let folders = manifest["workspace"]["members"].as_array().expect("the workspace names its members");
    let one = |folder: &toml::Value| {
        let folder = folder.as_str().expect("members are paths").to_string();
        let manifest = read_toml(&root().join(&folder).join("Cargo.toml"));
        let name = manifest["package"]["name"].as_str().expect("a package has a name").to_string();
        let keys = |table: &str| -> BTreeSet<String> {
            manifest.get(table).and_then(toml::Value::as_table).map(|table| table.keys().cloned().collect()).unwrap_or_default()
        };
        let member =
            Member { folder, name: name.clone(), dependencies: keys("dependencies"), dev_dependencies: keys("dev-dependencies") };
        (name, member)
    };
    folders.iter().map(one).collect()
}

fn read_toml(path: &Path) -> toml::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A source file with its path relative to the root.
#[derive(Debug)]
pub struct Source {
    /// Path relative to the root, with forward slashes.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Whether the whole file is test code.
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("tests.rs")
            || self.path.starts_with("tests/")
            || self.path.contains("/benches/")
    }

    /// The text before the file's unit tests.
    pub fn product_code(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }
}

/// Every file of ours with one of these endings.
pub fn sources(endings: &[&str]) -> Vec<Source> {
    let root = root();
    let skipped = |name: &str| matches!(name, "target" | ".git" | "node_modules");
    let files = walkdir::WalkDir::new(&root)
        .into_iter()
        .filter_entry(|entry| !skipped(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.expect("the tree can be walked"))
        .filter(|entry| {
            entry.file_type().is_file() && endings.iter().any(|ending| entry.path().to_string_lossy().ends_with(ending))
        });
    files
        .map(|entry| Source {
            path: entry.path().strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/"),
            text: std::fs::read_to_string(entry.path()).unwrap_or_else(|error| panic!("{}: {error}", entry.path().display())),
        })
        .collect()
}
