//! The operator's own file: where the API is, whom to trust, which gateway hosts enrol with.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::errors::{Failure, Outcome};

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
    /// Certificate (PEM) of the server CA, whose fingerprint is written into enrolment tokens.
    pub ca_file: Option<PathBuf>,
}

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
            Ok(text) => Self::parse(&text).map_err(|error| {
                Failure::usage(format!("{}: {error}", path.display()), "known keys: api, token_file, gateway, ca_file")
            }),
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
    pub fn api(&self) -> String {
        self.api.as_deref().unwrap_or("http://127.0.0.1:8080").trim_end_matches('/').to_string()
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
        Ok(text.trim().to_string())
    }
}

fn default_path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
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
}
