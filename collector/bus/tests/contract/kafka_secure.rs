//! TLS and SCRAM towards a real broker: what fits works, and what does not fit is said with the option that mends it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use beffroi_bus::testing::{KafkaFixture, SASL_PASSWORD, SASL_USER};
use beffroi_bus::{Bus, BusOptions, KafkaOptions, SaslMechanism, SaslOptions, TlsOptions, Topic};

use crate::certificates::{Authority, EXPIRED, GOOD, Leaf, listeners};
use crate::harness::{commit_all, publish_numbers, read, values};

/// Longest wait for the reason of a refusal: a few tries.
const REASON_WAIT: Duration = Duration::from_secs(20);
const WRONG_PASSWORD: &str = "no-such-password";

/// A broker with TLS, and files of a client that fits it.
struct Place {
    fixture: KafkaFixture,
    clients: Authority,
    folder: tempfile::TempDir,
    ca: PathBuf,
}

impl Place {
    /// `None`, said on stderr, where there is no Kafka.
    async fn new() -> Option<Self> {
        let (brokers, clients) = (Authority::new("brokers"), Authority::new("clients"));
        let certificates = listeners(&brokers, &clients);
        let started = tokio::task::spawn_blocking(|| KafkaFixture::start_secure(certificates)).await.expect("fixture");
        let fixture = started.map_err(|absent| eprintln!("{absent}")).ok()?;
        let folder = tempfile::tempdir().expect("folder");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, brokers.pem()).expect("write");
        Some(Self { fixture, clients, folder, ca })
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    }

    /// TLS that trusts the broker and shows this certificate.
    fn tls(&self, name: &str, leaf: Option<&Leaf>) -> TlsOptions {
        TlsOptions {
            ca: Some(self.ca.clone()),
            cert: leaf.map(|leaf| self.write(&format!("{name}.pem"), &leaf.certificate)),
            key: leaf.map(|leaf| self.write(&format!("{name}.key"), &leaf.key)),
        }
    }

    fn sasl(&self, password: &str) -> SaslOptions {
        let password_file = self.write("password", &format!("{password}\n"));
        SaslOptions { mechanism: SaslMechanism::ScramSha512, username: SASL_USER.into(), password_file }
    }

    fn options(&self, broker: String, tls: Option<TlsOptions>, sasl: Option<SaslOptions>) -> BusOptions {
        BusOptions::Kafka(KafkaOptions { brokers: vec![broker], tls, sasl, ..self.fixture.options("secure.") })
    }

    /// What is wrong with what the bus says of a broker that it cannot use.
    async fn refused(&self, what: &str, options: BusOptions, words: &[&str]) -> Option<String> {
        let bus = Bus::open(options).await.unwrap_or_else(|error| panic!("{what}: opens and keeps trying: {error}"));
        let begun = Instant::now();
        // The first word may be "no answer yet": the reason comes with the next try.
        let wrong = loop {
            let error = bus.check().await.expect_err(what);
            assert!(error.is_retryable(), "{what}: {error}");
            let wrong = unfit(what, &error.to_string(), words);
            if wrong.is_none() || begun.elapsed() > REASON_WAIT {
                break wrong;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        bus.close().await;
        wrong
    }
}

/// Publishes and reads as every role does.
async fn works(options: BusOptions, first: u32) {
    let bus = Bus::open(options).await.expect("opens");
    bus.check().await.expect("works");
    publish_numbers(&bus, Topic::Events, "key", first..first + 5).await;
    let mut consumer = bus.subscribe(Topic::Events, "secure").await.expect("subscribes");
    let records = read(&mut consumer, 5).await;
    let expected: Vec<String> = (first..first + 5).map(|number| number.to_string()).collect();
    assert_eq!(values(&records), expected);
    commit_all(&mut consumer, &records, "").await;
    drop(consumer);
    bus.close().await;
}

/// What is missing in what was said, or told too much.
fn unfit(what: &str, said: &str, words: &[&str]) -> Option<String> {
    let absent: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    let told = [SASL_PASSWORD, WRONG_PASSWORD].iter().any(|password| said.contains(password));
    (!absent.is_empty() || told).then(|| format!("{what}: {absent:?} is absent, or a password is told: {said}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_scram_work_and_what_does_not_fit_is_said_with_the_option_that_mends_it() {
    let Some(place) = Place::new().await else { return };
    let good = place.clients.leaf("beffroi", GOOD);
    let tls = || place.tls("good", Some(&good));
    works(place.options(place.fixture.tls_broker(), Some(tls()), None), 0).await;
    works(place.options(place.fixture.scram_broker(), Some(place.tls("none", None)), Some(place.sasl(SASL_PASSWORD))), 10).await;

    let stranger = place.write("stranger.pem", Authority::new("somebody else").pem());
    let foreign = TlsOptions { ca: Some(stranger), ..tls() };
    let expired = place.tls("expired", Some(&place.clients.leaf("beffroi", EXPIRED)));
    let unknown = place.tls("unknown", Some(&Authority::new("nobody").leaf("beffroi", GOOD)));
    let (tls_port, plain_port) = (place.fixture.tls_broker(), place.fixture.broker());
    let other_name = place.fixture.tls_broker().replace("localhost", "127.0.0.1");
    let impostor = place.options(place.fixture.scram_broker(), Some(place.tls("none", None)), Some(place.sasl(WRONG_PASSWORD)));
    let cases: [(&str, BusOptions, &[&str]); 9] = [
        ("an authority that did not sign", place.options(tls_port.clone(), Some(foreign), None), &["bus.tls.ca"]),
        (
            "an expired broker",
            place.options(place.fixture.unfit_broker(), Some(tls()), None),
            &["has expired", "openssl s_client"],
        ),
        ("an expired client", place.options(tls_port.clone(), Some(expired), None), &["bus.tls.cert"]),
        ("an unknown client", place.options(tls_port.clone(), Some(unknown), None), &["bus.tls.cert"]),
        ("no client certificate", place.options(tls_port.clone(), Some(place.tls("none", None)), None), &["bus.tls.cert"]),
        ("plain to the TLS port", place.options(tls_port, None, None), &["add [bus.tls]"]),
        ("TLS to the plain port", place.options(plain_port, Some(tls()), None), &["no TLS at this port"]),
        ("a wrong password", impostor, &["bus.sasl", "password_file"]),
        ("another name", place.options(other_name, Some(tls()), None), &["another name than bus.brokers has"]),
    ];
    let mut wrong = Vec::new();
    for (what, options, words) in cases {
        wrong.extend(place.refused(what, options, words).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    tokio::task::spawn_blocking(move || drop(place)).await.expect("the broker ends");
}
