//! What the console promises over HTTP, without a browser: headers, cookies, forms, audit.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use beffroi_browser_tests::{Answer, Stage, send};
use beffroi_e2e::{engine_or_skip, wait_for};

/// Until an audit record that stands on the bus can be asked for.
const AUDIT_LIMIT: Duration = Duration::from_secs(60);

/// One stage for all: an engine of its own for each promise would take minutes.
#[test]
fn the_console_holds_its_promises_over_http() -> Result<()> {
    if !engine_or_skip() {
        return Ok(());
    }
    let stage = Stage::set()?;
    every_answer_carries_strict_headers_and_cookies_are_locked(&stage)?;
    a_form_from_elsewhere_signs_nobody_in(&stage)?;
    a_link_from_elsewhere_finds_the_session_again(&stage)?;
    programs_get_the_apis_answers(&stage)?;
    what_was_looked_at_stands_in_the_audit(&stage)
}

/// A page is for whoever accepts HTML and shows no token; everybody else has the API before them.
fn programs_get_the_apis_answers(stage: &Stage) -> Result<()> {
    let program = send(stage.address(), "GET", "/nowhere", "Accept: application/json\r\n", "")?;
    ensure!(program.status == 401 && program.body.starts_with('{'), "{} {}", program.head, program.body);
    let token = format!("Accept: text/html\r\nAuthorization: Bearer {}\r\n", stage.admin()?.token);
    let known = send(stage.address(), "GET", "/nowhere", &token, "")?;
    ensure!(known.status == 404 && known.body.contains("no_route"), "{} {}", known.head, known.body);
    let api = send(stage.address(), "GET", "/v1/alerts", "Accept: text/html\r\n", "")?;
    ensure!(api.status == 401 && api.body.contains("unauthorized"), "{} {}", api.head, api.body);
    let session = send(stage.address(), "GET", "/v1/alerts", &format!("Cookie: {}\r\n", session_of(stage)?), "")?;
    ensure!(session.status == 401, "a session's cookie opens the API: {}", session.head);
    Ok(())
}

fn get(stage: &Stage, path: &str, headers: &str) -> Result<Answer> {
    send(stage.address(), "GET", path, &format!("Accept: text/html\r\n{headers}"), "")
}

fn every_answer_carries_strict_headers_and_cookies_are_locked(stage: &Stage) -> Result<()> {
    for path in ["/", "/login", "/alerts", "/nowhere", "/hosts/x"] {
        let answer = get(stage, path, "")?;
        let policy = answer.headers("content-security-policy").concat();
        ensure!(
            policy.starts_with("default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'"),
            "{path}: {policy}"
        );
        ensure!(policy.contains("frame-ancestors 'none'; base-uri 'none'") && !policy.contains("script"), "{path}: {policy}");
        for (name, value) in
            [("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("referrer-policy", "same-origin")]
        {
            ensure!(answer.headers(name) == [value], "{path}: {name} is {:?}", answer.headers(name));
        }
    }
    let login = get(stage, "/login", "Accept-Language: fr-FR,fr;q=0.9\r\n")?;
    ensure!(login.body.contains("<html lang=\"fr\">") && login.body.contains("Collez votre jeton"), "the browser prefers French");
    for cookie in login.headers("set-cookie") {
        ensure!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict") && cookie.contains("; Path=/"), "{cookie}");
    }
    let chosen = get(stage, "/login?next=%2Fhosts&lang=en", "Accept-Language: fr\r\n")?;
    ensure!(chosen.status == 303 && chosen.headers("location") == ["/login?next=%2Fhosts"], "{}", chosen.head);
    ensure!(chosen.headers("set-cookie").concat().starts_with("beffroi-lang=en;"), "{}", chosen.head);
    let elsewhere = get(stage, "//evil.example/alerts?lang=fr", "")?;
    ensure!(elsewhere.headers("location") == ["/"], "a language link leads elsewhere: {}", elsewhere.head);
    Ok(())
}

/// The sign-in form's own cookie and proof.
fn form_of(stage: &Stage) -> Result<(String, String)> {
    let login = get(stage, "/login", "")?;
    let cookie = login.headers("set-cookie").concat().split(';').next().unwrap_or_default().to_owned();
    let proof = login.body.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    Ok((cookie, proof.unwrap_or_default().to_owned()))
}

/// The cookie of a session of the admin's.
fn session_of(stage: &Stage) -> Result<String> {
    let (cookie, proof) = form_of(stage)?;
    let headers = format!("Content-Type: application/x-www-form-urlencoded\r\nCookie: {cookie}\r\n");
    let answer = send(stage.address(), "POST", "/login", &headers, &format!("csrf={proof}&token={}", stage.admin()?.token))?;
    let cookies = answer.headers("set-cookie");
    let session = cookies.into_iter().find_map(|cookie| cookie.split(';').next().filter(|pair| pair.starts_with("beffroi=")));
    Ok(session.context("no session")?.to_owned())
}

fn a_form_from_elsewhere_signs_nobody_in(stage: &Stage) -> Result<()> {
    let (cookie, proof) = form_of(stage)?;
    let token = stage.admin()?.token;
    let body = format!("csrf={proof}&token={token}");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let post = |headers: &str, body: &str| send(stage.address(), "POST", "/login", &format!("{form}{headers}"), body);
    let own = format!("Cookie: {cookie}\r\n");
    let none = "0".repeat(64);
    for (headers, body) in [
        (String::new(), body.clone()),
        (own.clone(), format!("token={token}")),
        (own.clone(), format!("csrf={none}&token={token}")),
        (format!("{own}Sec-Fetch-Site: cross-site\r\n"), body.clone()),
    ] {
        let answer = post(&headers, &body)?;
        ensure!(answer.status == 403 && !answer.head.contains("beffroi="), "{headers}: {}", answer.head);
    }
    let wrong = post(&format!("{own}X-Forwarded-User: admin\r\n"), &format!("csrf={proof}&token={none}"))?;
    ensure!(wrong.status == 401 && !wrong.body.contains(&none), "{}", wrong.head);
    ensure!(post(&own, &"x".repeat(9_000))?.status == 413, "a form of 9 KB is read");
    let right = post(&own, &body)?;
    ensure!(right.status == 303 && right.headers("location") == ["/alerts"], "{}", right.head);
    let session = right.headers("set-cookie").into_iter().find(|cookie| cookie.starts_with("beffroi=")).unwrap_or_default();
    ensure!(session.contains("; HttpOnly; SameSite=Strict; Max-Age=43200"), "{session}");
    ensure!(!right.head.contains(&token), "the token stands in the answer");
    Ok(())
}

fn a_link_from_elsewhere_finds_the_session_again(stage: &Stage) -> Result<()> {
    let answer = get(stage, "/alerts?level=high", "Sec-Fetch-Site: cross-site\r\n")?;
    ensure!(answer.status == 200 && answer.headers("refresh") == ["0;url=/alerts?level=high"], "{}", answer.head);
    let answer = get(stage, "/alerts?level=high", "Sec-Fetch-Site: same-origin\r\n")?;
    ensure!(answer.headers("location") == ["/login?next=%2Falerts%3Flevel%3Dhigh"], "{}", answer.head);
    Ok(())
}

fn what_was_looked_at_stands_in_the_audit(stage: &Stage) -> Result<()> {
    let session = session_of(stage)?;
    for page in stage.pages()? {
        let answer = get(stage, &page, &format!("Cookie: {session}\r\n"))?;
        ensure!(answer.body.contains("</html>") && answer.body.contains("Sign out"), "{page}: {}", answer.head);
    }
    for operation in ["whoami", "alerts.list", "alerts.show", "hosts.list", "scans.show"] {
        wait_for(&format!("{operation} in the audit"), AUDIT_LIMIT, || stage.is_audited(operation))?;
    }
    Ok(())
}
