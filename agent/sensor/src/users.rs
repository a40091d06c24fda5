//! Names of users, through the system's own look-up (local files, directory services), cached.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use beffroi_schema::Text;
use nix::unistd::{Uid, User};

/// A renamed account is noticed after this time; a directory service is not asked more often.
const KEEP: Duration = Duration::from_secs(300);
/// Accounts remembered: beyond it the cache starts anew, so that a host that changes users all the time costs no memory.
const MAX_USERS: usize = 4_096;

/// The cache.
#[derive(Default)]
pub struct Users {
    known: HashMap<u32, (Instant, Text)>,
}

impl Users {
    /// Name of a user; the number in decimal where nobody knows a name. None for "no user" (all ones).
    pub fn name(&mut self, uid: u32) -> Option<Text> {
        if uid == u32::MAX {
            return None;
        }
        if let Some((since, name)) = self.known.get(&uid)
            && since.elapsed() < KEEP
        {
            return Some(name.clone());
        }
        if self.known.len() >= MAX_USERS {
            self.known.clear();
        }
        let found = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let name: Text = found.map_or_else(|| uid.to_string(), |user| user.name).into_bytes().into();
        self.known.insert(uid, (Instant::now(), name.clone()));
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_an_unknown_number_stays_a_number_and_nobody_is_nobody() {
        let mut users = Users::default();
        assert_eq!(users.name(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(users.name(3_999_999_999).as_deref(), Some(&b"3999999999"[..]));
        assert_eq!(users.name(u32::MAX), None);
    }
}
