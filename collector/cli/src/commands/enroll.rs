//! `beffroi enroll`: tokens. The server gives name and secret; where to enrol and whom to trust come from the operator's
//! own files, so that a compromised server cannot point hosts elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use beffroi_schema::session::EnrollToken;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::certificate::{Certificate, short};
use crate::client::{Client, rows, segment};
use crate::config::Config;
use crate::errors::{Failure, Outcome};
use crate::output::{Column, Output, column, say};
use crate::private_file::NewFile;
use crate::when;

const COLUMNS: [Column; 9] = [
    column("TOKEN", "/token_id", 0),
    column("TENANT", "/tenant", 16),
    column("USED", "/used", 0),
    column("USES", "/uses", 0),
    column("CREATED", "/created", 0),
    column("EXPIRES", "/expires", 0),
    column("EXPIRED", "/expired", 0),
    column("REVOKED", "/revoked", 0),
    column("BY", "/by", 24),
];

/// What `enroll token` was asked for.
pub struct Request {
    /// Tenant of the hosts.
    pub tenant: String,
    /// How many hosts.
    pub uses: u32,
    /// For how long, as typed.
    pub expires: String,
    /// Networks.
    pub cidrs: Vec<String>,
    /// Labels as `key=value`.
    pub labels: Vec<String>,
    /// Where to write the token.
    pub out: Option<PathBuf>,
}

/// `enroll token`.
pub async fn token(client: &Client, output: &Output, config: &Config, request: Request) -> Outcome {
    let gateway = config.gateway.clone().ok_or_else(|| {
        Failure::usage("which gateway shall hosts enrol with?", "set gateway in the configuration or use --gateway")
    })?;
    let ca_file = config.ca_file.as_ref().ok_or_else(|| {
        Failure::usage(
            "which server CA shall hosts trust?",
            "set ca_file in the configuration or use --ca-file; it is <data>/pki/ca.pem on the enrolment server",
        )
    })?;
    let ca_sha256 = fingerprint(ca_file)?;
    let root = config.root_cert.as_deref().map(|path| Certificate::read_root(path, when::now_us())).transpose()?;
    let labels = request.labels.iter().map(|label| split_label(label)).collect::<Outcome<BTreeMap<_, _>>>()?;
    let body = json!({
        "tenant": request.tenant, "uses": request.uses, "expires_seconds": when::seconds(&request.expires)?,
        "cidrs": request.cidrs, "labels": labels,
    });
    // The file first: a token that cannot be written would be lost, and usable all the same.
    let file = request.out.as_deref().map(NewFile::private).transpose()?;
    let answer = client.post("/v1/enroll/tokens", &body).await?;
    let part = |name: &str| {
        answer[name]
            .as_str()
            .map(str::to_string)
            .ok_or_else(|| Failure::server(format!("the answer has no {name}"), "is the collector of the same version?"))
    };
    let token = EnrollToken {
        gateway: gateway.trim_end_matches('/').into(),
        tenant: request.tenant,
        ca_sha256,
        root_sha256: root.as_ref().map(|root| root.id.to_string()).unwrap_or_default(),
        token_id: part("token_id")?,
        secret: part("secret")?,
    };
    match file {
        Some(file) => file.write(&token.to_text(), "revoke the token and make another one")?,
        None => output.print(&token.to_text())?,
    }
    say(&format!(
        "token {} for {} host(s) of tenant {}, good for {}",
        token.token_id, request.uses, token.tenant, request.expires
    ));
    match &root {
        Some(root) => say(&format!("its hosts take orders under root {} ({:?})", short(&root.id), root.body.name)),
        None => {
            say("warning: no root is named (--root-cert, or root_cert in the configuration): these hosts will take no orders, \
             so they cannot be scanned")
        }
    }
    say("on the host: beffroi-agent enroll --token-file FILE");
    Ok(())
}

fn split_label(label: &str) -> Outcome<(String, String)> {
    match label.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(Failure::usage(format!("--label {label:?} is not KEY=VALUE"), "for example --label site=lyon")),
    }
}

/// SHA-256 of the first certificate in a PEM file, as hex.
fn fingerprint(path: &Path) -> Outcome<String> {
    let bad = |why: String| {
        Failure::usage(format!("{}: {why}", path.display()), "ca_file must be the server CA's certificate in PEM form")
    };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let body = text.split("-----BEGIN CERTIFICATE-----").nth(1).and_then(|rest| rest.split("-----END CERTIFICATE-----").next());
    let body: String = body.ok_or_else(|| bad("no certificate in it".into()))?.split_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).map_err(|error| bad(error.to_string()))?;
    Ok(hex::encode(Sha256::digest(der)))
}

/// `enroll list`.
pub async fn list(client: &Client, output: &Output) -> Outcome {
    output.rows(&COLUMNS, &rows(&client.get("/v1/enroll/tokens", &[]).await?, "tokens"))
}

/// `enroll revoke`.
pub async fn revoke(client: &Client, output: &Output, token_id: &str) -> Outcome {
    let answer = client.delete(&format!("/v1/enroll/tokens/{}", segment(token_id))).await?;
    output.page(&answer, |_| format!("token {} can no longer be used", crate::safe::terminal(token_id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "hello").unwrap();
        assert!(fingerprint(&path).unwrap_err().what.contains("no certificate"));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(fingerprint(&path).unwrap(), hex::encode(Sha256::digest([0, 1, 2])));
    }

    #[test]
    fn labels_are_key_and_value() {
        assert_eq!(split_label("site=lyon").unwrap(), ("site".into(), "lyon".into()));
        assert!(split_label("lyon").is_err() && split_label("=x").is_err());
    }
}
