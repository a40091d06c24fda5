//! The walls of the house: who may know whom, and what a source file looks like. ARCHITECTURE.md gives the reasons.

use std::collections::BTreeMap;

use beffroi_tidy::{Member, members, root, sources};

/// Product code of one file. Longer files are split by what they own.
const MAX_LINES: usize = 500;

fn users_of<'a>(members: &'a BTreeMap<String, Member>, dependency: &str) -> Vec<&'a str> {
    members.values().filter(|member| member.dependencies.contains(dependency)).map(|member| member.name.as_str()).collect()
}

#[test]
fn heavy_dependencies_have_one_owner() {
    let members = members();
    for (dependency, owner) in [
        ("rdkafka", "beffroi-bus"),
        ("clickhouse", "beffroi-store"),
        ("yara-x", "beffroi-scanner"),
        ("libbpf-rs", "beffroi-sensor"),
        ("rsigma-parser", "beffroi-engine"),
        ("libloading", "beffroi-clickhouse-embedded"),
    ] {
        assert_eq!(users_of(&members, dependency), [owner], "{dependency} belongs to {owner} alone");
    }
    let evaluators = users_of(&members, "rsigma-eval");
    assert!(
        evaluators.iter().all(|name| *name == "beffroi-engine"),
        "rsigma-eval belongs to beffroi-engine alone: {evaluators:?}"
    );
}

#[test]
fn the_agent_never_imports_the_collector() {
    let members = members();
    let collector: Vec<&str> = members.values().filter(|m| m.folder.starts_with("collector/")).map(|m| m.name.as_str()).collect();
    for member in members.values().filter(|member| member.folder.starts_with("agent/") || member.folder.starts_with("rules/")) {
        for name in &collector {
            assert!(!member.dependencies.contains(*name), "{} must not depend on {name}", member.name);
        }
    }
}

#[test]
fn the_contract_and_the_engine_are_pure() {
    let members = members();
    let pure = [
        "beffroi-schema",
        "beffroi-log",
        "beffroi-engine",
        "beffroi-scanner",
        "beffroi-simd",
        "beffroi-sources",
        "beffroi-sensor",
        "beffroi-scan",
    ];
    for name in pure {
        for forbidden in ["tokio", "reqwest", "axum", "hyper"] {
            assert!(!members[name].dependencies.contains(forbidden), "{name} must not depend on {forbidden}");
        }
    }
}

#[test]
fn arrows_between_crates_point_the_way_of_the_event() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("beffroi-schema", &[][..]),
        ("beffroi-log", &[]),
        ("beffroi-sensor", &["beffroi-schema"]),
        ("beffroi-scanner", &["beffroi-schema"]),
        ("beffroi-simd", &[]),
        ("beffroi-engine", &["beffroi-schema", "beffroi-simd"]),
        ("beffroi-sources", &["beffroi-schema", "beffroi-engine"]),
        ("beffroi-scan", &["beffroi-schema", "beffroi-scanner"]),
        ("beffroi-agent", &["beffroi-schema", "beffroi-log", "beffroi-sensor", "beffroi-scan", "beffroi-scanner"]),
        ("beffroi-bus", &["beffroi-schema", "beffroi-log"]),
        ("beffroi-gateway", &["beffroi-schema", "beffroi-bus"]),
        ("beffroi-detect", &["beffroi-schema", "beffroi-bus", "beffroi-engine"]),
        ("beffroi-store", &["beffroi-schema", "beffroi-bus"]),
        ("beffroi-clickhouse-embedded", &[]),
        ("beffroi-api", &["beffroi-schema", "beffroi-bus", "beffroi-store"]),
        ("beffroi-cli", &["beffroi-schema", "beffroi-engine", "beffroi-scanner", "beffroi-sources", "beffroi-bus"]),
    ]);
    for (name, member) in members() {
        let Some(allowed) = allowed.get(name.as_str()) else { continue };
        let ours = member.dependencies.iter().filter(|dependency| dependency.starts_with("beffroi-"));
        for dependency in ours {
            assert!(allowed.contains(&dependency.as_str()), "{name} -> {dependency} is no arrow of ARCHITECTURE.md");
        }
    }
}

#[test]
fn no_crate_is_empty() {
    for (name, member) in members() {
        let folder = root().join(&member.folder).join("src");
        let lines: usize = walkdir::WalkDir::new(&folder)
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))
            .map(|entry| std::fs::read_to_string(entry.path()).map_or(0, |text| text.lines().count()))
            .sum();
        assert!(lines > 20, "{name} has {lines} lines");
    }
}

#[test]
fn every_rust_file_says_first_what_it_is_for() {
    let silent: Vec<String> = sources(&[".rs"])
        .into_iter()
        .filter(|source| !source.text.lines().take(5).any(|line| line.starts_with("//!")))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "files that do not open with //!: {silent:#?}");
}

#[test]
fn files_stay_short_enough_to_read() {
    let long: Vec<String> = sources(&[".rs", ".c", ".h", ".sh"])
        .into_iter()
        .filter(|source| source.text.lines().count() > MAX_LINES)
        .map(|source| format!("{} has {} lines", source.path, source.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "split by what they own: {long:#?}");
}

#[test]
fn nothing_unfinished_is_left_in_the_code() {
    // Spelled in two parts so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("simplified for", " now"),
    ];
    let mut found = Vec::new();
    for source in sources(&[".rs", ".c", ".h", ".sh", ".toml", ".yml"]) {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn product_code_does_not_unwrap() {
    let mut found = Vec::new();
    for source in sources(&[".rs"]).iter().filter(|source| !source.is_test() && !source.path.contains("/examples/")) {
        let code = source.product_code();
        for (number, line) in code.lines().enumerate() {
            if line.contains(".unwrap()") && !line.trim_start().starts_with("//") {
                found.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    assert!(found.is_empty(), "errors are part of the product: {found:#?}");
}

#[test]
fn unsafe_code_lives_in_the_corners_that_need_it() {
    const CORNERS: [&str; 7] = [
        "agent/sensor/",
        "agent/scan/",
        "agent/daemon/",
        "agent/log/",
        "collector/clickhouse-embedded/",
        "packaging/xtask/",
        "rules/simd/",
    ];
    for source in sources(&[".rs"]) {
        let corner = CORNERS.iter().any(|corner| source.path.starts_with(corner)) || source.is_test();
        let uses = source
            .text
            .lines()
            .any(|line| line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl"));
        assert!(corner || !uses, "{} uses unsafe code outside of the corners", source.path);
    }
}
