//! Settings of the API. Unknown keys are refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// Where the API listens and whom it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Address and port; port 0 picks one. Other than loopback only with `tls`.
    pub listen: SocketAddr,
    /// File of the admin token; written at the first start (mode 0600). Empty in the configuration means the server's
    /// `<data>/api/admin.token`; the API itself refuses it.
    pub token_file: PathBuf,
    /// Certificate and key of the API.
    pub tls: Option<TlsOptions>,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsOptions {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080), token_file: PathBuf::new(), tls: None }
    }
}

impl Options {
    /// Checks the values.
    ///
    /// # Errors
    /// [`ApiError::Options`] naming the key.
    pub fn validate(&self) -> Result<(), ApiError> {
        let wrong = |key: &'static str, why: String| Err(ApiError::Options { key, why });
        if self.token_file.as_os_str().is_empty() {
            return wrong("token_file", "no file is named".into());
        }
        if !self.listen.ip().is_loopback() && self.tls.is_none() {
            let why = format!(
                "{} is not a loopback address: tokens would cross the network in the clear. Set tls.cert and tls.key, or listen \
                 on 127.0.0.1 behind a TLS proxy or an SSH tunnel",
                self.listen
            );
            return wrong("listen", why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_address_without_tls_is_refused_with_the_way_out() {
        let mut options = Options { token_file: "t".into(), listen: "0.0.0.0:8080".parse().unwrap(), tls: None };
        let error = options.validate().unwrap_err().to_string();
        assert!(error.contains("tls.cert") && error.contains("127.0.0.1"), "{error}");
        options.tls = Some(TlsOptions { cert: "c".into(), key: "k".into() });
        options.validate().unwrap();
        assert!(Options::default().validate().unwrap_err().to_string().contains("token_file"));
    }
}
