//! Pictures of the console for the README: `cargo run -p beffroi-browser-tests --bin screenshots -- OUTDIR`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use beffroi_browser_tests::{Driver, Looks, Stage, browser_or_skip};

/// Largest picture: they stand in the source tree.
const MAX_BYTES: usize = 150 * 1024;
/// Width and height of a picture.
const WINDOW: (u32, u32) = (1280, 800);

/// The page of a critical alert.
fn gravest(stage: &Stage, driver: &Driver) -> Result<String> {
    let browser = driver.browser(Looks::default())?;
    browser.sign_in(&stage.base(), &stage.admin()?.token)?;
    browser.open_page(&format!("{}/alerts?level=critical", stage.base()))?;
    let href = browser.attribute("tbody th a", "href")?;
    let id = href.rsplit('/').next().context("no critical alert")?;
    Ok(format!("/alerts/{id}"))
}

fn main() -> Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).context("usage: screenshots OUTDIR")?.into();
    ensure!(browser_or_skip()?, "no browser: see above");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let stage = Stage::set()?;
    let driver = Driver::start()?;
    let alert = gravest(&stage, &driver)?;
    let scan = stage.pages()?.into_iter().find(|page| page.starts_with("/scans/")).context("no scan")?;
    let pictures = [
        ("alerts", "/alerts", "en", false),
        ("alert", alert.as_str(), "en", false),
        ("alert-dark-fr", alert.as_str(), "fr", true),
        ("scan", scan.as_str(), "en", false),
    ];
    for (name, page, language, dark) in pictures {
        let browser = driver.browser(Looks { dark, language, window: WINDOW, ..Looks::default() })?;
        browser.sign_in(&stage.base(), &stage.admin()?.token)?;
        browser.open_page(&format!("{}{page}", stage.base()))?;
        let picture = browser.picture()?;
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, &picture).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} {} KiB", path.display(), picture.len() / 1024);
        ensure!(picture.len() <= MAX_BYTES, "{} is larger than {} KiB", path.display(), MAX_BYTES / 1024);
    }
    Ok(())
}
