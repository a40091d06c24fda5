//! Who sits at the console. A session is a random value in a cookie; this table knows only its hash, in memory: a restart
//! signs everybody out.
//!
//! Bounded: [`MAX_SESSIONS`] in all and [`MAX_OF_ONE`] of one person; whoever signs in beyond that ends the session that
//! was unused the longest. A session says who was known when it began; whether they still are is asked at every page
//! (`ask.rs`), so that a revoked token ends with its sessions.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::Asker;

/// Without a page for so long, a session ends: somebody left their desk.
pub(crate) const IDLE: Duration = Duration::from_secs(30 * 60);
/// Longest session, used or not: a shift.
pub(crate) const LIFE: Duration = Duration::from_secs(12 * 3600);
/// Sessions at once: analysts are hundreds.
const MAX_SESSIONS: usize = 2_000;
/// Sessions of one person: a few browsers. One person's sign-ins must not end everybody else's sessions.
const MAX_OF_ONE: usize = 10;
/// Bytes of a session's value and of a form's proof.
const RANDOM_BYTES: usize = 32;
/// Longest value of a cookie or a form's proof that is looked at: hex of the above.
pub(crate) const VALUE_CHARS: usize = RANDOM_BYTES * 2;

/// Somebody's session, as a page sees it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Who signed in.
    pub(crate) asker: Asker,
    /// What every form of this session must carry.
    pub(crate) csrf: Secret,
}

/// A random value that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0u8; RANDOM_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// For a cookie or a form.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is it; takes the same time whatever differs.
    pub(crate) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

struct Entry {
    session: Session,
    began: Instant,
    used: Instant,
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) >= IDLE || now.saturating_duration_since(self.began) >= LIFE
    }
}

type Table = HashMap<[u8; 32], Entry>;

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<Table>);

fn key(value: &str) -> [u8; 32] {
    Sha256::digest(value).into()
}

impl Sessions {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session; the value is for the cookie.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub(crate) fn begin(&self, asker: Asker, now: Instant) -> Result<Secret, getrandom::Error> {
        let value = Secret::new()?;
        let session = Session { asker, csrf: Secret::new()? };
        let mut table = self.table();
        table.retain(|_, entry| !entry.is_over(now));
        let person = session.asker.proof.id().to_owned();
        make_room(&mut table, MAX_OF_ONE, |entry| entry.session.asker.proof.id() == person);
        make_room(&mut table, MAX_SESSIONS, |_| true);
        table.insert(key(value.expose()), Entry { session, began: now, used: now });
        Ok(value)
    }

    /// The session of this cookie, which counts as used now.
    pub(crate) fn find(&self, value: &str, now: Instant) -> Option<Session> {
        if value.len() != VALUE_CHARS {
            return None;
        }
        let key = key(value);
        let mut table = self.table();
        let entry = table.get_mut(&key)?;
        if entry.is_over(now) {
            table.remove(&key);
            return None;
        }
        entry.used = now;
        Some(entry.session.clone())
    }

    /// Ends the session of this cookie.
    pub(crate) fn end(&self, value: &str) {
        self.table().remove(&key(value));
    }
}

/// Ends the sessions that were unused the longest until there is room for one more.
fn make_room(table: &mut Table, max: usize, of: impl Fn(&Entry) -> bool) {
    while table.values().filter(|entry| of(entry)).count() >= max {
        let oldest = table.iter().filter(|(_, entry)| of(entry)).min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
        let Some(oldest) = oldest else { return };
        table.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Proof;

    fn asker(id: &str) -> Asker {
        Asker { name: id.into(), proof: Proof::Token(id.into()), ..Asker::admin() }
    }

    #[test]
    fn a_session_ends_when_it_is_not_used_and_after_a_shift_in_any_case() {
        let sessions = Sessions::default();
        let start = Instant::now();
        let value = sessions.begin(asker("alice"), start).unwrap();
        assert_eq!(sessions.find(value.expose(), start + IDLE - Duration::from_secs(1)).unwrap().asker.name, "alice");
        assert!(sessions.find(value.expose(), start + IDLE + IDLE).is_none());
        let value = sessions.begin(asker("alice"), start).unwrap();
        let mut now = start;
        while now + IDLE / 2 < start + LIFE {
            now += IDLE / 2;
            assert!(sessions.find(value.expose(), now).is_some(), "{:?}", now - start);
        }
        assert!(sessions.find(value.expose(), start + LIFE).is_none());
    }

    #[test]
    fn whoever_signs_out_is_out_and_no_other_value_is_a_session() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let (alice, bob) = (sessions.begin(asker("alice"), now).unwrap(), sessions.begin(asker("bob"), now).unwrap());
        sessions.end(alice.expose());
        assert!(sessions.find(alice.expose(), now).is_none());
        assert_eq!(sessions.find(bob.expose(), now).unwrap().asker.name, "bob");
        for value in ["", "x", &"0".repeat(VALUE_CHARS), &"é".repeat(VALUE_CHARS / 2), &bob.expose().to_uppercase()] {
            assert!(sessions.find(value, now).is_none() || value == bob.expose(), "{value}");
        }
    }

    #[test]
    fn the_table_is_bounded_and_one_person_cannot_end_the_sessions_of_another() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let bob = sessions.begin(asker("bob"), now).unwrap();
        let alice: Vec<Secret> =
            (0..50).map(|second| sessions.begin(asker("alice"), now + Duration::from_secs(second)).unwrap()).collect();
        let later = now + Duration::from_secs(60);
        assert_eq!(alice.iter().filter(|value| sessions.find(value.expose(), later).is_some()).count(), MAX_OF_ONE);
        assert!(sessions.find(alice[49].expose(), later).is_some() && sessions.find(bob.expose(), later).is_some());
        for person in 0..MAX_SESSIONS + 50 {
            sessions.begin(asker(&format!("p{person}")), later).unwrap();
        }
        assert_eq!(sessions.table().len(), MAX_SESSIONS);
    }

    #[test]
    fn secrets_differ_and_are_not_in_debug_output() {
        let (one, other) = (Secret::new().unwrap(), Secret::new().unwrap());
        assert!(one != other && one.is(one.expose()) && !one.is(other.expose()) && !one.is(""));
        assert!(!format!("{:?}", Session { asker: asker("a"), csrf: one.clone() }).contains(one.expose()));
    }
}
