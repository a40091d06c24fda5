//! The members of one record, found by their names.

use std::ops::Range;

use beffroi_engine::eval::Names;

/// Members that are looked at: records of the event log have some dozens.
pub(crate) const MAX_MEMBERS: usize = 256;
/// Places of the table of names, as a power of two: at most a quarter full.
const SLOT_BITS: u32 = 10;
const SLOTS: usize = 1 << SLOT_BITS;

/// Where a member's name and value stand; quotes belong to the value and not to the name.
pub(crate) struct Member {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// The members of the record in hand. Its text stands elsewhere, and is the same in every question.
pub(crate) struct Members {
    list: Vec<Member>,
    /// By hash of a name: in which record it was seen, and which member it is.
    table: Vec<(u32, u16)>,
    record: u32,
}

impl Members {
    pub(crate) fn new() -> Self {
        Self { list: Vec::new(), table: vec![(0, 0); SLOTS], record: 0 }
    }

    /// Begins another record; none where no more can be told apart.
    pub(crate) fn begin(&mut self) -> Option<()> {
        self.list.clear();
        self.record = self.record.checked_add(1)?;
        Some(())
    }

    /// None where the name was there already, or there are too many.
    pub(crate) fn add(&mut self, text: &[u8], member: Member) -> Option<()> {
        let slot = self.slot(text, &text[member.name.clone()])?;
        if self.table[slot].0 == self.record || self.list.len() >= MAX_MEMBERS {
            return None;
        }
        self.table[slot] = (self.record, self.list.len() as u16);
        self.list.push(member);
        Some(())
    }

    /// The value of a name, as it stands there.
    pub(crate) fn value<'a>(&self, text: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let (record, member) = self.table[self.slot(text, name.as_bytes())?];
        let member = if record == self.record { self.list.get(usize::from(member)) } else { None };
        Some(&text[member?.value.clone()])
    }

    /// All of them, in the order of the text.
    pub(crate) fn list(&self) -> &[Member] {
        &self.list
    }

    /// Where a name stands in the table, or would.
    fn slot(&self, text: &[u8], name: &[u8]) -> Option<usize> {
        let first = (Names::hash(name) >> (u64::BITS - SLOT_BITS)) as usize;
        let is_it = |slot: &usize| {
            let (record, member) = self.table[*slot];
            record != self.record || self.list.get(usize::from(member)).is_some_and(|member| text[member.name.clone()] == *name)
        };
        (0..SLOTS).map(|step| (first + step) % SLOTS).find(is_it)
    }
}
