//! Resident memory of all rules in force, each side in a process of its own: what the kernel says after the rules were read
//! from their files, compiled, and everything else was let go, less what it said before.

use std::ffi::c_int;
use std::path::Path;
use std::process::Command;

use beffroi_engine::{RuleSet, compile};

use crate::Failure;
use crate::figure::{Target, print};
use crate::theirs::{Theirs, parse};

unsafe extern "C" {
    /// Gives pages that hold nothing any more back to the kernel; part of glibc.
    fn malloc_trim(pad: usize) -> c_int;
}

/// One side with the rules below `rules`; prints bytes that stay resident, before and after free pages are given back.
///
/// # Errors
/// When the rules cannot be read or the kernel does not say.
pub fn child(rules: &Path, side: &str) -> Result<(), Failure> {
    let before = resident()?;
    let in_force: Box<dyn std::any::Any> = match side {
        // As the detector loads them: with titles, authors and references for alerts.
        "ours" => {
            let (set, _) = RuleSet::load(&[rules]);
            Box::new(compile(&set)?)
        }
        _ => Box::new(Theirs::compile(&parse(&texts(rules)?))),
    };
    let loaded = resident()?;
    // SAFETY: it has no contract but its argument, which may be anything.
    unsafe { malloc_trim(0) };
    println!("{} {}", loaded.saturating_sub(before), resident()?.saturating_sub(before));
    drop(in_force);
    Ok(())
}

/// Asks both sides and prints.
///
/// # Errors
/// When a child fails.
pub fn measure(folder: &Path) -> Result<(), Failure> {
    let rules = tempfile::tempdir()?;
    for (number, (_, text)) in crate::texts(folder).into_iter().enumerate() {
        std::fs::write(rules.path().join(format!("{number}.yml")), text)?;
    }
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let (loaded, ours) = ask("ours", rules.path())?;
    let (_, theirs) = ask("rsigma", rules.path())?;
    print("sigma.resident.ours", mib(ours), "MiB", Target::AtMost(40.0));
    print("sigma.resident.ours_with_free_pages", mib(loaded), "MiB", Target::None);
    print("sigma.resident.rsigma", mib(theirs), "MiB", Target::None);
    print("sigma.resident.ratio", ours / theirs, "of_rsigma", Target::AtMost(1.0 / 3.0));
    Ok(())
}

fn ask(side: &str, rules: &Path) -> Result<(f64, f64), Failure> {
    let output = Command::new(std::env::current_exe()?).args(["resident", side]).arg(rules).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [loaded, kept] if output.status.success() => Ok((*loaded, *kept)),
        _ => Err(format!("{side} said no memory: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn texts(rules: &Path) -> Result<Vec<(std::path::PathBuf, String)>, Failure> {
    let files = std::fs::read_dir(rules)?.map(|entry| {
        let path = entry?.path();
        Ok((path.clone(), std::fs::read_to_string(path)?))
    });
    files.collect()
}

/// Bytes that this process has written and that are in memory. Pages of the program itself are left out: they are nobody's
/// rules, and come into memory when they are run for the first time.
fn resident() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix("kB"));
    Ok(kib.ok_or("the kernel says no RssAnon")?.trim().parse::<u64>()? * 1024)
}
