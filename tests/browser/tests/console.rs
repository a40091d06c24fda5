//! The console as people use it: with a keyboard, without JavaScript, in two languages, light and dark; and what must not
//! happen there.

use anyhow::{Result, ensure};
use beffroi_browser_tests::{Browser, Driver, Looks, MATCHED, Stage, axe, browser_or_skip};

/// One stage for all: an engine of its own for each promise would take minutes.
#[test]
fn the_console_holds_its_promises_in_a_real_browser() -> Result<()> {
    if !browser_or_skip()? {
        return Ok(());
    }
    let stage = Stage::set()?;
    let driver = Driver::start()?;
    whoever_is_not_signed_in_sees_the_sign_in_page(&stage, &driver)?;
    an_alert_is_reached_and_left_by_keyboard_alone(&stage, &driver)?;
    everything_works_without_javascript(&stage, &driver)?;
    a_scan_shows_who_answered_what_was_found_and_what_is_not_known(&stage, &driver)?;
    hostile_text_is_shown_and_does_nothing(&stage, &driver)?;
    another_tenants_alert_is_an_unknown_one(&stage, &driver)?;
    nobody_signs_out_by_a_form_from_elsewhere(&stage, &driver)?;
    a_revoked_token_ends_its_session(&stage, &driver)?;
    let mut judged = 0;
    for (language, dark) in [("en", false), ("fr", false), ("en", true), ("fr", true)] {
        judged += every_page_loads_and_can_be_used_by_everybody(&stage, &driver, language, dark)?;
    }
    println!("axe-core: {judged} pages (two languages, light and dark), 0 serious or critical findings, 0 policy violations");
    Ok(())
}

fn signed_in(stage: &Stage, driver: &Driver, looks: Looks) -> Result<Browser> {
    let browser = driver.browser(looks)?;
    browser.sign_in(&stage.base(), &stage.admin()?.token)?;
    Ok(browser)
}

fn whoever_is_not_signed_in_sees_the_sign_in_page(stage: &Stage, driver: &Driver) -> Result<()> {
    let browser = driver.browser(Looks::default())?;
    for page in stage.pages()?.iter().filter(|page| !page.ends_with("/nowhere")) {
        browser.open_page(&format!("{}{page}", stage.base()))?;
        ensure!(browser.url()?.contains("/login") && browser.count("#token")? == 1, "{page} shows {}", browser.url()?);
    }
    Ok(())
}

fn an_alert_is_reached_and_left_by_keyboard_alone(stage: &Stage, driver: &Driver) -> Result<()> {
    let browser = driver.browser(Looks::default())?;
    browser.open_page(&stage.base())?;
    browser.tab_to("#token")?;
    browser.press(&stage.admin()?.token)?;
    browser.enter_and_wait(|url| url.ends_with("/alerts"))?;
    browser.press("\u{e004}")?;
    ensure!(browser.run("return document.activeElement.className")? == "skip", "the first stop is not the way to the content");
    browser.tab_to(&format!("tbody th a[href^='/alerts/{}']", stage.alert("sante")?))?;
    let outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")?;
    ensure!(outline == "solid", "the focus is not visible: {outline}");
    browser.enter_and_wait(|url| url.contains("/alerts/"))?;
    ensure!(browser.count("h1")? == 1 && browser.count(".tree li")? > 0, "no alert at {}", browser.url()?);
    browser.tab_to(".back a")?;
    browser.enter_and_wait(|url| url.ends_with("/alerts"))
}

fn everything_works_without_javascript(stage: &Stage, driver: &Driver) -> Result<()> {
    let browser = signed_in(stage, driver, Looks { script: false, ..Looks::default() })?;
    for page in stage.pages()? {
        browser.open_page(&format!("{}{page}", stage.base()))?;
        ensure!(!browser.text("main h1")?.is_empty() && browser.count("script")? == 0, "{page} needs a script");
    }
    browser.open_page(&format!("{}/alerts/{}", stage.base(), stage.alert("sante")?))?;
    let text = browser.text("main")?;
    for held in ["app-07", "Process tree", "Known false positives", "Events around", "Evidence", "SHA-256"] {
        ensure!(text.contains(held), "an alert does not show {held:?}");
    }
    browser.open_page(&format!("{}/alerts?tenant=finances", stage.base()))?;
    let rows = browser.text("tbody")?;
    ensure!(rows.contains("poste-214") && !rows.contains("app-07"), "the filter of the URL does not hold: {rows}");
    browser.open_page(&format!("{}/scans", stage.base()))?;
    ensure!(browser.text("tbody")?.contains("Log4Shell, vulnerable jars"), "the scan is not listed");
    Ok(())
}

fn a_scan_shows_who_answered_what_was_found_and_what_is_not_known(stage: &Stage, driver: &Driver) -> Result<()> {
    let browser = signed_in(stage, driver, Looks::default())?;
    browser.open_page(&format!("{}{}", stage.base(), stage.scan_page()?))?;
    let text = browser.text("main")?;
    for held in ["poste-214", "4,821", "log4shell_marker", MATCHED, "encrypted", "⟨U+202E⟩piz.exe"] {
        ensure!(text.contains(held), "the scan does not show {held:?}: {text}");
    }
    Ok(())
}

fn hostile_text_is_shown_and_does_nothing(stage: &Stage, driver: &Driver) -> Result<()> {
    let browser = signed_in(stage, driver, Looks::default())?;
    let alert = format!("/alerts/{}", stage.alert("interieur")?);
    for page in ["/alerts?tenant=interieur".to_owned(), alert.clone(), format!("{alert}/around")] {
        browser.open_page(&format!("{}{page}", stage.base()))?;
        let text = browser.text("main")?;
        ensure!(text.contains("<script>alert(1)</script>") && text.contains("⟨U+202E⟩fdp.exe"), "{page}: {text}");
        ensure!(browser.count("main script, main img")? == 0, "{page} holds markup of a host");
    }
    Ok(())
}

fn another_tenants_alert_is_an_unknown_one(stage: &Stage, driver: &Driver) -> Result<()> {
    let browser = driver.browser(Looks::default())?;
    browser.sign_in(&stage.base(), &stage.analyst("finances")?.token)?;
    let shown = |id: &str| -> Result<String> {
        browser.open_page(&format!("{}/alerts/{id}", stage.base()))?;
        browser.text("main")
    };
    let foreign = shown(&stage.alert("sante")?)?;
    ensure!(foreign == shown("ffffffffffffffffffffffffffffffff")?, "another tenant's alert is told apart: {foreign}");
    ensure!(foreign.contains("There is nothing here"), "{foreign}");
    browser.open_page(&format!("{}/alerts?tenant=sante", stage.base()))?;
    ensure!(browser.count("tbody tr")? == 0, "another tenant's alerts are listed");
    browser.open_page(&format!("{}/hosts", stage.base()))?;
    let hosts = browser.text("tbody")?;
    ensure!(hosts.contains("poste-214") && !hosts.contains("app-07") && !hosts.contains("pc-hostile"), "{hosts}");
    Ok(())
}

fn nobody_signs_out_by_a_form_from_elsewhere(stage: &Stage, driver: &Driver) -> Result<()> {
    let browser = signed_in(stage, driver, Looks::default())?;
    browser.run("document.querySelector('form[action=\"/logout\"] input').value = '0'.repeat(64)")?;
    browser.tab_to("form[action='/logout'] button")?;
    browser.enter_and_wait(|url| url.ends_with("/logout"))?;
    ensure!(browser.text("h1")?.contains("not accepted"), "{}", browser.text("main")?);
    browser.open_page(&format!("{}/alerts", stage.base()))?;
    ensure!(browser.url()?.ends_with("/alerts"), "a forged form ended the session");
    browser.tab_to("form[action='/logout'] button")?;
    browser.enter_and_wait(|url| url.contains("/login"))?;
    browser.open_page(&format!("{}/alerts", stage.base()))?;
    ensure!(browser.url()?.contains("/login"), "signing out did not end the session");
    Ok(())
}

fn a_revoked_token_ends_its_session(stage: &Stage, driver: &Driver) -> Result<()> {
    let browser = driver.browser(Looks::default())?;
    let person = stage.analyst("sante")?;
    browser.sign_in(&stage.base(), &person.token)?;
    stage.revoke(&person)?;
    browser.open_page(&format!("{}/alerts", stage.base()))?;
    ensure!(browser.text("main")?.contains("This token was revoked"), "{}: {}", browser.url()?, browser.text("main")?);
    ensure!(browser.count("#token")? == 1 && browser.count("table")? == 0, "a revoked token still shows alerts");
    Ok(())
}

fn every_page_loads_and_can_be_used_by_everybody(
    stage: &Stage,
    driver: &Driver,
    language: &'static str,
    dark: bool,
) -> Result<usize> {
    let looks = Looks { language, dark, ..Looks::default() };
    let browser = driver.browser(looks)?;
    browser.open_page(&format!("{}/login", stage.base()))?;
    judge(&browser, language, "/login")?;
    browser.sign_in(&stage.base(), &stage.admin()?.token)?;
    let pages = stage.pages()?;
    for page in &pages {
        browser.open_page(&format!("{}{page}", stage.base()))?;
        judge(&browser, language, page)?;
    }
    let ground = browser.run("return getComputedStyle(document.body).backgroundColor")?;
    let darkness = ground.as_str().is_some_and(|colour| colour.starts_with("rgb(17,"));
    ensure!(darkness == dark, "the page does not follow the colour scheme: {ground}");
    Ok(pages.len() + 1)
}

fn judge(browser: &Browser, language: &str, page: &str) -> Result<()> {
    ensure!(browser.title()?.ends_with("Beffroi") && browser.count("main h1")? == 1, "{page} has no title or no heading");
    ensure!(browser.attribute("html", "lang")? == language, "{page} is not in {language}");
    let grave = axe::grave_findings(browser)?;
    ensure!(grave.is_empty(), "{page} in {language}: {grave:#?}");
    let violations: Vec<String> = browser
        .complaints()?
        .into_iter()
        .filter(|line| line.contains("Content Security Policy") || line.contains("Refused to"))
        .collect();
    ensure!(violations.is_empty(), "{page}: {violations:#?}");
    Ok(())
}
