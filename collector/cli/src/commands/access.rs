//! `beffroi token`, `whoami` and `audit`: who may use the API, and who did.

use serde_json::{Value, json};

use super::page::Page;
use crate::args::{Audit, Token};
use crate::client::{Client, rows, segment};
use crate::errors::{Failure, Outcome};
use crate::output::{Column, Form, Output, column, rest, say};
use crate::private_file::NewFile;
use crate::safe::terminal;
use crate::when;

const TOKENS: [Column; 10] = [
    column("TOKEN", "/token_id", 0),
    column("NAME", "/name", 24),
    column("SCOPE", "/scope", 0),
    column("TENANTS", "/tenants", 40),
    column("CREATED", "/created", 0),
    column("BY", "/by", 24),
    column("EXPIRES", "/expires", 0),
    column("EXPIRED", "/expired", 0),
    column("REVOKED", "/revoked", 0),
    column("LAST USED", "/last_used", 0),
];
const CALLS: [Column; 11] = [
    column("TIME", "/time", 0),
    column("BY", "/by", 24),
    column("FROM", "/remote", 0),
    column("DOOR", "/door", 0),
    column("WHAT", "/operation", 24),
    rest("ASKED", "/asked", 80),
    column("TENANT", "/tenant", 16),
    column("STATUS", "/status", 0),
    column("ROWS", "/rows", 0),
    column("MS", "/ms", 0),
    column("REASON", "/reason", 40),
];
const SELF: [(&str, &str); 5] =
    [("Name", "/name"), ("Token", "/token_id"), ("Scope", "/scope"), ("Tenants", "/tenants"), ("Expires", "/expires")];

/// `token`.
pub async fn token(client: &Client, output: &Output, verb: &Token) -> Outcome {
    match verb {
        Token::Create { .. } => create(client, output, verb).await,
        Token::List => {
            let tokens = rows(&client.get("/v1/tokens", &[]).await?, "tokens");
            output.rows(&TOKENS, &tokens)?;
            if tokens.is_empty() {
                say("nobody has a personal token yet; `beffroi token create` makes one");
            }
            Ok(())
        }
        Token::Revoke { token_id } => {
            let answer = client.delete(&format!("/v1/tokens/{}", segment(token_id))).await?;
            output.page(&answer, |_| format!("token {} can no longer be used", terminal(token_id)))
        }
    }
}

/// The text goes to stdout or into the file, once; everything else to stderr.
async fn create(client: &Client, output: &Output, verb: &Token) -> Outcome {
    let Token::Create { name, scope, tenant, expires, out } = verb else { return Ok(()) };
    let body = json!({"name": name, "scope": scope, "tenants": tenant, "expires_seconds": when::seconds(expires)?});
    // The file first: a token that cannot be written would be lost, and usable all the same.
    let file = out.as_deref().map(NewFile::private).transpose()?;
    let answer = client.post("/v1/tokens", &body).await?;
    let text = answer["token"].as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    let text = text.ok_or_else(|| Failure::server("the answer holds no token", "is the collector of the same version?"))?;
    let id = terminal(answer["token_id"].as_str().unwrap_or("?"));
    match (file, out) {
        (Some(file), Some(path)) => {
            file.write(text, &format!("the token cannot be shown again: beffroi token revoke {id}"))?;
            say(&format!("written to {}, for {name} alone; token_file in their configuration names it", path.display()));
        }
        _ => output.print(text)?,
    }
    say(&format!("token {id} of {name}: {scope}, {}, good for {expires}; it is not shown again", tenants(tenant)));
    Ok(())
}

fn tenants(names: &[String]) -> String {
    if names.iter().any(|name| name == "*") { "every tenant".into() } else { format!("tenant {}", names.join(", ")) }
}

/// `whoami`.
pub async fn whoami(client: &Client, output: &Output) -> Outcome {
    let me = client.get("/v1/whoami", &[]).await?;
    output.page(&me, |output| {
        let mut page = Page::new(output);
        page.lines(&me, &SELF);
        page.named("May", may(&me));
        page.finish()
    })
}

fn may(me: &Value) -> &'static str {
    match me["scope"].as_str() {
        Some("analyst") => "read alerts, events, hosts, scans and status",
        Some("csirt") => "read, and give signed orders to hosts",
        Some("admin") => "read, give signed orders, enrol and revoke hosts, give out tokens, read the audit",
        _ => "",
    }
}

/// `audit list`.
pub async fn audit(client: &Client, output: &Output, verb: &Audit) -> Outcome {
    let Audit::List { span, by, limit } = verb;
    let now = jiff::Timestamp::now();
    let until = span.until.as_ref().map(|text| when::moment(text, now)).transpose()?;
    let query = [
        ("since", when::moment(&span.since, now)?),
        ("until", until.unwrap_or_default()),
        ("by", by.clone().unwrap_or_default()),
        ("limit", limit.to_string()),
    ];
    let answer = client.get("/v1/audit", &query).await?;
    let records = rows(&answer, "records");
    match output.form() {
        Form::Table | Form::Csv => output.rows(&CALLS, &records.iter().map(readable).collect::<Vec<_>>())?,
        Form::Json | Form::Ndjson => output.rows(&CALLS, &records)?,
    }
    if records.is_empty() {
        say(&format!("no call since {} is known", span.since));
    } else if records.len() as u64 >= *limit {
        say(&format!("the newest {}; there may be more (--limit, --since, --by)", records.len()));
    }
    if let Some(behind) = answer["behind"].as_u64().filter(|behind| *behind > 0) {
        say(&format!("{behind} newer calls are on record and not readable here yet"));
    }
    Ok(())
}

/// A record whose question stands in a few words: `User ne root, limit=100`.
fn readable(record: &Value) -> Value {
    let Some(asked) = record["asked"].as_object() else { return record.clone() };
    let words = asked.iter().map(|(name, value)| match value {
        Value::Array(filters) if name == "filters" => filters.iter().map(condition).collect::<Vec<_>>().join(", "),
        value => format!("{name}={}", plain(value)),
    });
    let words = words.collect::<Vec<_>>().join(", ");
    let mut record = record.clone();
    record["asked"] = words.into();
    record
}

fn condition(filter: &Value) -> String {
    ["field", "op", "value"].map(|part| plain(&filter[part])).join(" ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_in_the_audit_is_read_in_a_few_words() {
        let asked = |asked: Value| readable(&json!({"by": "alice", "asked": asked}))["asked"].clone();
        let search = json!({"filters": [{"field": "User", "op": "ne", "value": "root"}, {"field": "Image", "op": "eq"}], "limit": 5, "tenant": "t"});
        assert_eq!(asked(search), json!("User ne root, Image eq null, limit=5, tenant=t"));
        assert_eq!(asked(json!("cut ...")), json!("cut ..."));
        assert_eq!(readable(&json!({"by": "x"})), json!({"by": "x"}));
    }
}
