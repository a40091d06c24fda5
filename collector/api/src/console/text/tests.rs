//! The tables against each other, against the templates, and against the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

fn files(folder: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push((path.clone(), std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(!files.is_empty());
    files
}

fn templates() -> Vec<(PathBuf, String)> {
    files("../../dashboards/console/templates", "html")
}

/// Places of a text: `{n}`.
fn places(text: &str) -> BTreeSet<String> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn both_languages_have_the_same_keys_and_places() {
    let (en, fr) = (Lang::En.table(), Lang::Fr.table());
    assert!(en.len() > 100, "the English table cannot be read");
    let keys = |table: &Table| table.keys().cloned().collect::<BTreeSet<_>>();
    let apart: Vec<_> = keys(en).symmetric_difference(&keys(fr)).cloned().collect();
    assert!(apart.is_empty(), "only one language has {apart:?}");
    for (key, text) in en {
        assert!(!text.is_empty() && !fr[key].is_empty(), "{key} is empty");
        assert_eq!(places(text), places(&fr[key]), "{key}");
    }
}

#[test]
fn every_key_that_a_template_names_stands_in_the_tables() {
    for (path, text) in templates() {
        for rest in text.split("f.t(\"").skip(1) {
            let key = rest.split('"').next().unwrap();
            assert!(Lang::En.table().contains_key(key), "{}: no text {key}", path.display());
        }
    }
}

#[test]
fn no_text_of_the_tables_is_unused() {
    let mut code = String::new();
    for (path, text) in templates().into_iter().chain(files("src/console", "rs")) {
        if !path.ends_with("tests.rs") {
            code.push_str(&text);
        }
    }
    // Keys that are put together: `state_` + a state, `level_` + a level, a plural, a code of a refusal.
    let built = ["state_", "level_", "trouble_"];
    for key in Lang::En.table().keys() {
        let stem = key.strip_suffix("_one").or_else(|| key.strip_suffix("_many")).unwrap_or(key);
        let used = code.contains(&format!("\"{key}\"")) || code.contains(&format!("\"{stem}\""));
        assert!(used || built.iter().any(|prefix| key.starts_with(prefix)), "{key} is used nowhere");
    }
}

/// What a visitor reads: a template without its expressions, comments, elements, but with the attributes that are read.
fn words(template: &str) -> String {
    let mut text = template.to_owned();
    for (open, close) in [("{#", "#}"), ("{%", "%}"), ("{{", "}}"), ("<!", ">")] {
        while let Some(start) = text.find(open) {
            let end = text[start..].find(close).map_or(text.len(), |end| start + end + close.len());
            text.replace_range(start..end, "");
        }
    }
    let mut read = String::new();
    for part in text.split('<') {
        let (element, after) = part.split_once('>').unwrap_or(("", part));
        for attribute in ["alt=\"", "aria-label=\"", "title=\"", "placeholder=\"", "content=\""] {
            let technical = element.starts_with("meta");
            if let Some((_, value)) = element.split_once(attribute).filter(|_| !technical) {
                read.push_str(value.split('"').next().unwrap_or_default());
            }
        }
        read.push_str(after);
    }
    read
}

#[test]
fn no_template_holds_a_word() {
    assert!(words("<p title=\"x\">{{ f.t(\"y\") }} z</p>").contains('z'));
    for (path, text) in templates() {
        let words = words(&text);
        let found: String = words.chars().filter(|c| c.is_alphabetic()).collect();
        assert!(found.is_empty(), "{}: {found:?} belongs into the tables", path.display());
    }
}

#[test]
fn no_template_turns_the_escaper_off_or_holds_script_or_style() {
    for (path, text) in templates() {
        for forbidden in ["|safe", "| safe", "escape none", "<script", "<style", " style=", " onclick", " onload", "javascript:"]
        {
            assert!(!text.to_ascii_lowercase().contains(forbidden), "{} holds {forbidden}", path.display());
        }
    }
}

#[test]
fn places_are_filled_and_kept_apart() {
    let pieces = Lang::En.pieces("trouble_unknown_hint", &[]);
    assert_eq!(pieces.len(), 1);
    let text = Lang::En.counted("alerts_count", 1234);
    assert!(text.contains("1,234"), "{text}");
    let pieces = Lang::Fr.pieces("alerts_count_many", &[("n", "<b>{n}")]);
    assert!(pieces.iter().any(|piece| piece.quoted && piece.text == "<b>{n}"), "{pieces:?}");
}

#[test]
fn each_language_counts_and_writes_numbers_its_own_way() {
    assert_eq!((Lang::En.plural("k", 0), Lang::Fr.plural("k", 0)), ("k_many".into(), "k_one".into()));
    assert_eq!(Lang::En.number(1_234_567), "1,234,567");
    assert_eq!(Lang::Fr.number(1_234_567), "1\u{202f}234\u{202f}567");
    assert_eq!(Lang::En.number(999), "999");
    assert_eq!((Lang::En.bytes(1536), Lang::Fr.bytes(1536)), ("1.5\u{a0}KiB".into(), "1,5\u{a0}Kio".into()));
    assert_eq!(Lang::En.bytes(u64::MAX), "16777216\u{a0}TiB");
}

#[test]
fn the_browser_says_which_language() {
    for (header, lang) in [
        ("fr-FR,fr;q=0.9,en;q=0.8", Lang::Fr),
        ("en,fr", Lang::En),
        ("de, fr;q=0.3", Lang::Fr),
        ("de", Lang::En),
        ("", Lang::En),
        ("en;q=0.1, fr;q=0.2", Lang::Fr),
        ("fr;q=nonsense", Lang::En),
    ] {
        assert_eq!(Lang::preferred(header), lang, "{header}");
    }
}
