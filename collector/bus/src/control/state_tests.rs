//! What the fold promises: one winner, no second use, no way around an expiry, a network or a revocation.

use super::*;

const HOUR: i64 = 3_600_000_000;

fn record(change: Change) -> ControlRecord {
    // The writer's clock says 1970: nothing may depend on it.
    ControlRecord { record_id: "r".into(), ts: 0, by: "alice".into(), change }
}

fn token(uses: u32) -> TokenCreated {
    TokenCreated {
        token_id: "t1".into(),
        secret_hash: "h".into(),
        tenant: "interieur".into(),
        uses,
        expires: HOUR,
        cidrs: vec![],
        labels: BTreeMap::from([("site".into(), "paris".into())]),
    }
}

fn host(number: u8) -> AgentEnrolled {
    let key = [number; 32];
    AgentEnrolled {
        agent_id: AgentId::of_public_key(&key),
        public_key: hex::encode(key),
        tenant: "interieur".into(),
        token_id: "t1".into(),
        labels: BTreeMap::from([("site".into(), "made up by the host".into())]),
        host: HostInfo::default(),
        remote: "10.1.2.3:4567".into(),
    }
}

/// A state and the next offset and time.
struct Fold {
    state: ControlState,
    offset: i64,
    now: i64,
}

impl Fold {
    fn with(token: TokenCreated) -> Self {
        let mut fold = Self { state: ControlState::default(), offset: 0, now: 1 };
        assert_eq!(fold.apply(Change::TokenCreated(token)), Verdict::Won);
        fold
    }

    fn apply(&mut self, change: Change) -> Verdict {
        self.offset += 1;
        self.state.apply(Taken { offset: self.offset, timestamp: self.now }, &record(change))
    }

    fn enroll(&mut self, host: AgentEnrolled) -> Verdict {
        self.apply(Change::AgentEnrolled(host))
    }
}

#[test]
fn a_token_serves_as_many_hosts_as_it_has_uses() {
    let mut fold = Fold::with(token(2));
    assert_eq!(fold.enroll(host(1)), Verdict::Won);
    assert_eq!(fold.enroll(host(2)), Verdict::Won);
    assert_eq!(fold.enroll(host(3)), Verdict::Lost(Loss::TokenUsedUp));
    assert_eq!(fold.state.agents().count(), 2);
    assert_eq!(fold.state.token("t1").map(|t| t.used), Some(2));
}

#[test]
fn a_host_that_asks_again_with_the_same_token_wins_again_and_uses_nothing() {
    let mut fold = Fold::with(token(1));
    assert_eq!(fold.enroll(host(1)), Verdict::Won);
    fold.now = 2 * HOUR;
    assert_eq!(fold.enroll(host(1)), Verdict::Won);
    assert_eq!(fold.state.token("t1").map(|t| t.used), Some(1));
}

#[test]
fn expiry_goes_by_the_time_of_the_bus_and_ends_at_the_instant_itself() {
    let mut fold = Fold::with(token(9));
    fold.now = HOUR - 1;
    assert_eq!(fold.enroll(host(1)), Verdict::Won);
    fold.now = HOUR;
    assert_eq!(fold.enroll(host(2)), Verdict::Lost(Loss::TokenExpired));
}

#[test]
fn an_address_outside_the_tokens_networks_loses() {
    let mut fold = Fold::with(TokenCreated { cidrs: vec!["10.1.0.0/16".into(), "2001:db8::/32".into()], ..token(99) });
    let mut from = |number, remote: &str| fold.enroll(AgentEnrolled { remote: remote.into(), ..host(number) });
    assert_eq!(from(1, "10.1.9.9"), Verdict::Won);
    assert_eq!(from(2, "[::ffff:10.1.9.9]:80"), Verdict::Won);
    assert_eq!(from(3, "[2001:db8::1]:80"), Verdict::Won);
    for (number, bad) in [(4, "10.2.0.1"), (5, "2001:db9::1"), (6, "localhost"), (7, "")] {
        assert!(matches!(from(number, bad), Verdict::Lost(Loss::NetworkNotAllowed(_))), "{bad}");
    }
}

#[test]
fn networks_that_cannot_be_read_allow_nothing() {
    let mut fold = Fold::with(TokenCreated { cidrs: vec!["10.0.0.0/99".into(), "any".into()], ..token(9) });
    assert!(matches!(fold.enroll(host(1)), Verdict::Lost(Loss::NetworkNotAllowed(_))));
}

#[test]
fn a_revoked_host_can_neither_enrol_nor_renew_even_if_it_was_never_seen() {
    let mut fold = Fold::with(token(9));
    let revoke = |number| Change::AgentRevoked { agent_id: host(number).agent_id, reason: "lost".into() };
    let renew = |number| Change::CertificateIssued { agent_id: host(number).agent_id, serial: "1".into(), not_after: 5 };
    assert_eq!(fold.enroll(host(1)), Verdict::Won);
    assert_eq!(fold.apply(renew(1)), Verdict::Won);
    assert_eq!(fold.apply(revoke(1)), Verdict::Won);
    assert_eq!(fold.apply(revoke(1)), Verdict::Won);
    assert_eq!(fold.apply(renew(1)), Verdict::Lost(Loss::AgentRevoked));
    assert_eq!(fold.enroll(host(1)), Verdict::Lost(Loss::AgentRevoked));
    assert_eq!(fold.apply(revoke(2)), Verdict::Won);
    assert_eq!(fold.enroll(host(2)), Verdict::Lost(Loss::AgentRevoked));
    assert_eq!(fold.apply(renew(3)), Verdict::Lost(Loss::AgentUnknown));
    assert_eq!(fold.state.revocation(&host(1).agent_id).map(|r| r.reason.as_str()), Some("lost"));
}

#[test]
fn a_revoked_token_and_an_unknown_one_serve_nobody() {
    let mut fold = Fold::with(token(9));
    assert_eq!(fold.apply(Change::TokenRevoked { token_id: "t1".into() }), Verdict::Won);
    assert_eq!(fold.enroll(host(1)), Verdict::Lost(Loss::TokenRevoked));
    assert_eq!(fold.enroll(AgentEnrolled { token_id: "t2".into(), ..host(1) }), Verdict::Lost(Loss::TokenUnknown));
    assert_eq!(fold.apply(Change::TokenRevoked { token_id: "t2".into() }), Verdict::Lost(Loss::TokenUnknown));
}

#[test]
fn tenant_and_labels_come_from_the_token_and_a_host_cannot_change_tenant() {
    let mut fold = Fold::with(token(9));
    assert_eq!(fold.enroll(AgentEnrolled { tenant: "defense".into(), ..host(1) }), Verdict::Lost(Loss::WrongTenant));
    assert_eq!(fold.enroll(host(1)), Verdict::Won);
    let agent = fold.state.agent(&host(1).agent_id).expect("enrolled");
    assert_eq!(agent.labels["site"], "paris");
    let other = TokenCreated { token_id: "t2".into(), tenant: "defense".into(), ..token(9) };
    assert_eq!(fold.apply(Change::TokenCreated(other)), Verdict::Won);
    let moved = AgentEnrolled { tenant: "defense".into(), token_id: "t2".into(), ..host(1) };
    assert_eq!(fold.enroll(moved), Verdict::Lost(Loss::OtherTenant));
}

#[test]
fn a_foreign_key_loses() {
    let mut fold = Fold::with(token(9));
    for public_key in [hex::encode([9; 32]), "zz".into(), String::new()] {
        assert_eq!(fold.enroll(AgentEnrolled { public_key, ..host(1) }), Verdict::Lost(Loss::WrongKey));
    }
}

#[test]
fn reading_the_same_records_twice_changes_nothing() {
    let mut fold = Fold::with(token(2));
    let changes = [
        Change::AgentEnrolled(host(1)),
        Change::CertificateIssued { agent_id: host(1).agent_id, serial: "7".into(), not_after: 9 },
        Change::AgentRevoked { agent_id: host(2).agent_id, reason: "x".into() },
        Change::TokenRevoked { token_id: "t1".into() },
    ];
    for change in changes.clone() {
        fold.apply(change);
    }
    let before = fold.state.clone();
    fold.offset = 1;
    for change in changes {
        assert_eq!(fold.apply(change), Verdict::Ignored);
    }
    assert_eq!(fold.state, before);
}

#[test]
fn the_same_token_twice_is_one_and_another_of_its_name_loses() {
    let mut fold = Fold::with(token(1));
    fold.enroll(host(1));
    assert_eq!(fold.apply(Change::TokenCreated(token(1))), Verdict::Won);
    assert_eq!(fold.apply(Change::TokenCreated(token(50))), Verdict::Lost(Loss::TokenTaken));
    assert_eq!(fold.enroll(host(2)), Verdict::Lost(Loss::TokenUsedUp));
}

#[test]
fn a_kind_of_a_newer_version_is_ignored_and_an_older_certificate_does_not_replace_a_newer_one() {
    let mut fold = Fold::with(token(1));
    fold.enroll(host(1));
    assert_eq!(fold.apply(Change::Unknown), Verdict::Ignored);
    for (serial, not_after) in [("1", 10), ("2", 30), ("3", 20)] {
        let change = Change::CertificateIssued { agent_id: host(1).agent_id, serial: serial.into(), not_after };
        assert_eq!(fold.apply(change), Verdict::Won);
    }
    let agent = fold.state.agent(&host(1).agent_id).expect("enrolled");
    assert_eq!(agent.certificate, Some(Certificate { serial: "2".into(), not_after: 30 }));
}
