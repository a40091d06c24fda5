//! Settings of the API. Unknown keys are refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::rate::RateOptions;

/// Where the API listens and whom it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Address and port; port 0 picks one. Other than loopback only over TLS: with `tls`, or with a certificate that the
    /// server makes from its own CA.
    pub listen: SocketAddr,
    /// File of the admin token; written at the first start (mode 0600). Empty in the configuration means the server's
    /// `<data>/api/admin.token`; the API itself refuses it.
    pub token_file: PathBuf,
    /// Certificate and key of the API, taken over anew when they change. The server reads them.
    pub tls: Option<TlsOptions>,
    /// How often may be asked.
    pub rates: RateOptions,
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
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            token_file: PathBuf::new(),
            tls: None,
            rates: RateOptions::default(),
        }
    }
}

impl Options {
    /// Checks the values.
    ///
    /// # Errors
    /// [`ApiError::Options`] naming the key.
    pub fn validate(&self) -> Result<(), ApiError> {
        if self.token_file.as_os_str().is_empty() {
            return Err(ApiError::Options { key: "token_file", why: "no file is named".into() });
        }
        self.rates.validate()
    }

    /// Whether it must speak TLS: tokens would else cross the network in the clear.
    pub fn needs_tls(&self) -> bool {
        !self.listen.ip().is_loopback()
    }

    /// What is wrong when it must speak TLS and was given no certificate; none where it need not.
    pub(crate) fn without_certificate(&self) -> Option<ApiError> {
        if self.tls.is_some() {
            let why = "its files were not read: whoever starts the API reads them and gives it the certificate".into();
            return Some(ApiError::Options { key: "tls", why });
        }
        let why = || {
            format!(
                "{} is not a loopback address: tokens would cross the network in the clear. Set tls.cert and tls.key, or listen \
                 on 127.0.0.1 behind a TLS proxy or an SSH tunnel",
                self.listen
            )
        };
        self.needs_tls().then(|| ApiError::Options { key: "listen", why: why() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_address_needs_tls_and_the_way_out_is_said() {
        let mut options = Options { token_file: "t".into(), listen: "0.0.0.0:8080".parse().unwrap(), ..Options::default() };
        assert!(options.needs_tls());
        let error = options.without_certificate().unwrap().to_string();
        assert!(error.contains("tls.cert") && error.contains("127.0.0.1"), "{error}");
        options.listen = "[::1]:8080".parse().unwrap();
        assert!(!options.needs_tls() && options.without_certificate().is_none());
        options.validate().unwrap();
        assert!(Options::default().validate().unwrap_err().to_string().contains("token_file"));
    }
}
