//! What a host accepts from above and what it refuses, one test for each reason; the frozen samples; arbitrary bytes.

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::ids::AgentId;
use crate::limits::{MAX_OPERATOR_CERTIFICATE_US, MAX_ORDER_LIFE_US};

const NOW: i64 = 1_795_305_600_000_000;
const MINUTE: i64 = 60 * 1_000_000;
const DAY: i64 = 24 * 60 * MINUTE;
const AGENT: AgentId = AgentId([7; 16]);

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_ed25519(SigningKey::from_bytes(&[seed; 32]))
}

/// A root with its certificate.
struct Root {
    key: OperatorKey,
    certificate: Vec<u8>,
}

impl Root {
    fn new(key: OperatorKey) -> Self {
        let certificate = root_certificate(&key, "Racine", NOW - DAY, NOW + 3650 * DAY).unwrap().encode_to_vec();
        Self { key, certificate }
    }

    fn id(&self) -> KeyId {
        self.key.key_id()
    }

    fn certify(&self, operator: &OperatorKey, change: impl FnOnce(&mut Grant)) -> Vec<u8> {
        let mut grant = Grant {
            name: "Alice".into(),
            tenants: vec!["interieur".into()],
            roles: vec![ROLE_SCAN.into()],
            not_before: NOW - DAY,
            not_after: NOW + 20 * DAY,
            version: 1,
        };
        change(&mut grant);
        certify(&self.key, self.certificate.clone(), &operator.public_key(), grant).unwrap().encode_to_vec()
    }
}

fn scan() -> ScanOrder {
    ScanOrder { rules_sha256: vec![vec![3; 32]], paths: vec![b"/srv".to_vec()], recursive: true, ..Default::default() }
}

fn scan_order() -> Order {
    Order {
        order_id: vec![1; 16],
        target: Some(Target { tenant: "interieur".into(), agent_ids: vec![AGENT.0.to_vec()], whole_tenant: false }),
        issued: NOW - MINUTE,
        expires: NOW + 14 * MINUTE,
        ticket: "CASE-7".into(),
        action: Some(order::Action::Scan(scan())),
        ..Default::default()
    }
}

fn operator_order(root: &Root, operator: &OperatorKey, change: impl FnOnce(&mut Grant)) -> Signed {
    sign(SignedKind::Order, &scan_order(), operator, root.certify(operator, change)).unwrap()
}

fn verify(signed: &Signed, root: &Root) -> Result<Verified, SignedError> {
    let signed = parse(&signed.encode_to_vec()).unwrap();
    verify_chain(&signed, SignedKind::Order, &root.id(), NOW, |_| false)
}

/// Codes of the refusals, which is what counters and people go by.
fn code(result: Result<Verified, SignedError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "accepted")
}

#[test]
fn an_order_under_the_pinned_root_is_accepted_with_every_mix_of_algorithms() {
    for root in [Root::new(key(1)), Root::new(OperatorKey::generate_p256().unwrap())] {
        for operator in [key(2), OperatorKey::generate_p256().unwrap()] {
            let verified = verify(&operator_order(&root, &operator, |_| {}), &root).unwrap();
            assert_eq!((verified.operator.as_str(), verified.key_id), ("Alice", operator.key_id()));
            assert_eq!(rules_of_order(&scan_order(), &verified, "interieur", AGENT, NOW), Ok(()));
        }
    }
}

#[test]
fn an_altered_body_kind_or_threshold_and_a_foreign_signature_are_refused() {
    let (root, operator) = (Root::new(key(1)), key(2));
    let good = operator_order(&root, &operator, |_| {});
    let altered = |change: fn(&mut Signed)| {
        let mut signed = good.clone();
        change(&mut signed);
        code(verify(&signed, &root))
    };
    assert_eq!(altered(|signed| signed.body.push(0)), "bad_signature");
    assert_eq!(altered(|signed| signed.threshold = 0), "bad_signature");
    assert_eq!(altered(|signed| signed.signatures[0].signature[0] ^= 1), "bad_signature");
    assert_eq!(altered(|signed| signed.signatures[0].algorithm = ALGORITHM_P256), "bad_signature");
    assert_eq!(altered(|signed| signed.kind = SignedKind::Policy as u32), "wrong_kind");
    assert_eq!(altered(|signed| signed.signatures.clear()), "unsigned");
    assert_eq!(altered(|signed| signed.signatures[0].key_id[0] ^= 1), "malformed");
    // A signature over the same bytes as another kind does not hold for this kind.
    let mut policy = sign(SignedKind::Policy, &scan_order(), &operator, root.certify(&operator, |_| {})).unwrap();
    policy.kind = SignedKind::Order as u32;
    assert_eq!(code(verify(&policy, &root)), "bad_signature");
}

#[test]
fn a_key_that_the_pinned_root_did_not_certify_is_an_unknown_operator() {
    let (root, operator, other) = (Root::new(key(1)), key(2), Root::new(key(9)));
    assert_eq!(code(verify(&operator_order(&other, &operator, |_| {}), &root)), "unknown_operator", "another root");
    let self_made = sign(SignedKind::Order, &scan_order(), &other.key, other.certificate.clone()).unwrap();
    assert_eq!(code(verify(&self_made, &root)), "unknown_operator", "a root of its own");
    // The other root's signature under a certificate that claims to be by the pinned one.
    let mut claimed = parse(&other.certify(&operator, |_| {})).unwrap();
    claimed.signatures[0].key_id = root.id().0.to_vec();
    claimed.signatures[0].certificate = root.certificate.clone();
    let forged = sign(SignedKind::Order, &scan_order(), &operator, claimed.encode_to_vec()).unwrap();
    assert_eq!(code(verify(&forged, &root)), "bad_signature");
    // An operator cannot certify another key.
    let chained = certify(
        &operator,
        root.certify(&operator, |_| {}),
        &other.key.public_key(),
        Grant {
            name: "Mallory".into(),
            tenants: vec![EVERY_TENANT.into()],
            roles: vec![ROLE_SCAN.into()],
            not_before: NOW - DAY,
            not_after: NOW + DAY,
            version: 1,
        },
    );
    let chained = sign(SignedKind::Order, &scan_order(), &other.key, chained.unwrap().encode_to_vec()).unwrap();
    assert_eq!(code(verify(&chained, &root)), "unknown_operator");
}

#[test]
fn a_root_certificate_with_another_key_under_the_pinned_id_is_refused() {
    let (root, other, operator) = (Root::new(key(1)), Root::new(key(9)), key(2));
    let mut swapped = parse(&root.certify(&operator, |_| {})).unwrap();
    swapped.signatures[0].certificate = other.certificate.clone();
    let order = sign(SignedKind::Order, &scan_order(), &operator, swapped.encode_to_vec()).unwrap();
    assert_eq!(code(verify(&order, &root)), "unknown_operator");
}

#[test]
fn certificates_are_good_in_their_time_only_and_for_thirty_days_at_most() {
    let (root, operator) = (Root::new(key(1)), key(2));
    let with = |not_before: i64, not_after: i64| {
        let order = operator_order(&root, &operator, |grant| (grant.not_before, grant.not_after) = (not_before, not_after));
        code(verify(&order, &root))
    };
    assert_eq!(with(NOW - DAY, NOW), "certificate_expired");
    assert_eq!(with(NOW + 1, NOW + DAY), "certificate_not_yet");
    assert_eq!(with(NOW - 1, NOW - 1 + MAX_OPERATOR_CERTIFICATE_US), "accepted");
    assert_eq!(with(NOW - 1, NOW + MAX_OPERATOR_CERTIFICATE_US), "certificate_life");
    assert_eq!(with(i64::MIN, i64::MAX), "certificate_life");
    assert_eq!(with(NOW + DAY, NOW - DAY), "bad_certificate");
    let old = root_certificate(&root.key, "Racine", NOW - 9 * DAY, NOW - DAY).unwrap().encode_to_vec();
    let old = Root { key: key(1), certificate: old };
    assert_eq!(code(verify(&operator_order(&old, &operator, |_| {}), &old)), "certificate_expired", "the root's own");
}

#[test]
fn a_revoked_operator_and_a_revoked_root_are_refused() {
    let (root, operator) = (Root::new(key(1)), key(2));
    let order = operator_order(&root, &operator, |_| {});
    for revoked in [operator.key_id(), root.id()] {
        let result = verify_chain(&order, SignedKind::Order, &root.id(), NOW, |key| *key == revoked);
        assert_eq!(result, Err(SignedError::Revoked(revoked)));
    }
}

#[test]
fn a_threshold_counts_distinct_valid_keys_and_leaves_only_what_all_of_them_may() {
    let (root, alice, bruno) = (Root::new(key(1)), key(2), key(3));
    let mut order = Signed { threshold: 2, ..operator_order(&root, &alice, |_| {}) };
    order.signatures.clear();
    add_signature(&mut order, &alice.public_key(), root.certify(&alice, |_| {}), |digest| alice.sign(digest)).unwrap();
    assert_eq!(verify(&order, &root), Err(SignedError::Threshold { needed: 2, valid: 1 }));
    let twice = add_signature(&mut order, &alice.public_key(), Vec::new(), |digest| alice.sign(digest));
    assert!(matches!(twice, Err(KeyError::Full(_))));
    order.signatures.push(order.signatures[0].clone());
    assert_eq!(code(verify(&order, &root)), "too_few_signatures", "the same key twice");
    order.signatures.pop();
    let bruno_is = root.certify(&bruno, |grant| {
        grant.name = "Bruno".into();
        grant.tenants = vec![EVERY_TENANT.into()];
        grant.roles = vec!["audit".into(), ROLE_SCAN.into()];
    });
    add_signature(&mut order, &bruno.public_key(), bruno_is, |digest| bruno.sign(digest)).unwrap();
    let verified = verify(&order, &root).unwrap();
    assert_eq!((verified.operator.as_str(), verified.keys), ("Alice, Bruno", vec![alice.key_id(), bruno.key_id()]));
    assert_eq!((verified.tenants, verified.roles), (vec!["interieur".to_owned()], vec![ROLE_SCAN.to_owned()]));
}

#[test]
fn the_root_signs_revocations_and_no_orders_and_no_operator_becomes_root() {
    let (root, operator) = (Root::new(key(1)), key(2));
    let revocation = Revocation { version: 1, issued: NOW, key_ids: vec![operator.key_id().0.to_vec()] };
    let by_root = sign(SignedKind::Revocation, &revocation, &root.key, root.certificate.clone()).unwrap();
    let verified = verify_chain(&by_root, SignedKind::Revocation, &root.id(), NOW, |_| false).unwrap();
    assert!(verified.has_role(ROLE_ROOT));
    let order = sign(SignedKind::Order, &scan_order(), &root.key, root.certificate.clone()).unwrap();
    let by = verify(&order, &root).unwrap();
    assert_eq!(rules_of_order(&scan_order(), &by, "interieur", AGENT, NOW).unwrap_err().code(), "operator_role");
    let order = operator_order(&root, &operator, |grant| grant.roles.push(ROLE_ROOT.into()));
    assert_eq!(code(verify(&order, &root)), "bad_certificate");
}

fn refusal(change: impl FnOnce(&mut Order)) -> &'static str {
    refusal_by(|_| {}, change)
}

fn refusal_by(grant: impl FnOnce(&mut Grant), change: impl FnOnce(&mut Order)) -> &'static str {
    let (root, operator) = (Root::new(key(1)), key(2));
    let mut order = scan_order();
    change(&mut order);
    let signed = sign(SignedKind::Order, &order, &operator, root.certify(&operator, grant)).unwrap();
    let by = verify(&signed, &root).unwrap();
    rules_of_order(&order, &by, "interieur", AGENT, NOW).map_or_else(|refusal| refusal.code(), |()| "accepted")
}

#[test]
fn an_order_is_for_its_tenant_and_hosts_and_for_operators_of_them() {
    let target = |order: &mut Order, change: fn(&mut Target)| change(order.target.as_mut().unwrap());
    assert_eq!(refusal(|order| target(order, |to| to.tenant = "justice".into())), "other_tenant");
    assert_eq!(refusal(|order| target(order, |to| to.agent_ids = vec![vec![8; 16], vec![7; 15], vec![]])), "other_host");
    assert_eq!(refusal(|order| target(order, |to| to.agent_ids.clear())), "other_host", "nobody is not everybody");
    assert_eq!(
        refusal(|order| target(order, |to| (to.agent_ids, to.whole_tenant) = (vec![], true))),
        "accepted",
        "the whole tenant"
    );
    assert_eq!(refusal_by(|grant| grant.tenants = vec!["justice".into()], |_| {}), "operator_tenant");
    assert_eq!(refusal_by(|grant| grant.tenants = vec![], |_| {}), "operator_tenant");
    assert_eq!(refusal_by(|grant| grant.tenants = vec!["*".into()], |_| {}), "accepted");
    assert_eq!(refusal_by(|grant| grant.roles = vec!["audit".into()], |_| {}), "operator_role");
}

#[test]
fn an_order_is_good_between_issue_and_expiry_for_seven_days_at_most() {
    let at = |issued: i64, expires: i64| refusal(|order| (order.issued, order.expires) = (issued, expires));
    assert_eq!(at(NOW + 5 * MINUTE, NOW + 6 * MINUTE), "accepted");
    assert_eq!(at(NOW + 5 * MINUTE + 1, NOW + 6 * MINUTE), "issued_in_future");
    assert_eq!(at(NOW - MINUTE, NOW), "expired");
    assert_eq!(at(NOW - 1, NOW - 1 + MAX_ORDER_LIFE_US), "accepted");
    assert_eq!(at(NOW - 1, NOW + MAX_ORDER_LIFE_US), "life_too_long");
    assert_eq!(at(i64::MIN, i64::MAX), "life_too_long");
    assert_eq!(at(NOW, NOW), "incomplete");
}

#[test]
fn an_order_without_an_action_or_beyond_a_limit_is_refused() {
    let scan_with = |change: fn(&mut ScanOrder)| {
        let mut asked = scan();
        change(&mut asked);
        refusal(|order| order.action = Some(order::Action::Scan(asked)))
    };
    assert_eq!(refusal(|order| order.action = None), "unknown_action");
    assert_eq!(refusal(|order| order.order_id = vec![1; 15]), "incomplete");
    assert_eq!(refusal(|order| order.target = None), "incomplete");
    assert_eq!(refusal(|order| order.note = "n".repeat(1025)), "limit");
    assert_eq!(scan_with(|scan| scan.paths.clear()), "incomplete");
    assert_eq!(scan_with(|scan| scan.rules_sha256.clear()), "incomplete");
    assert_eq!(scan_with(|scan| scan.rules_sha256 = vec![vec![1; 32]; 65]), "limit");
    assert_eq!(scan_with(|scan| scan.rules_sha256[0].push(1)), "limit");
    assert_eq!(scan_with(|scan| scan.paths = vec![b"/a".to_vec(); 65]), "limit");
    assert_eq!(scan_with(|scan| scan.paths = vec![b"relative".to_vec()]), "limit");
    assert_eq!(scan_with(|scan| scan.paths = vec![b"/a\0b".to_vec()]), "limit");
    assert_eq!(scan_with(|scan| scan.archive_depth = 5), "limit");
    let cancel = |id: Vec<u8>| refusal(|order| order.action = Some(order::Action::Cancel(CancelOrder { order_id: id })));
    assert_eq!((cancel(vec![1; 16]), cancel(vec![])), ("accepted", "incomplete"));
    assert_eq!(refusal(|order| order.action = Some(order::Action::List(ListOrder {}))), "accepted");
}

#[test]
fn envelopes_and_certificates_beyond_the_limits_are_not_read() {
    let (root, operator) = (Root::new(key(1)), key(2));
    let mut signed = operator_order(&root, &operator, |_| {});
    signed.signatures = vec![signed.signatures[0].clone(); MAX_SIGNATURES + 1];
    assert_eq!(parse(&signed.encode_to_vec()).unwrap_err().code(), "malformed");
    assert_eq!(parse(&vec![0; MAX_SIGNED_BYTES + 1]).unwrap_err().code(), "malformed");
    let many = operator_order(&root, &operator, |grant| grant.tenants = vec!["t".into(); 129]);
    assert_eq!(code(verify(&many, &root)), "bad_certificate");
    let mut large = operator_order(&root, &operator, |_| {});
    large.signatures[0].certificate = vec![0; crate::limits::MAX_CERTIFICATE_BYTES + 1];
    assert_eq!(code(verify(&large, &root)), "malformed");
}

// The frozen samples: made once with the keys of seeds 1 (root) and 2 (operator), and a P-256 operator whose key is gone.

fn sample_path(name: &str) -> String {
    format!("{}/tests/fixtures/v1/{name}.bin", env!("CARGO_MANIFEST_DIR"))
}

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(sample_path(name)).expect("the frozen sample is part of the tree")
}

fn verified_sample<M: Message + Default>(name: &str, kind: SignedKind) -> (M, Verified) {
    let signed = parse(&sample(name)).unwrap();
    let verified = verify_chain(&signed, kind, &key(1).key_id(), NOW, |_| false).unwrap();
    (read_body(&signed, kind).unwrap(), verified)
}

#[test]
fn the_frozen_orders_of_version_1_still_load_verify_and_mean_the_same() {
    let (order, by) = verified_sample::<Order>("order-scan", SignedKind::Order);
    assert_eq!((order.clone(), by.operator.as_str()), (scan_order(), "Alice"));
    assert_eq!(rules_of_order(&order, &by, "interieur", AGENT, NOW), Ok(()));
    let (order, _) = verified_sample::<Order>("order-list", SignedKind::Order);
    assert_eq!(order.action, Some(order::Action::List(ListOrder {})));
    let (order, by) = verified_sample::<Order>("order-cancel", SignedKind::Order);
    assert_eq!(order.action, Some(order::Action::Cancel(CancelOrder { order_id: vec![1; 16] })));
    assert_eq!(by.operator, "Alice", "signed with a P-256 key");
}

#[test]
fn the_other_frozen_samples_of_version_1_still_load() {
    let (policy, _) = verified_sample::<Policy>("policy", SignedKind::Policy);
    assert_eq!((policy.version, policy.settings["scan.enabled"].as_str()), (4, "false"));
    let (pack, _) = verified_sample::<RulePack>("rule-pack", SignedKind::RulePack);
    assert_eq!(pack.rules_sha256, [vec![3; 32]]);
    let (revocation, by) = verified_sample::<Revocation>("revocation", SignedKind::Revocation);
    assert!(revocation.key_ids == [vec![5; 32]] && by.has_role(ROLE_ROOT));
    let (root, public) = read_certificate(&sample("root")).unwrap();
    assert_eq!((root.name.as_str(), public.key_id()), ("Racine", key(1).key_id()));
    let (operator, public) = read_certificate(&sample("operator")).unwrap();
    assert_eq!((operator.roles, public.key_id()), (vec![ROLE_SCAN.to_owned()], key(2).key_id()));
}

/// Writes the frozen samples; run by hand when a new contract version is added (`--ignored`), never to change an old one.
#[test]
#[ignore = "writes fixtures"]
fn write_the_frozen_samples() {
    let (root, alice, card) = (Root::new(key(1)), key(2), OperatorKey::generate_p256().unwrap());
    let certificate = root.certify(&alice, |_| {});
    let with = |action| Order { action: Some(action), ..scan_order() };
    let list = with(order::Action::List(ListOrder {}));
    let cancel = with(order::Action::Cancel(CancelOrder { order_id: vec![1; 16] }));
    let policy = Policy {
        tenant: "interieur".into(),
        version: 4,
        issued: NOW,
        expires: NOW + DAY,
        settings: [("scan.enabled".to_owned(), "false".to_owned())].into(),
    };
    let pack =
        RulePack { tenant: "interieur".into(), version: 2, issued: NOW, expires: NOW + DAY, rules_sha256: vec![vec![3; 32]] };
    let revocation = Revocation { version: 9, issued: NOW, key_ids: vec![vec![5; 32]] };
    let by_alice = |kind, body: &dyn Fn(SignedKind, Vec<u8>) -> Signed| body(kind, certificate.clone()).encode_to_vec();
    let samples = [
        ("root", root.certificate.clone()),
        ("operator", certificate.clone()),
        ("order-scan", by_alice(SignedKind::Order, &|kind, own| sign(kind, &scan_order(), &alice, own).unwrap())),
        ("order-list", by_alice(SignedKind::Order, &|kind, own| sign(kind, &list, &alice, own).unwrap())),
        ("order-cancel", sign(SignedKind::Order, &cancel, &card, root.certify(&card, |_| {})).unwrap().encode_to_vec()),
        ("policy", by_alice(SignedKind::Policy, &|kind, own| sign(kind, &policy, &alice, own).unwrap())),
        ("rule-pack", by_alice(SignedKind::RulePack, &|kind, own| sign(kind, &pack, &alice, own).unwrap())),
        ("revocation", sign(SignedKind::Revocation, &revocation, &root.key, root.certificate.clone()).unwrap().encode_to_vec()),
    ];
    for (name, bytes) in samples {
        let path = sample_path(name);
        assert!(!std::path::Path::new(&path).exists(), "a frozen sample is never rewritten");
        std::fs::write(path, bytes).unwrap();
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0u32..7) {
        let root = key(1).key_id();
        let read = |signed: &Signed| {
            for kind in [SignedKind::Order, SignedKind::Revocation, SignedKind::OperatorCertificate] {
                let verified = verify_chain(signed, kind, &root, NOW, |_| false);
                prop_assert!(verified.is_err());
            }
            Ok(())
        };
        if let Ok(signed) = parse(&bytes) { read(&signed)?; }
        let _ = read_certificate(&bytes);
        let _ = (OperatorKey::from_pkcs8_der(&bytes), PublicKey::from_spki(&bytes));
        // Garbage at each level of an envelope that is otherwise whole.
        let signature = crate::proto::Signature {
            key_id: root.0.to_vec(), algorithm: kind, signature: bytes.clone(), certificate: bytes.clone(),
        };
        read(&Signed { kind, body: bytes.clone(), signatures: vec![signature.clone()], threshold: kind })?;
        let inner = Signed { kind: 1, body: bytes, signatures: vec![signature.clone()], threshold: 1 };
        let outer = crate::proto::Signature { certificate: inner.encode_to_vec(), ..signature };
        read(&Signed { kind: 2, body: vec![], signatures: vec![outer], threshold: 1 })?;
    }

    #[test]
    fn one_changed_byte_anywhere_never_makes_another_order(place in any::<prop::sample::Index>(), flip in 1u8..) {
        let root = Root::new(key(1));
        let mut bytes = operator_order(&root, &key(2), |_| {}).encode_to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(signed) = parse(&bytes)
            && verify_chain(&signed, SignedKind::Order, &root.id(), NOW, |_| false).is_ok()
        {
            // What is not signed (unknown fields) may change; what is carried out may not.
            prop_assert_eq!(read_body::<Order>(&signed, SignedKind::Order).unwrap(), scan_order());
        }
    }

    #[test]
    fn no_order_makes_the_decision_panic(issued in any::<i64>(), expires in any::<i64>(), now in any::<i64>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let by = Verified { operator: "a".into(), key_id: KeyId([1; 32]), keys: vec![], tenants: vec!["*".into()], roles: vec![ROLE_SCAN.into()], not_after: now };
        let _ = rules_of_order(&Order { issued, expires, ..scan_order() }, &by, "interieur", AGENT, now);
        if let Ok(order) = Order::decode(body.as_slice()) {
            let _ = rules_of_order(&order, &by, "interieur", AGENT, now);
        }
    }
}
