//! Container ids from the names of control groups: the 64 hex digits that Docker, containerd, CRI-O and Podman put there.

use std::collections::HashMap;

use beffroi_schema::Text;

use crate::procfs;

/// Digits of a container id.
const ID_DIGITS: usize = 64;
/// Control groups remembered: beyond it the cache starts anew.
const MAX_GROUPS: usize = 8_192;

/// The first run of exactly 64 hex digits in the text.
pub fn find_id(text: &[u8]) -> Option<&[u8]> {
    text.split(|byte| !byte.is_ascii_hexdigit()).find(|run| run.len() == ID_DIGITS)
}

/// The cache, by control group.
#[derive(Default)]
pub struct Containers {
    known: HashMap<u64, Option<Text>>,
}

impl Containers {
    /// Container of a process: from the name that the probe read, else from /proc the first time the group is met.
    pub fn of(&mut self, cgroup: u64, name: &[u8], tgid: u32) -> Option<Text> {
        if let Some(known) = self.known.get(&cgroup) {
            return known.clone();
        }
        let text = procfs::cgroup(tgid);
        let id = find_id(name).or_else(|| find_id(&text)).map(Text::from);
        // A process that has ended says nothing about its group: ask again next time.
        if id.is_some() || !text.is_empty() {
            if self.known.len() >= MAX_GROUPS {
                self.known.clear();
            }
            self.known.insert(cgroup, id.clone());
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_in_the_forms_of_every_runtime() {
        let id = "3f4b1a".repeat(10) + "abcd";
        for form in
            ["0::/docker/{}", "docker-{}.scope", "12:cpu:/kubepods/burstable/pod1/{}", "cri-containerd-{}.scope", "libpod-{}"]
        {
            assert_eq!(find_id(form.replace("{}", &id).as_bytes()), Some(id.as_bytes()), "{form}");
        }
        assert_eq!(find_id(b"0::/user.slice/session-3.scope"), None);
        assert_eq!(find_id(b"0::/deadbeef"), None);
        assert_eq!(find_id(format!("0::/{id}0").as_bytes()), None);
    }
}
