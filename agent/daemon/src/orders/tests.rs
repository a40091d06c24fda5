//! What the desk makes of what comes down: refusals, memory, cancellation, restarts.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use beffroi_schema::down::{CancelOrder, ListOrder, order};
use beffroi_schema::{Event, Field};

use super::answers::Action;
use super::desk::Next;
use super::testing::{AGENT, Desk, MINUTE, TENANT, id, order, scan};
use super::*;
use crate::clock::now_us;
use crate::layout::Layout;
use crate::users::User;

const RULE: &[u8] = b"rule Any { condition: true }";

/// Keeps what it is given; checks that what is accepted is in the book before it is answered.
struct Sink {
    book: std::path::PathBuf,
    events: Mutex<Vec<Event>>,
}

impl Outbox for Sink {
    fn put(&self, event: Event) {
        if event.text(Field::ACTION) == "accepted" {
            let book = fs::read_to_string(&self.book).unwrap();
            assert!(book.contains(&*event.text(Field::ORDER_ID)), "answered before it was stored");
        }
        self.events.lock().unwrap().push(event);
    }

    fn settle(&self) -> bool {
        true
    }
}

struct Rig {
    desk: OrderDesk,
    sink: Arc<Sink>,
    layout: Layout,
}

fn rig(folder: &Path, host: impl FnOnce(&mut Host)) -> Rig {
    let layout = Layout::new(folder);
    layout.prepare(&User::current()).unwrap();
    let sink = Arc::new(Sink { book: layout.orders(), events: Mutex::default() });
    let root = Some(Desk::new(1, 2).root.key_id());
    let mut of = Host { tenant: TENANT.into(), agent: AGENT, root, no_scans: None };
    host(&mut of);
    let desk = OrderDesk::open(&layout, of, Arc::clone(&sink) as Arc<dyn Outbox>);
    Rig { desk, sink, layout }
}

impl Rig {
    fn take(&self, envelope: &[u8]) {
        assert!(matches!(self.desk.take(envelope), Taken::Noted | Taken::Accepted));
    }

    /// The answers since the last look, as `action order reason`.
    fn answers(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.sink.events.lock().unwrap());
        let short = |order: &str| order.get(..2).unwrap_or("-").to_owned();
        let code = |reason: &str| reason.split(':').next().unwrap_or_default().to_owned();
        let line = |event: &Event| {
            let (action, order, reason) = (event.text(Field::ACTION), event.text(Field::ORDER_ID), event.text(Field::REASON));
            format!("{action} {} {}", short(&order), code(&reason)).trim_end().to_owned()
        };
        events.iter().map(line).collect()
    }

    fn bring_rule(&self) {
        fs::create_dir_all(self.layout.blobs()).unwrap();
        let name = hex::encode(beffroi_schema::down::blob_name(RULE));
        fs::write(self.layout.blobs().join(name), RULE).unwrap();
    }

    fn end(&self) -> (u8, Action, String) {
        match self.desk.next() {
            Next::End(order, action, why) => (order.0[0], action, why),
            Next::Run(order, ..) => panic!("{order:?} runs"),
            Next::Stop => panic!("a stop"),
        }
    }

    fn run(&self) -> u8 {
        match self.desk.next() {
            Next::Run(order, texts, _) => {
                assert_eq!(texts[0].bytes(), RULE);
                order.id.0[0]
            }
            Next::End(order, _, why) => panic!("{order} ended: {why}"),
            Next::Stop => panic!("a stop"),
        }
    }

    fn is_untouched(&self) -> bool {
        !self.layout.orders().exists() && self.desk.status().pending.is_empty()
    }
}

fn cancel(seed: u8, target: u8) -> beffroi_schema::down::Order {
    order(seed, order::Action::Cancel(CancelOrder { order_id: vec![target; 16] }))
}

#[test]
fn what_is_forged_altered_foreign_late_or_beyond_the_operators_rights_is_refused_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |_| {});
    let (ours, other) = (Desk::new(1, 2), Desk::new(9, 2));
    let good = scan(1, RULE);
    let changed = |change: fn(&mut beffroi_schema::down::Order)| {
        let mut order = good.clone();
        change(&mut order);
        order
    };
    let mut altered = ours.sign(&good);
    // The body stands before the signature: one bit in the order's own id.
    let place = altered.windows(16).position(|bytes| bytes == [1; 16]).unwrap();
    altered[place] ^= 2;
    let tenant = changed(|order| order.target.as_mut().unwrap().tenant = "justice".into());
    let host = changed(|order| order.target.as_mut().unwrap().agent_ids = vec![vec![8; 16]]);
    let expired = changed(|order| (order.issued, order.expires) = (order.issued - 20 * MINUTE, order.issued));
    let future = changed(|order| (order.issued, order.expires) = (order.issued + 20 * MINUTE, order.expires + 20 * MINUTE));
    let long = changed(|order| order.expires += 8 * 24 * 60 * MINUTE);
    let unknown = changed(|order| order.action = None);
    for (envelope, reason) in [
        (b"garbage".to_vec(), "- malformed"),
        (vec![0xff; beffroi_schema::limits::MAX_SIGNED_BYTES + 1], "- malformed"),
        (other.sign(&good), "01 unknown_operator"),
        (altered, "03 bad_signature"),
        (ours.sign(&tenant), "01 other_tenant"),
        (ours.sign(&host), "01 other_host"),
        (ours.sign(&expired), "01 expired"),
        (ours.sign(&future), "01 issued_in_future"),
        (ours.sign(&long), "01 life_too_long"),
        (ours.sign(&unknown), "01 unknown_action"),
        (ours.sign_as(&good, |grant| grant.tenants = vec!["justice".into()]), "01 operator_tenant"),
        (ours.sign_as(&good, |grant| grant.roles = vec!["audit".into()]), "01 operator_role"),
        (ours.sign_as(&good, |grant| grant.not_after = now_us() - 1), "01 certificate_expired"),
        (ours.sign_as(&good, |grant| grant.not_after += 31 * 24 * 60 * MINUTE), "01 certificate_life"),
        (other.revoke(1, &[&ours.operator]), "- unknown_operator"),
    ] {
        rig.take(&envelope);
        let [answer]: [String; 1] = rig.answers().try_into().unwrap();
        assert!(answer.starts_with(&format!("refused {reason}")), "{answer}, {reason} was expected");
        rig.take(&envelope);
        assert!(rig.answers().is_empty(), "{reason}: answered twice");
    }
    assert!(rig.is_untouched());
    assert_eq!(rig.desk.status().accepted, 0);
    rig.take(&ours.sign(&good));
    assert_eq!(rig.answers(), ["accepted 01"], "the genuine one is still obeyed");
}

#[test]
fn a_host_without_a_root_takes_no_orders() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |host| host.root = None);
    rig.take(&Desk::new(1, 2).sign(&scan(1, RULE)));
    assert_eq!(rig.answers(), ["refused 01 no_root"]);
    assert!(rig.is_untouched());
}

#[test]
fn a_host_that_must_not_scan_says_so_and_still_cancels_and_lists() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |host| host.no_scans = Some("off".into()));
    let operator = Desk::new(1, 2);
    rig.take(&operator.sign(&scan(1, RULE)));
    rig.take(&operator.sign(&cancel(2, 1)));
    assert_eq!(rig.answers(), ["refused 01 no_scanner", "accepted 02", "done 02"]);
}

#[test]
fn an_order_that_comes_twice_is_answered_once_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let envelope = Desk::new(1, 2).sign(&scan(1, RULE));
    {
        let rig = rig(dir.path(), |_| {});
        rig.take(&envelope);
        rig.take(&envelope);
        assert_eq!(rig.answers(), ["accepted 01"]);
    }
    let rig = rig(dir.path(), |_| {});
    rig.take(&envelope);
    assert!(rig.answers().is_empty());
    assert_eq!((rig.desk.status().pending.len(), rig.desk.status().repeated), (1, 1));
}

#[test]
fn a_forgery_cannot_speak_in_the_name_of_an_order_that_was_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |_| {});
    rig.take(&Desk::new(1, 2).sign(&scan(1, RULE)));
    rig.take(&Desk::new(9, 2).sign(&scan(1, RULE)));
    assert_eq!(rig.answers(), ["accepted 01", "refused - unknown_operator"]);
}

#[test]
fn a_scan_runs_when_its_rules_are_there_and_leaves_the_book_when_it_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |_| {});
    rig.take(&Desk::new(1, 2).sign(&scan(1, RULE)));
    assert_eq!(rig.desk.wants(), [hex::encode(beffroi_schema::down::blob_name(RULE))]);
    rig.bring_rule();
    assert!(rig.desk.wants().is_empty());
    assert_eq!(rig.run(), 1);
    assert_eq!(rig.desk.status().pending[0].state, OrderState::Running);
    rig.desk.finish(id(1), Action::Done, "", &Default::default());
    rig.desk.end_running();
    assert_eq!(rig.answers(), ["accepted 01", "done 01"]);
    assert!(rig.desk.status().pending.is_empty());
    assert!(!fs::read_to_string(rig.layout.orders()).unwrap().contains("Alice"), "struck out on the disk");
}

#[test]
fn a_cancellation_wins_before_and_after_its_order_and_ends_a_running_scan() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |_| {});
    let operator = Desk::new(1, 2);
    rig.take(&operator.sign(&cancel(11, 1)));
    rig.take(&operator.sign(&scan(1, RULE)));
    rig.take(&operator.sign(&scan(2, RULE)));
    rig.take(&operator.sign(&cancel(12, 2)));
    assert_eq!(rig.answers(), ["accepted 0b", "done 0b", "accepted 01", "accepted 02", "accepted 0c", "done 0c"]);
    rig.bring_rule();
    for order in [1, 2] {
        assert_eq!(rig.end(), (order, Action::Cancelled, "cancelled by Alice".to_owned()));
        rig.desk.finish(id(order), Action::Cancelled, "", &Default::default());
    }
    rig.take(&operator.sign(&scan(3, RULE)));
    let Next::Run(order, _, flag) = rig.desk.next() else { panic!("it does not run") };
    assert!(order.id == id(3) && !flag.is_set());
    rig.take(&operator.sign(&cancel(13, 3)));
    assert!(flag.is_set());
    assert_eq!(rig.desk.status().pending[0].state, OrderState::Ending);
}

#[test]
fn an_order_that_was_not_finished_goes_on_after_a_restart_and_an_expired_one_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut short = scan(2, RULE);
    short.expires = now_us() + 400_000;
    {
        let rig = rig(dir.path(), |_| {});
        let operator = Desk::new(1, 2);
        rig.take(&operator.sign(&scan(1, RULE)));
        rig.bring_rule();
        assert_eq!(rig.run(), 1);
        rig.take(&operator.sign(&short));
        assert_eq!(rig.answers(), ["accepted 01", "accepted 02"]);
        // Killed here: nothing is finished.
    }
    let rig = rig(dir.path(), |_| {});
    rig.desk.answer_unanswered();
    // The first was known to be answered, the second was not yet: better twice than never.
    assert_eq!(rig.answers(), ["accepted 02"]);
    while now_us() < short.expires {
        std::thread::yield_now();
    }
    assert_eq!(rig.end().1, Action::Expired);
    rig.desk.finish(id(2), Action::Expired, "", &Default::default());
    assert_eq!(rig.run(), 1);
}

#[test]
fn an_order_whose_rules_never_come_expires_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |_| {});
    let mut short = scan(1, RULE);
    short.expires = now_us() + 1_300_000;
    rig.take(&Desk::new(1, 2).sign(&short));
    assert_eq!(rig.end(), (1, Action::Expired, "its rule texts did not arrive in time".to_owned()));
}

#[test]
fn a_list_names_what_is_running_and_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |_| {});
    let operator = Desk::new(1, 2);
    rig.take(&operator.sign(&scan(1, RULE)));
    rig.answers();
    rig.take(&operator.sign(&order(9, order::Action::List(ListOrder {}))));
    let events = rig.sink.events.lock().unwrap().clone();
    let orders = events[1].get(Field::ORDERS).unwrap().to_text().into_owned();
    assert!(orders.contains(&id(1).to_string()) && orders.contains("by Alice"), "{orders}");
    assert_eq!(rig.answers(), ["accepted 09", "listed 09", "done 09"]);
}

#[test]
fn revocations_go_upward_only_and_stop_the_keys_and_what_they_ordered() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |_| {});
    let (alice, bruno) = (Desk::new(1, 2), Desk::new(1, 3));
    rig.take(&alice.sign(&scan(1, RULE)));
    rig.take(&alice.revoke(5, &[&alice.operator]));
    assert_eq!(rig.end().1, Action::Cancelled);
    rig.take(&alice.sign(&scan(2, RULE)));
    assert_eq!(rig.answers(), ["accepted 01", "refused 02 revoked_key"]);
    rig.take(&alice.revoke(4, &[&bruno.operator]));
    rig.take(&bruno.sign(&scan(3, RULE)));
    assert_eq!(rig.answers(), ["accepted 03"], "an older list changes nothing");
    assert_eq!(rig.desk.status().revocation_version, 5);
    // An operator cannot revoke.
    let forged = beffroi_schema::down::Revocation { version: 9, issued: now_us(), key_ids: vec![] };
    let kind = beffroi_schema::down::SignedKind::Revocation;
    let forged = beffroi_schema::down::sign(kind, &forged, &bruno.operator, bruno.certificate(|_| {})).unwrap();
    rig.take(&prost::Message::encode_to_vec(&forged));
    assert_eq!(rig.answers(), ["refused - operator_role"]);
}

#[test]
fn a_host_takes_no_more_orders_than_it_can_remember() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |_| {});
    let operator = Desk::new(1, 2);
    for seed in 1..=9 {
        rig.take(&operator.sign(&scan(seed, RULE)));
    }
    let answers = rig.answers();
    assert_eq!(answers.iter().filter(|answer| answer.starts_with("accepted")).count(), 8);
    assert_eq!(answers[8], "refused 09 too_many_orders");
}

#[test]
fn a_damaged_book_stops_orders_and_a_disk_that_refuses_makes_them_wait() {
    let dir = tempfile::tempdir().unwrap();
    let operator = Desk::new(1, 2);
    {
        let rig = rig(dir.path(), |_| {});
        fs::remove_dir_all(dir.path().join("sensor")).unwrap();
        assert!(matches!(rig.desk.take(&operator.sign(&scan(1, RULE))), Taken::Later(_)));
        assert!(rig.answers().is_empty() && rig.desk.status().pending.is_empty());
    }
    fs::create_dir(dir.path().join("sensor")).unwrap();
    fs::write(dir.path().join("sensor/orders.json"), "{").unwrap();
    let rig = rig(dir.path(), |_| {});
    rig.take(&operator.sign(&scan(1, RULE)));
    assert_eq!(rig.answers(), ["refused - no_record"]);
    assert!(rig.desk.status().problem.contains("orders.json"));
}

#[test]
fn a_stop_leaves_the_running_order_in_the_book() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), |_| {});
    rig.take(&Desk::new(1, 2).sign(&scan(1, RULE)));
    rig.bring_rule();
    let Next::Run(_, _, flag) = rig.desk.next() else { panic!("it does not run") };
    rig.desk.stop();
    assert!(flag.is_set() && rig.desk.is_stopping());
    assert!(matches!(rig.desk.next(), Next::Stop));
    assert_eq!(rig.desk.status().pending.len(), 1);
}
