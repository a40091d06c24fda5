//! What is inside archives, in the worker: zip (jar, war, ear), tar, gzip, xz, Zstandard and tar in these, known by their
//! content.
//!
//! Owns the walk from archive to member to archive within a depth, under one [`Purse`] for the outermost file. Each
//! member is judged as a file of its own. Nothing is unpacked to disk, names of members are data, links and devices in
//! archives are never acted upon. What cannot be looked at (budget, encryption, damage, a method or format that is not
//! known) is reported as unknown with its reason; after a spent budget the walk ends at once.

mod format;
mod purse;
mod source;
mod stray;
mod stream;
mod tar;
mod zip;

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::protocol::Outcome;
use crate::tally::Tally;
use crate::worker::{Content, Judge};
use format::Format;
pub(crate) use purse::Purse;
use purse::Stop;
pub(crate) use source::Source;

/// Longest name of one member that is kept (bytes): with four of them the place of a member stays below 5 KiB.
const MAX_MEMBER_NAME_BYTES: usize = 1024;
/// How much a member's memory grows at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Walks one outermost file.
pub(crate) struct Visitor<'a, 't> {
    judge: &'a mut dyn Judge,
    tally: &'a mut Tally<'t>,
    purse: &'a Purse,
    name: &'a str,
    details: bool,
}

impl<'a, 't> Visitor<'a, 't> {
    /// A walk of the file with this name.
    pub fn new(judge: &'a mut dyn Judge, tally: &'a mut Tally<'t>, purse: &'a Purse, name: &'a str, details: bool) -> Self {
        Self { judge, tally, purse, name, details }
    }

    /// Looks into the source if it is an archive; `depth` archives are around it. A spent budget has been reported.
    pub fn open(&mut self, source: &Source<'_>, inside: &[u8], depth: u32) -> Stop {
        let Some(format) = format::of(source) else { return Stop::No };
        if let Format::Closed(name) = format {
            self.tally.unknown(inside, &format!("it is a {name} archive, which is not opened"));
            return Stop::No;
        }
        if depth >= self.purse.limits().depth {
            self.tally.unknown(inside, &format!("archives are opened {depth} deep; what this one holds was not looked at"));
            return Stop::No;
        }
        match format {
            Format::Zip => self.zip(source, inside, depth),
            Format::Tar => self.tar(source.reader(), inside, depth),
            Format::Packed(packing) => self.packed(packing, source, inside, depth),
            Format::Closed(_) => Stop::No,
        }
    }

    /// Takes a member out of an archive, judges it and looks into it.
    fn member(&mut self, reader: impl Read, inside: &[u8], depth: u32, check: impl FnOnce(&[u8]) -> Option<String>) -> Stop {
        let (content, flaw) = self.read(reader);
        if self.purse.is_spent() {
            return self.spent(inside);
        }
        let flaw = flaw.or_else(|| check(&content));
        self.judge(inside, &content, flaw.is_none());
        if let Some(reason) = flaw {
            self.tally.unknown(inside, &reason);
        }
        self.open(&Source::bytes(&content), inside, depth + 1)
    }

    /// The member's bytes as far as they can be had, and why they are not all.
    fn read(&self, mut reader: impl Read) -> (Vec<u8>, Option<String>) {
        let limit = usize::try_from(self.purse.limits().member_bytes).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        loop {
            let len = content.len();
            let room = CHUNK_BYTES.min(limit.saturating_sub(len).saturating_add(1));
            if content.try_reserve(room).is_err() {
                return (content, Some("there is no memory for it".into()));
            }
            content.resize(len + room, 0);
            match reader.read(&mut content[len..]) {
                Ok(0) => {
                    content.truncate(len);
                    return (content, None);
                }
                Ok(read) => content.truncate(len + read),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => content.truncate(len),
                Err(error) => {
                    content.truncate(len);
                    return (content, Some(format!("it is damaged: {error}")));
                }
            }
            if content.len() > limit {
                content.truncate(limit);
                return (content, Some(format!("it has more than {limit} bytes")));
            }
        }
    }

    fn judge(&mut self, inside: &[u8], bytes: &[u8], is_whole: bool) {
        let name = format!("{}{}", self.name, String::from_utf8_lossy(inside));
        let content = Content { bytes, name: Path::new(&name), budget: self.purse.time_left(), details: self.details };
        match self.judge.scan(&content) {
            Ok(hits) if hits.is_empty() => {}
            Ok(hits) => {
                let sha256 = is_whole.then(|| hex::encode(Sha256::digest(bytes)));
                self.tally.found(inside, Outcome::Match { hits }, sha256, bytes.len() as u64);
            }
            Err(why) => {
                self.tally.inner.timed_out |= why.timed_out;
                self.tally.unknown(inside, &why.reason);
            }
        }
    }

    /// The archive or member at which the budget was spent stands for everything behind it.
    fn spent(&mut self, inside: &[u8]) -> Stop {
        self.tally.unknown(inside, &format!("{}; the rest was not looked at", self.purse.why()));
        Stop::Yes
    }

    /// A member's place: `!/name` behind the archive's own.
    fn place(inside: &[u8], name: &[u8]) -> Vec<u8> {
        let name = name.strip_prefix(b"./").unwrap_or(name);
        let kept = &name[..name.len().min(MAX_MEMBER_NAME_BYTES)];
        [inside, b"!/", kept].concat()
    }
}
