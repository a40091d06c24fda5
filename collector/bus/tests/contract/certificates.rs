//! Certificates for brokers and clients of one test: authorities that know nothing of each other, and leaves that are good,
//! expired, or for another name.

use beffroi_bus::testing::ListenerCertificates;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};

/// Who signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A private key with its certificate, PEM.
pub struct Leaf {
    pub key: String,
    pub certificate: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("an authority").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A leaf for this host name that is valid until the first day of `until`.
    pub fn leaf(&self, host: &str, until: i32) -> Leaf {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Leaf { key: key.serialize_pem(), certificate }
    }
}

impl Leaf {
    /// As Kafka reads a key store.
    fn store(&self) -> String {
        format!("{}{}", self.key, self.certificate)
    }
}

/// A year that has passed, and one that has not.
pub const EXPIRED: i32 = 2021;
pub const GOOD: i32 = 2090;

/// Certificates of the broker of the tests.
pub fn listeners(brokers: &Authority, clients: &Authority) -> ListenerCertificates {
    ListenerCertificates {
        identity: brokers.leaf("localhost", GOOD).store(),
        unfit_identity: brokers.leaf("localhost", EXPIRED).store(),
        clients_ca: clients.pem().to_owned(),
    }
}
