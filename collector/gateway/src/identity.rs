//! Who speaks: tenant and agent id, from the verified client certificate's alternative name and nowhere else.
//!
//! The common name must say the same agent. Whatever does not fit exactly is no identity; there is no fallback.

use beffroi_schema::ids::{AgentId, is_tenant_name};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// An agent whose certificate was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Tenant that it was enrolled for.
    pub tenant: String,
    /// Which host.
    pub agent: AgentId,
    /// End of the certificate's life, microseconds since 1970.
    pub not_after: i64,
}

/// A certificate of our CA names no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate names no agent: {0}")]
pub struct IdentityError(&'static str);

const URI_PREFIX: &str = "urn:beffroi:";

impl Identity {
    /// Reads a leaf (DER) whose chain and dates have been verified.
    ///
    /// # Errors
    /// [`IdentityError`] which says what does not fit.
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError("it cannot be read"))?;
        let (tenant, agent) = named(only_uri(&certificate)?)?;
        if common_name(&certificate)? != agent.to_string() {
            return Err(IdentityError("its common name is another agent's"));
        }
        let usage = certificate.extended_key_usage().map_err(|_| IdentityError("its key usage cannot be read"))?;
        if !usage.is_some_and(|usage| usage.value.client_auth) {
            return Err(IdentityError("it is not for clients"));
        }
        let not_after = certificate.validity().not_after.timestamp().saturating_mul(1_000_000);
        Ok(Self { tenant, agent, not_after })
    }
}

fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, IdentityError> {
    let names = certificate.subject_alternative_name().map_err(|_| IdentityError("its names cannot be read"))?;
    match names.map(|names| names.value.general_names.as_slice()) {
        Some([GeneralName::URI(uri)]) => Ok(uri),
        Some(_) => Err(IdentityError("it has other names than one URI")),
        None => Err(IdentityError("it has no alternative name")),
    }
}

fn named(uri: &str) -> Result<(String, AgentId), IdentityError> {
    let rest = uri.strip_prefix(URI_PREFIX).ok_or(IdentityError("its URI is not of urn:beffroi:"))?;
    let (tenant, agent) = rest.split_once(':').ok_or(IdentityError("its URI has no agent id"))?;
    let id: AgentId = agent.parse().map_err(|_| IdentityError("its URI has no agent id"))?;
    // One spelling only: what is compared and logged is what stands in the certificate.
    if !is_tenant_name(tenant) || id.to_string() != agent {
        return Err(IdentityError("its URI has no tenant and agent id"));
    }
    Ok((tenant.into(), id))
}

fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, IdentityError> {
    let mut names = certificate.subject().iter_common_name();
    match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().map_err(|_| IdentityError("its common name cannot be read")),
        _ => Err(IdentityError("it has not exactly one common name")),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};

    use super::*;

    const AGENT: &str = "abababababababababababababababab";

    fn certificate(common_name: &str, names: Vec<SanType>, usages: Vec<ExtendedKeyUsagePurpose>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        params.extended_key_usages = usages;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn uri(text: &str) -> Vec<SanType> {
        vec![SanType::URI(text.try_into().unwrap())]
    }

    fn client() -> Vec<ExtendedKeyUsagePurpose> {
        vec![ExtendedKeyUsagePurpose::ClientAuth]
    }

    #[test]
    fn the_alternative_name_says_tenant_and_agent() {
        let der = certificate(AGENT, uri(&format!("urn:beffroi:interieur:{AGENT}")), client());
        let identity = Identity::of_certificate(&der).unwrap();
        assert_eq!((identity.tenant.as_str(), identity.agent), ("interieur", AgentId([0xab; 16])));
        assert!(identity.not_after > 0);
    }

    #[test]
    fn anything_that_does_not_fit_exactly_is_no_identity() {
        let good = format!("urn:beffroi:t:{AGENT}");
        let two = [uri(&good), uri("urn:beffroi:u:00000000000000000000000000000000")].concat();
        let dns = [uri(&good), vec![SanType::DnsName("a".try_into().unwrap())]].concat();
        for (why, der) in [
            ("common name", certificate(&"cd".repeat(16), uri(&good), client())),
            ("other names", certificate(AGENT, two, client())),
            ("other names", certificate(AGENT, dns, client())),
            ("no alternative name", certificate(AGENT, vec![], client())),
            ("not for clients", certificate(AGENT, uri(&good), vec![ExtendedKeyUsagePurpose::ServerAuth])),
            ("not for clients", certificate(AGENT, uri(&good), vec![])),
            ("urn:beffroi:", certificate(AGENT, uri(&format!("urn:other:t:{AGENT}")), client())),
            ("tenant and agent id", certificate(AGENT, uri(&format!("urn:beffroi:T:{AGENT}")), client())),
            ("tenant and agent id", certificate(AGENT, uri(&format!("urn:beffroi:t:{}", AGENT.to_uppercase())), client())),
            ("no agent id", certificate(AGENT, uri("urn:beffroi:t:1:2"), client())),
            ("no agent id", certificate(AGENT, uri("urn:beffroi:t"), client())),
            ("cannot be read", b"garbage".to_vec()),
        ] {
            let error = Identity::of_certificate(&der).unwrap_err().to_string();
            assert!(error.contains(why), "{error}, not {why}");
        }
    }
}
