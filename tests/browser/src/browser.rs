//! One browser session.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use beffroi_e2e::{Scratch, wait_for};
use serde_json::{Value, json};

use crate::wire::call;

/// Until a page that a key or a click leads to has come.
const PAGE_LIMIT: Duration = Duration::from_secs(60);
/// Steps of the tabulator key until something must have had the focus.
const MAX_TABS: usize = 120;
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// What a visitor's browser is set to.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    /// Prefers dark pages.
    pub dark: bool,
    /// Runs JavaScript. Off, only what WebDriver's own commands can ask for works.
    pub script: bool,
    /// Preferred language.
    pub language: &'static str,
    /// Width and height of the window.
    pub window: (u32, u32),
}

impl Default for Looks {
    fn default() -> Self {
        Self { dark: false, script: true, language: "en", window: (1400, 1000) }
    }
}

/// A browser; closed when it is dropped.
#[derive(Debug)]
pub struct Browser {
    driver: String,
    session: String,
}

impl Browser {
    pub(crate) fn open(driver: &str, scratch: &Scratch, looks: Looks) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let profile = scratch.path(format!("profile-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let (width, height) = looks.window;
        let arguments = [
            "--headless=new".to_owned(),
            // Chromium's own sandbox needs rights that a container's root does not have.
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--hide-scrollbars".into(),
            format!("--window-size={width},{height}"),
            format!("--blink-settings=preferredColorScheme={}", u8::from(!looks.dark)),
            format!("--user-data-dir={}", profile.display()),
        ];
        let script = if looks.script { 1 } else { 2 };
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": {
                    "intl.accept_languages": looks.language,
                    "profile.managed_default_content_settings.javascript": script,
                },
            },
        } } });
        let (status, answer) = call(driver, "POST", "/session", Some(&capabilities))?;
        let session = answer["value"]["sessionId"].as_str();
        let session = session.with_context(|| format!("no browser ({status}): {}", answer["value"]["message"]))?;
        Ok(Self { driver: driver.to_owned(), session: session.to_owned() })
    }

    fn command(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, mut answer) = call(&self.driver, method, &format!("/session/{}{path}", self.session), body)?;
        ensure!(status == 200, "{path}: {} {}", answer["value"]["error"], answer["value"]["message"]);
        Ok(answer["value"].take())
    }

    /// Loads a page and waits for it.
    ///
    /// # Errors
    /// What the driver says.
    pub fn open_page(&self, url: &str) -> Result<()> {
        self.command("POST", "/url", Some(&json!({ "url": url }))).map(drop)
    }

    /// Where the browser is.
    ///
    /// # Errors
    /// What the driver says.
    pub fn url(&self) -> Result<String> {
        Ok(self.command("GET", "/url", None)?.as_str().unwrap_or_default().to_owned())
    }

    /// Title of the page.
    ///
    /// # Errors
    /// What the driver says.
    pub fn title(&self) -> Result<String> {
        Ok(self.command("GET", "/title", None)?.as_str().unwrap_or_default().to_owned())
    }

    /// The page as it stands.
    ///
    /// # Errors
    /// What the driver says.
    pub fn source(&self) -> Result<String> {
        Ok(self.command("GET", "/source", None)?.as_str().unwrap_or_default().to_owned())
    }

    /// Text that a visitor sees in an element.
    ///
    /// # Errors
    /// There is none, or what the driver says.
    pub fn text(&self, css: &str) -> Result<String> {
        let element = self.find(css)?;
        Ok(self.command("GET", &format!("/element/{element}/text"), None)?.as_str().unwrap_or_default().to_owned())
    }

    /// An attribute of an element; empty where it has none.
    ///
    /// # Errors
    /// There is no such element, or what the driver says.
    pub fn attribute(&self, css: &str, name: &str) -> Result<String> {
        let element = self.find(css)?;
        Ok(self.command("GET", &format!("/element/{element}/attribute/{name}"), None)?.as_str().unwrap_or_default().to_owned())
    }

    /// How many elements there are.
    ///
    /// # Errors
    /// What the driver says.
    pub fn count(&self, css: &str) -> Result<usize> {
        let found = self.command("POST", "/elements", Some(&json!({ "using": "css selector", "value": css })))?;
        Ok(found.as_array().map_or(0, Vec::len))
    }

    fn find(&self, css: &str) -> Result<String> {
        let found = self.command("POST", "/element", Some(&json!({ "using": "css selector", "value": css })));
        let found = found.with_context(|| format!("no element {css} at {}", self.url().unwrap_or_default()))?;
        let id = found.as_object().and_then(|object| object.values().next()).and_then(Value::as_str);
        Ok(id.context("an element without an id")?.to_owned())
    }

    /// Runs a script in the page. It comes from outside of the page, whose policy does not concern it.
    ///
    /// # Errors
    /// What the driver says.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.command("POST", "/execute/sync", Some(&json!({ "script": script, "args": [] })))
    }

    /// As [`Browser::run`], for a script that answers by its last argument.
    ///
    /// # Errors
    /// What the driver says.
    pub fn run_async(&self, script: &str) -> Result<Value> {
        self.command("POST", "/timeouts", Some(&json!({ "script": 100_000 })))?;
        self.command("POST", "/execute/async", Some(&json!({ "script": script, "args": [] })))
    }

    /// Types keys wherever the focus is.
    ///
    /// # Errors
    /// What the driver says.
    pub fn press(&self, keys: &str) -> Result<()> {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })])
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.command("POST", "/actions", Some(&actions)).map(drop)
    }

    /// Goes on with the tabulator key until an element that fits has the focus.
    ///
    /// # Errors
    /// None had it: it cannot be reached by keyboard.
    pub fn tab_to(&self, css: &str) -> Result<()> {
        let script = format!("return document.activeElement.matches({})", Value::from(css));
        for _ in 0..MAX_TABS {
            self.press(TAB)?;
            if self.run(&script)? == true {
                return Ok(());
            }
        }
        anyhow::bail!("{css} cannot be reached with {MAX_TABS} steps of the tabulator key at {}", self.url()?)
    }

    /// Presses Enter and waits until the browser is somewhere that `there` knows.
    ///
    /// # Errors
    /// It does not get there.
    pub fn enter_and_wait(&self, there: impl Fn(&str) -> bool) -> Result<()> {
        self.press(ENTER)?;
        wait_for("the next page", PAGE_LIMIT, || Ok(there(&self.url()?) && self.run("return document.readyState")? == "complete"))
            .with_context(|| self.url().unwrap_or_default())
    }

    /// Signs in at this console with a token.
    ///
    /// # Errors
    /// The form does not lead on.
    pub fn sign_in(&self, base: &str, token: &str) -> Result<()> {
        self.open_page(&format!("{base}/login"))?;
        let field = self.find("#token")?;
        self.command("POST", &format!("/element/{field}/value"), Some(&json!({ "text": token })))?;
        let button = self.find("main button[type=submit]")?;
        self.command("POST", &format!("/element/{button}/click"), Some(&json!({})))?;
        wait_for("the page after the sign-in", PAGE_LIMIT, || Ok(self.url()?.ends_with("/alerts")))
            .with_context(|| self.text("main").unwrap_or_default())
    }

    /// What the browser complained about since this was last asked, policy violations among it.
    ///
    /// # Errors
    /// What the driver says.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let log = self.command("POST", "/se/log", Some(&json!({ "type": "browser" })))?;
        let lines = log.as_array().into_iter().flatten().filter_map(|entry| entry["message"].as_str());
        Ok(lines.map(str::to_owned).collect())
    }

    /// A picture of the window (PNG).
    ///
    /// # Errors
    /// What the driver says.
    pub fn picture(&self) -> Result<Vec<u8>> {
        let text = self.command("GET", "/screenshot", None)?;
        let text = text.as_str().context("no picture")?;
        base64::engine::general_purpose::STANDARD.decode(text).context("a picture that is none")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browsers when it ends itself.
        let _ = self.command("DELETE", "", None);
    }
}
