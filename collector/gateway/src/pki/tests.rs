//! The server CA and its leaves: made once, never replaced in silence, nothing taken from a request but its key.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CustomExtension, DnType};
use x509_parser::extensions::GeneralName;

use super::*;

const AGENT: AgentId = AgentId([0xab; 16]);

fn authority() -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(dir.path()).unwrap();
    (dir, authority)
}

fn csr(params: CertificateParams, key: &KeyPair) -> String {
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn greedy() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["evil.example".to_string(), "127.0.0.1".to_string()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::CodeSigning];
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0])];
    params
}

#[test]
fn a_greedy_request_gets_its_key_certified_and_nothing_else() {
    let (_dir, authority) = authority();
    let key = KeyPair::generate().unwrap();
    let now = clock::now_us();
    let issued = authority.issue_agent(&csr(greedy(), &key), "interieur", AGENT, now).unwrap();
    let (_, certificate) = X509Certificate::from_der(&issued.der).unwrap();
    assert_eq!(certificate.subject().to_string(), format!("CN={AGENT}"));
    assert!(!certificate.is_ca());
    let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.as_slice(), [GeneralName::URI(&format!("urn:beffroi:interieur:{AGENT}"))]);
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.code_signing && !usage.any && usage.other.is_empty());
    assert!(!certificate.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert!(certificate.extensions().iter().all(|extension| !extension.oid.to_id_string().contains("99999")));
    assert_eq!(certificate.public_key().raw, key.subject_public_key_info());
}

#[test]
fn an_agent_certificate_lives_seven_days_from_five_minutes_ago_under_a_fresh_serial() {
    let (_dir, authority) = authority();
    let request = csr(CertificateParams::default(), &KeyPair::generate().unwrap());
    let now = clock::now_us();
    let [first, second] = [0, 1].map(|_| authority.issue_agent(&request, "t", AGENT, now).unwrap());
    let (_, certificate) = X509Certificate::from_der(&first.der).unwrap();
    assert_eq!(certificate.validity().not_before.timestamp(), now / 1_000_000 - 300);
    assert_eq!(certificate.validity().not_after.timestamp(), now / 1_000_000 + 7 * 86_400);
    assert_eq!(first.not_after, certificate.validity().not_after.timestamp() * 1_000_000);
    assert_eq!(hex::encode(certificate.raw_serial()), first.serial);
    assert_eq!(certificate.raw_serial().len(), SERIAL_BYTES);
    assert_ne!(first.serial, second.serial);
}

#[test]
fn every_serial_number_reads_in_the_certificate_as_it_is_recorded() {
    let (_dir, authority) = authority();
    let request = csr(CertificateParams::default(), &KeyPair::generate().unwrap());
    for _ in 0..64 {
        let issued = authority.issue_agent(&request, "t", AGENT, clock::now_us()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&issued.der).unwrap();
        assert_eq!(hex::encode(certificate.raw_serial()), issued.serial);
    }
}

#[test]
fn ed25519_keys_are_certified_and_other_kinds_refused() {
    let (_dir, authority) = authority();
    let issue = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        authority.issue_agent(&csr(CertificateParams::default(), &key), "t", AGENT, clock::now_us())
    };
    issue(&rcgen::PKCS_ED25519).unwrap();
    assert!(matches!(issue(&rcgen::PKCS_ECDSA_P384_SHA384), Err(PkiError::Csr(CsrError::KeyKind))));
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    use rustls_pki_types::pem::PemObject;
    let (_dir, authority) = authority();
    let pem = csr(CertificateParams::default(), &KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
    let mut der = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    *der.last_mut().unwrap() ^= 1;
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let forged = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
    let refused = |pem: &str| authority.issue_agent(pem, "t", AGENT, clock::now_us()).unwrap_err();
    assert!(matches!(refused(&forged), PkiError::Csr(CsrError::Signature)));
    for garbage in ["", "hello", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
        assert!(matches!(refused(garbage), PkiError::Csr(CsrError::Malformed)), "{garbage:?}");
    }
}

#[test]
fn the_ca_is_made_once_and_only_its_key_is_secret() {
    let (dir, authority) = authority();
    let again = Authority::open_or_create(dir.path()).unwrap();
    assert_eq!(authority.root().fingerprint(), again.root().fingerprint());
    assert_eq!(authority.root().fingerprint().len(), 64);
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca.pem"), mode("ca.key")), (0o644, 0o600));
    assert!(!format!("{authority:?}").to_lowercase().contains("private"));
}

#[test]
fn processes_that_start_together_share_one_ca() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Authority::open_or_create(dir.path()).unwrap().root().fingerprint();
    let prints: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(prints.iter().all(|print| *print == prints[0]), "{prints:?}");
}

#[test]
fn a_crash_between_the_two_files_is_completed_at_the_next_start() {
    let (dir, authority) = authority();
    std::fs::rename(dir.path().join("ca.pem"), dir.path().join("ca.pem.new")).unwrap();
    assert_eq!(Authority::open_or_create(dir.path()).unwrap().root().fingerprint(), authority.root().fingerprint());
}

#[test]
fn a_lost_or_broken_file_is_an_error_and_never_a_new_ca() {
    let (dir, authority) = authority();
    std::fs::remove_file(dir.path().join("ca.pem")).unwrap();
    assert!(matches!(Authority::open_or_create(dir.path()), Err(PkiError::Broken { .. })));
    std::fs::write(dir.path().join("ca.pem"), authority.root().pem()).unwrap();
    std::fs::write(dir.path().join("ca.key"), "garbage").unwrap();
    let error = Authority::open_or_create(dir.path()).unwrap_err().to_string();
    assert!(error.contains("ca.key") && error.contains("backup") && !error.contains("garbage"), "{error}");
    let (other, _) = self::authority();
    std::fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
    let error = Authority::open_or_create(dir.path()).unwrap_err().to_string();
    assert!(error.contains("not the key of ca.pem"), "{error}");
}

#[test]
fn a_name_that_is_none_is_refused() {
    let (_dir, authority) = authority();
    let life = Duration::from_secs(60);
    assert!(matches!(authority.issue_gateway(&["a b".into()], life, clock::now_us()), Err(PkiError::Name(_))));
    authority.issue_gateway(&["localhost".into(), "::1".into(), "10.0.0.1".into()], life, clock::now_us()).unwrap();
}

#[tokio::test]
async fn a_gateway_leaf_is_renewed_at_two_thirds_of_its_life() {
    let (_dir, authority) = authority();
    let (life, names) = (Duration::from_secs(3), vec!["localhost".to_string()]);
    let leaf = Arc::new(GatewayLeaf::new(authority.issue_gateway(&names, life, clock::now_us()).unwrap()).unwrap());
    let (first, first_end) = (leaf.der(), leaf.not_after());
    let stop = tokio_util::sync::CancellationToken::new();
    let started = std::time::Instant::now();
    let task = tokio::spawn(keep_renewed(leaf.clone(), Arc::new(authority), names, life, stop.clone()));
    while leaf.der() == first {
        assert!(started.elapsed() < Duration::from_secs(10), "never renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() >= Duration::from_secs(2) && leaf.not_after() > first_end);
    stop.cancel();
    task.await.unwrap();
}

#[test]
fn provided_files_are_read_and_broken_ones_named() {
    let (dir, authority) = authority();
    let made = authority.issue_gateway(&["localhost".into()], Duration::from_secs(60), clock::now_us()).unwrap();
    let key = KeyPair::generate().unwrap();
    let (chain, secret) = (dir.path().join("g.pem"), dir.path().join("g.key"));
    std::fs::write(&chain, authority.root().pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let provided = leaf::read_provided(&chain, &secret).unwrap();
    assert!(GatewayLeaf::new(provided).is_err(), "the key belongs to another certificate");
    assert!(GatewayLeaf::new(made).is_ok());
    std::fs::write(&chain, "x").unwrap();
    assert!(leaf::read_provided(&chain, &secret).err().unwrap().to_string().contains("g.pem"));
}

/// What was said in the log.
#[derive(Default)]
struct Said(std::sync::Mutex<String>);

impl tracing::field::Visit for &Said {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!("{field}={value:?} "));
    }
}

impl tracing::Subscriber for Said {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut &*self);
    }

    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn write_provided(chain: &std::path::Path, key: &std::path::Path) -> Vec<u8> {
    let made = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_string()]).unwrap().self_signed(&made).unwrap();
    std::fs::write(chain, certificate.pem()).unwrap();
    std::fs::write(key, made.serialize_pem()).unwrap();
    certificate.der().to_vec()
}

#[tokio::test]
async fn provided_files_are_followed_and_broken_ones_are_said() {
    let said = Arc::new(Said::default());
    let _in_this_test = tracing::subscriber::set_default(said.clone());
    let heard = |text: &str| said.0.lock().unwrap().contains(text);
    let dir = tempfile::tempdir().unwrap();
    let (chain, secret) = (dir.path().join("g.pem"), dir.path().join("g.key"));
    let first = write_provided(&chain, &secret);
    let stop = tokio_util::sync::CancellationToken::new();
    let (leaf, watch) = followed(chain.clone(), secret.clone(), Duration::from_millis(10), stop.clone()).unwrap();
    let task = tokio::spawn(watch);
    std::fs::write(&chain, "-----BEGIN CERTIFICATE-----\ncut off").unwrap();
    let within = std::time::Instant::now();
    while !heard("the old one stays") {
        assert!(within.elapsed() < Duration::from_secs(10), "nobody was told");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(heard("g.pem") && leaf.der() == first);
    let second = write_provided(&chain, &secret);
    while leaf.der() != second {
        assert!(within.elapsed() < Duration::from_secs(10), "never taken over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(heard("took over a new certificate") && first != second);
    stop.cancel();
    task.await.unwrap();
}
