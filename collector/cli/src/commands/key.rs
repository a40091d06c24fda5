//! `beffroi key`: makes the keys and certificates that orders are signed with. Needs no network and asks no server, except
//! for `publish`.
//!
//! Files are made before keys: what cannot be written is not made. Nothing is ever overwritten.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use beffroi_schema::down::{self, Grant, KeyError, KeyId, OperatorKey, Revocation, SignedKind};
use beffroi_schema::ids::is_tenant_name;
use beffroi_schema::json::rfc3339;
use beffroi_schema::limits::{MAX_CERTIFICATE_TENANTS, MAX_CLOCK_SKEW_US, MAX_OPERATOR_CERTIFICATE_US, MAX_ORDER_TEXT_BYTES};
use prost::Message;
use serde_json::{Value, json};

use crate::args::{Algorithm, KeyOperator, KeyRoot, KeyWork, NewPassphrase, Passphrase};
use crate::certificate::{Certificate, short, sign};
use crate::client::Client;
use crate::commands::key_show;
use crate::commands::page::Page;
use crate::envelope;
use crate::errors::{Failure, Outcome};
use crate::keyfile;
use crate::output::{Output, say};
use crate::passphrase;
use crate::private_file::NewFile;
use crate::safe::terminal;
use crate::when::{self, now_us};

/// Life of a root: ten years. A root is changed by enrolling hosts again, so it should outlive them.
const ROOT_LIFE_US: i64 = 3_653 * 24 * 3600 * 1_000_000;
/// Keys of one revocation: what a host keeps.
const MAX_REVOKED: usize = 4_096;

const MADE: [(&str, &str); 11] = [
    ("Kind", "/kind"),
    ("Name", "/name"),
    ("Algorithm", "/algorithm"),
    ("Id", "/key_id"),
    ("Tenants", "/tenants"),
    ("Roles", "/roles"),
    ("Good from", "/not_before"),
    ("Good until", "/not_after"),
    ("Private key", "/private_key"),
    ("Public key", "/public_key"),
    ("Certificate", "/certificate"),
];

/// Every verb that asks no server.
pub fn run(output: &Output, work: &KeyWork) -> Outcome {
    match work {
        KeyWork::Root(KeyRoot::New { out, algorithm, name, secret }) => root(output, out, *algorithm, name, secret),
        KeyWork::Operator(KeyOperator::New { out, algorithm, name, secret }) => operator(output, out, *algorithm, name, secret),
        KeyWork::Certify { root, operator, name, tenant, role, expires, out, secret } => {
            let grant = Asked { name, tenants: tenant, roles: role, expires };
            certify(output, &Root::open(root, secret)?, operator, &grant, out.as_deref())
        }
        KeyWork::Revoke { root, keys, previous, out, secret } => {
            revoke(output, &Root::open(root, secret)?, keys, previous.as_deref(), out)
        }
        KeyWork::Show { file, secret } => key_show::show(output, file, secret),
    }
}

/// `key publish`: the one verb that asks the API. The root's key stays where it is; its signature travels.
pub async fn publish(client: &Client, output: &Output, file: &Path) -> Outcome {
    let signed = envelope::read(file)?;
    if signed.kind != SignedKind::Revocation as u32 {
        let what = format!("{} holds a {}, not a revocation", file.display(), envelope::kind_name(signed.kind));
        return Err(Failure::usage(what, "name the file that `beffroi key revoke` made"));
    }
    let body = json!({"envelope": STANDARD.encode(signed.encode_to_vec())});
    let answer = client.post("/v1/revocations", &body).await?;
    output.page(&answer, |_| {
        let keys = answer["keys"].as_array().map_or(0, Vec::len);
        terminal(&format!(
            "{keys} key(s) stop on every host of root {} as it comes by; hosts that stay away for 30 days need it no more, \
             certificates live no longer",
            answer["root"].as_str().unwrap_or("?")
        ))
    })
}

fn generate(algorithm: Algorithm) -> Outcome<OperatorKey> {
    let key = match algorithm {
        Algorithm::Ed25519 => OperatorKey::generate_ed25519(),
        Algorithm::P256 => OperatorKey::generate_p256(),
    };
    key.map_err(not_made)
}

fn not_made(error: KeyError) -> Failure {
    Failure::usage(error.to_string(), "nothing was made")
}

fn made(output: &Output, value: &Value) -> Outcome {
    output.page(value, |output| {
        let mut page = Page::new(output);
        page.lines(value, &MADE);
        page.finish()
    })
}

fn check_name(name: &str) -> Outcome {
    if name.trim().is_empty() || name.len() > MAX_ORDER_TEXT_BYTES {
        return Err(Failure::usage(
            format!("--name {name:?}: 1 to {MAX_ORDER_TEXT_BYTES} bytes are needed"),
            "write whose key it is",
        ));
    }
    Ok(())
}

fn root(output: &Output, out: &Path, algorithm: Algorithm, name: &str, secret: &NewPassphrase) -> Outcome {
    check_name(name)?;
    let (private, public) = keyfile::paths(out, "root", "beffroi")?;
    let (key_file, certificate_file) = (NewFile::private(&private)?, NewFile::public(&public)?);
    let closing = passphrase::closing(secret)?;
    let key = generate(algorithm)?;
    let not_before = now_us();
    let certificate = down::root_certificate(&key, name, not_before, not_before + ROOT_LIFE_US).map_err(not_made)?;
    keyfile::save(key_file, &key, &closing)?;
    certificate_file.write(&envelope::to_text(&certificate), "is there room?")?;
    made(
        output,
        &json!({"kind": "root", "name": name, "algorithm": key.public_key().algorithm_name(),
            "key_id": key.key_id().to_string(), "not_after": rfc3339(not_before + ROOT_LIFE_US),
            "private_key": private.display().to_string(), "certificate": public.display().to_string()}),
    )?;
    if closing.is_none() {
        say("warning: the private key is not encrypted (--passphrase); keep its medium as you would keep the key");
    }
    say("hosts take orders under this root once they enrol with a token that names it: `beffroi enroll token --root-cert FILE`");
    Ok(())
}

fn operator(output: &Output, out: &Path, algorithm: Algorithm, name: &str, secret: &NewPassphrase) -> Outcome {
    let (private, public) = keyfile::paths(out, name, "pub")?;
    let (key_file, public_file) = (NewFile::private(&private)?, NewFile::public(&public)?);
    let closing = passphrase::closing(secret)?;
    let key = generate(algorithm)?;
    keyfile::save(key_file, &key, &closing)?;
    public_file.write(&key.public_key().to_pem().map_err(not_made)?, "is there room?")?;
    made(
        output,
        &json!({"kind": "operator", "algorithm": key.public_key().algorithm_name(), "key_id": key.key_id().to_string(),
            "private_key": private.display().to_string(), "public_key": public.display().to_string()}),
    )?;
    say("take the public key to whoever holds the root, and compare its id aloud: `beffroi key certify --operator FILE`");
    Ok(())
}

/// The root's key with its certificate.
struct Root {
    key: OperatorKey,
    certificate: Certificate,
}

impl Root {
    /// `path` is the private key, with its certificate beside it, or the folder of `root.key` and `root.beffroi`.
    fn open(path: &Path, secret: &Passphrase) -> Outcome<Self> {
        let private = if path.is_dir() { path.join("root.key") } else { path.to_path_buf() };
        let public = private.with_extension("beffroi");
        let certificate = Certificate::read_root(&public, now_us())?;
        let key = keyfile::load(&private, secret)?;
        if key.key_id() != certificate.id {
            let what = format!("{} is not the certificate of {}", public.display(), private.display());
            return Err(Failure::usage(what, "put the root's own certificate beside its key, under the same name"));
        }
        Ok(Self { key, certificate })
    }
}

/// What `key certify` shall say in the certificate.
struct Asked<'a> {
    name: &'a str,
    tenants: &'a [String],
    roles: &'a [String],
    expires: &'a str,
}

impl Asked<'_> {
    fn grant(&self, now: i64) -> Outcome<Grant> {
        check_name(self.name)?;
        if let Some(bad) = self.tenants.iter().find(|tenant| *tenant != down::EVERY_TENANT && !is_tenant_name(tenant)) {
            return Err(Failure::usage(
                format!("--tenant {bad:?} is no name of a tenant"),
                "lower-case letters, digits and -, or '*'",
            ));
        }
        if self.tenants.len() > MAX_CERTIFICATE_TENANTS {
            let what = format!("{} tenants, at most {MAX_CERTIFICATE_TENANTS} fit", self.tenants.len());
            return Err(Failure::usage(what, "--tenant '*' is every tenant"));
        }
        let life = when::seconds(self.expires)?.saturating_mul(1_000_000);
        if life > MAX_OPERATOR_CERTIFICATE_US {
            let what = format!("--expires {}: certificates of operators are good for 30 days at most", self.expires);
            return Err(Failure::usage(what, "make a new one each month: a lost key then stops by itself"));
        }
        // Hosts whose clock is late must not find it too new; from there, hosts count 30 days.
        let not_before = now - MAX_CLOCK_SKEW_US;
        let not_after = (now + life).min(not_before + MAX_OPERATOR_CERTIFICATE_US);
        let (name, tenants, roles) = (self.name.to_owned(), self.tenants.to_vec(), self.roles.to_vec());
        // Of two certificates of one operator, the later one is the higher.
        Ok(Grant { name, tenants, roles, not_before, not_after, version: u64::try_from(now).unwrap_or_default() })
    }
}

fn certify(output: &Output, root: &Root, operator: &Path, asked: &Asked<'_>, out: Option<&Path>) -> Outcome {
    let public = keyfile::load_public(operator)?;
    if public.key_id() == root.certificate.id {
        return Err(Failure::usage("this is the root's own key", "operators have keys of their own: `beffroi key operator new`"));
    }
    let grant = asked.grant(now_us())?;
    let path: PathBuf = out.map_or_else(|| operator.with_extension("beffroi"), Path::to_path_buf);
    let certificate = down::certify(&root.key, root.certificate.encoded.clone(), &public, grant.clone()).map_err(not_made)?;
    envelope::write(&path, &certificate)?;
    made(
        output,
        &json!({"kind": "certificate", "name": grant.name, "algorithm": public.algorithm_name(),
            "key_id": public.key_id().to_string(), "tenants": grant.tenants, "roles": grant.roles,
            "not_before": rfc3339(grant.not_before), "not_after": rfc3339(grant.not_after),
            "certificate": path.display().to_string()}),
    )?;
    say(&format!(
        "under root {}; the operator names it with --cert (operator_cert in the configuration)",
        short(&root.certificate.id)
    ));
    Ok(())
}

fn revoke(output: &Output, root: &Root, keys: &[String], previous: Option<&Path>, out: &Path) -> Outcome {
    let (mut ids, version) = match previous {
        Some(path) => revoked_before(root, path)?,
        None => (Vec::new(), 0),
    };
    for text in keys {
        let id: KeyId = text.parse().map_err(|_| {
            Failure::usage(format!("{text:?} is no key id"), "write the 64 hex digits that `beffroi key show FILE` prints")
        })?;
        if id == root.certificate.id {
            return Err(Failure::usage("a root cannot revoke itself", "enrol hosts again with a token that names another root"));
        }
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > MAX_REVOKED {
        return Err(Failure::usage(
            format!("{} keys, at most {MAX_REVOKED} fit", ids.len()),
            "leave out those that expired long ago",
        ));
    }
    let now = now_us();
    // The time is a number that only grows, without anybody keeping count.
    let version = u64::try_from(now).unwrap_or_default().max(version.saturating_add(1));
    let body = Revocation { version, issued: now, key_ids: ids.iter().map(|id| id.0.to_vec()).collect() };
    envelope::write(out, &sign(SignedKind::Revocation, &body, &root.key, root.certificate.encoded.clone())?)?;
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let value = json!({"kind": "revocation", "version": version, "keys": ids, "file": out.display().to_string()});
    output.page(&value, |_| {
        let keys = ids.iter().map(|id| format!("\n  {id}")).collect::<String>();
        format!("{} stops {} key(s):{keys}", terminal(&out.display().to_string()), ids.len())
    })?;
    say("no host knows of it yet; carry it over and hand it down: `beffroi key publish FILE`");
    Ok(())
}

/// What an earlier revocation of this root says.
fn revoked_before(root: &Root, path: &Path) -> Outcome<(Vec<KeyId>, u64)> {
    let bad = |why: String| Failure::usage(format!("{}: {why}", path.display()), "name the revocation before this one");
    let signed = envelope::read(path)?;
    down::verify_chain(&signed, SignedKind::Revocation, &root.certificate.id, now_us(), |_| false)
        .map_err(|error| bad(error.to_string()))?;
    let body: Revocation = down::read_body(&signed, SignedKind::Revocation).map_err(|error| bad(error.to_string()))?;
    let ids = body.key_ids.iter().map(|id| KeyId::try_from(id.as_slice()).map_err(|error| bad(error.to_string())));
    Ok((ids.collect::<Outcome<_>>()?, body.version))
}
