//! axe-core: whether a page can be used by everybody, as far as a program can tell.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::browser::Browser;

/// Pinned in `packaging/setup/setup.sh`.
const VERSION: &str = "4.14.1";

/// Where `make setup-test` puts it.
pub fn file() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("BEFFROI_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("beffroi")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/beffroi")))?;
    Some(cache.join(format!("axe-core-{VERSION}/axe.min.js")))
}

/// The serious and critical findings on the page that the browser shows: rule, words, and the elements.
///
/// # Errors
/// axe-core cannot be read or run.
pub fn grave_findings(browser: &Browser) -> Result<Vec<String>> {
    let file = file().context("no cache folder")?;
    let source = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let script = format!(
        "{source};\nconst done = arguments[arguments.length - 1];\n\
         axe.run(document, {{ resultTypes: ['violations'] }}).then(r => done(r), e => done({{ failed: String(e) }}));"
    );
    let answer = browser.run_async(&script)?;
    let violations = answer["violations"].as_array().with_context(|| format!("axe-core gave no result: {}", answer["failed"]))?;
    let grave = violations.iter().filter(|it| matches!(it["impact"].as_str(), Some("serious" | "critical")));
    Ok(grave.map(finding).collect())
}

fn finding(violation: &Value) -> String {
    let nodes = violation["nodes"].as_array().into_iter().flatten();
    let elements: Vec<String> = nodes.map(|node| format!("{} ({})", node["target"], node["failureSummary"])).collect();
    format!("{}: {}: {}", violation["id"], violation["help"], elements.join("; "))
}
