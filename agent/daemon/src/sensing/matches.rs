//! What a scan has found, as `antivirus` events that carry who did it.
//!
//! Owns their fields. A member of an archive is named behind the archive's path: `/tmp/app.war!/lib/x.jar!/A.class`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use beffroi_scan::{Hit, Outcome, Verdict};
use beffroi_schema::event::Text;
use beffroi_schema::{Category, Event, Field, Product, Value};

use crate::clock::now_us;

/// What an `antivirus` event takes over from the event that caused the scan.
const COPIED: [Field; 20] = [
    Field::IMAGE,
    Field::COMMAND_LINE,
    Field::PARENT_IMAGE,
    Field::PARENT_COMMAND_LINE,
    Field::USER,
    Field::CURRENT_DIRECTORY,
    Field::LOGON_ID,
    Field::PROCESS_ID,
    Field::PARENT_PROCESS_ID,
    Field::PROCESS_GUID,
    Field::PARENT_PROCESS_GUID,
    Field::CONTAINER_ID,
    Field::LOGIN_USER,
    Field::LOGIN_UID,
    Field::UID,
    Field::EUID,
    Field::SESSION_ID,
    Field::ANCESTOR_GUIDS,
    Field::ANCESTOR_IMAGES,
    Field::ANCESTOR_COMMAND_LINES,
];

/// What was found, in the file or in a member of it.
#[derive(Clone, Copy)]
struct Finding<'a> {
    /// Place of the member behind the file's path.
    inside: &'a [u8],
    outcome: &'a Outcome,
    sha256: Option<&'a String>,
    bytes: u64,
}

impl<'a> Finding<'a> {
    fn hits(self) -> &'a [Hit] {
        match self.outcome {
            Outcome::Match { hits } => hits,
            _ => &[],
        }
    }
}

/// One event for each rule that matched the file or a member of it.
pub(super) fn matches(path: &Path, cause: &Event, verdict: &Verdict) -> Vec<Event> {
    let whole = Finding { inside: &[], outcome: &verdict.outcome, sha256: verdict.sha256.as_ref(), bytes: verdict.bytes };
    let members = verdict.members.iter().map(|member| Finding {
        inside: &member.inside,
        outcome: &member.outcome,
        sha256: member.sha256.as_ref(),
        bytes: member.bytes,
    });
    let findings = std::iter::once(whole).chain(members);
    findings.flat_map(|finding| finding.hits().iter().map(move |hit| antivirus(path, cause, &finding, hit))).collect()
}

fn antivirus(path: &Path, cause: &Event, finding: &Finding<'_>, hit: &Hit) -> Event {
    let mut event = Event::new(Category::Antivirus, Product::Linux, now_us());
    for field in COPIED {
        event.set_some(field, cause.get(field).cloned());
    }
    let strings: Vec<Text> = hit.strings.iter().map(|text| text.as_bytes().into()).collect();
    event
        .set(Field::SIGNATURE, hit.rule.as_str())
        .set(Field::FILENAME, [path.as_os_str().as_bytes(), finding.inside].concat())
        .set(Field::RULE_NAMESPACE, hit.namespace.as_str())
        .set(Field::MATCHED_STRINGS, Value::List(strings.into()))
        .set(Field::SCAN_OUTCOME, finding.outcome.name())
        .set(Field::FILE_BYTES, finding.bytes)
        .set(Field::ACTION, "none");
    if let Some(sha256) = finding.sha256 {
        event.set(Field::SHA256, sha256.as_str()).set(Field::HASHES, format!("SHA256={sha256}"));
    }
    event
}

#[cfg(test)]
mod tests {
    use beffroi_scan::Member;
    use beffroi_schema::Stream;

    use super::*;

    fn outcome(rule: &str) -> Outcome {
        Outcome::Match { hits: vec![Hit { rule: rule.into(), strings: vec!["$a@0x0".into()], ..Default::default() }] }
    }

    #[test]
    fn a_match_says_who_did_it_and_in_which_member_it_is() {
        let mut cause = Event::new(Category::FileChange, Product::Linux, 1);
        cause.set(Field::IMAGE, "/usr/bin/curl").set(Field::PROCESS_GUID, "g").set(Field::TARGET_FILENAME, "/tmp/x");
        let member = Member { inside: b"!/a\xff".to_vec(), outcome: outcome("Inner"), sha256: None, bytes: 1 };
        let (sha256, members) = (Some("ab".to_owned()), vec![member]);
        let verdict = Verdict { outcome: outcome("Evil"), sha256, bytes: 3, members, cached: false };
        let found = |verdict: &Verdict| matches(Path::new("/tmp/x"), &cause, verdict);
        let events = found(&verdict);
        let [event, inner] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((event.text(Field::SIGNATURE).as_ref(), event.text(Field::FILENAME).as_ref()), ("Evil", "/tmp/x"));
        assert_eq!((event.text(Field::IMAGE).as_ref(), event.text(Field::PROCESS_GUID).as_ref()), ("/usr/bin/curl", "g"));
        assert_eq!((event.text(Field::SHA256).as_ref(), event.stream()), ("ab", Stream::Detection));
        assert_eq!((inner.text(Field::SIGNATURE).as_ref(), inner.get(Field::SHA256)), ("Inner", None));
        assert_eq!(inner.get(Field::FILENAME), Some(&Value::Text(b"/tmp/x!/a\xff".as_slice().into())));
        assert_eq!(inner.text(Field::IMAGE), "/usr/bin/curl");
        let only_inside = Verdict { outcome: Outcome::Clean, ..verdict };
        assert_eq!(found(&only_inside).len(), 1);
        assert!(found(&Verdict { members: Vec::new(), ..only_inside }).is_empty());
    }
}
