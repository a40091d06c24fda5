//! The operator's own file: where the API is, whom to trust, which gateway hosts enrol with.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::errors::{Failure, Outcome};
use crate::output::say;
use crate::private_file;

/// Where a collector's API listens unless told otherwise.
const DEFAULT_API: &str = "http://127.0.0.1:8080";

/// `~/.config/beffroi/config.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Base URL of the API.
    pub api: Option<String>,
    /// File with the API token.
    pub token_file: Option<PathBuf>,
    /// Base URL of the gateway, written into enrolment tokens.
    pub gateway: Option<String>,
    /// Certificates (PEM). The first is the server CA's, whose fingerprint is written into enrolment tokens; an API over
    /// https must present a certificate under one of them.
    pub ca_file: Option<PathBuf>,
    /// Certificate of the root, whose fingerprint is written into enrolment tokens.
    pub root_cert: Option<PathBuf>,
    /// Private key that signs orders.
    pub operator_key: Option<PathBuf>,
    /// Certificate of that key under the root.
    pub operator_cert: Option<PathBuf>,
}

/// Keys of the file, for those who mistyped one.
const KNOWN_KEYS: &str = "known keys: api, token_file, gateway, ca_file, root_cert, operator_key, operator_cert";
/// Largest file of certificates: a few hundred of them.
const MAX_CA_BYTES: u64 = 1024 * 1024;

impl Config {
    /// Reads `path`, or the default file when it exists.
    pub fn load(path: Option<&Path>) -> Outcome<Self> {
        let chosen = path.map(Path::to_path_buf).or_else(|| std::env::var_os("BEFFROI_CONFIG").map(PathBuf::from));
        let (path, must_exist) = match chosen {
            Some(path) => (path, true),
            None => match default_path() {
                Some(path) => (path, false),
                None => return Ok(Self::default()),
            },
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display()), KNOWN_KEYS)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(error) => {
                Err(Failure::usage(format!("cannot read {}: {error}", path.display()), "name another file with --config"))
            }
        }
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Base URL of the API, without a slash at the end.
    pub fn api(&self) -> Outcome<String> {
        let text = self.api.as_deref().unwrap_or(DEFAULT_API).trim_end_matches('/');
        let bad = |why: String| Failure::usage(format!("api {text:?}: {why}"), format!("write a URL such as {DEFAULT_API}"));
        let url: reqwest::Url = text.parse().map_err(|error| bad(format!("{error}")))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => say("warning: the token and every answer go over the network in clear text; put TLS before the API"),
            other => return Err(bad(format!("{other} is neither http nor https"))),
        }
        Ok(text.to_string())
    }

    /// The certificates that an API over https is judged by: those of `ca_file`, or, without one, the system's.
    pub fn trusted(&self) -> Outcome<Option<Vec<reqwest::Certificate>>> {
        const HINT: &str = "ca_file must hold certificates in PEM form; the server CA's is <data>/pki/ca.pem on the server";
        let is_https = self.api.as_deref().is_some_and(|api| api.to_ascii_lowercase().starts_with("https:"));
        let Some(path) = self.ca_file.as_ref().filter(|_| is_https) else { return Ok(None) };
        let bytes = private_file::read(path, MAX_CA_BYTES, HINT)?;
        let found = reqwest::Certificate::from_pem_bundle(&bytes)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), HINT))?;
        if found.is_empty() {
            return Err(Failure::usage(format!("{}: no certificate in it", path.display()), HINT));
        }
        Ok(Some(found))
    }

    /// The API token.
    pub fn token(&self) -> Outcome<String> {
        let path = self.token_file.as_ref().ok_or_else(|| {
            Failure::usage(
                "no token for the API is configured",
                "set token_file in the configuration or use --token-file; the collector's first start writes one to <data>/api/admin.token",
            )
        })?;
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("cannot read the token file {}: {error}", path.display()), "is it yours to read?")
        })?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::usage(
                format!("{} holds no token", path.display()),
                "it must hold the token and nothing else, on one line",
            ));
        }
        Ok(token.to_string())
    }
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn default_path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
    Some(folder.join("beffroi/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = Config::parse("api = \"http://x\"\ntokn = 1\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("tokn"), "{error}");
    }

    #[test]
    fn a_missing_file_that_was_asked_for_is_an_error() {
        let error = Config::load(Some(Path::new("/nonexistent/beffroi.toml"))).unwrap_err();
        assert!(error.what.contains("/nonexistent"), "{error}");
    }

    #[test]
    fn an_address_that_is_none_is_refused_before_anything_is_sent() {
        let api = |text: &str| Config { api: Some(text.into()), ..Config::default() }.api();
        assert_eq!(api("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(api("https://beffroi.example").unwrap(), "https://beffroi.example");
        for text in ["", "localhost:8080", "ftp://x", "http://"] {
            assert!(api(text).unwrap_err().hint.contains("http://127.0.0.1:8080"), "{text:?}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is = |text: &str| is_loopback(&text.parse().unwrap());
        assert!(is("http://127.0.0.1:1") && is("http://[::1]:1") && is("http://localhost"));
        assert!(!is("http://10.0.0.1") && !is("http://localhost.example"));
    }

    #[test]
    fn a_file_that_holds_no_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Config { token_file: Some(path.clone()), ..Config::default() }.token()
        };
        assert_eq!(token("abc\n").unwrap(), "abc");
        for text in ["", "\n", "a b", "a\nb", "é"] {
            assert!(token(text).is_err(), "{text:?}");
        }
    }
}
