//! Field names as small numbers, one numbering for a whole rule set. Fields that no rule names have no number.

use std::sync::atomic::{AtomicU64, Ordering};

use beffroi_schema::Field;
use beffroi_schema::fields::TABLE;

use super::hash::{Table, spread};

/// Number of a field name within one rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub(crate) u32);

impl FieldId {
    /// Its place in dense tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The first and last eight bytes of a name and its length, which tell nearly all names apart: those of up to sixteen
/// bytes are nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    first: u64,
    last: u64,
    length: usize,
}

impl Ends {
    #[inline]
    fn of(name: &[u8]) -> Self {
        let (first, last) = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => Self::of_short(name),
        };
        Self { first, last, length: name.len() }
    }

    /// The same for names of less than eight bytes.
    #[inline]
    fn of_short(name: &[u8]) -> (u64, u64) {
        match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()),
            _ => (name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
        }
    }

    /// A hash whose upper bits are the better ones.
    #[inline]
    fn hash(self) -> u64 {
        spread((self.first ^ self.last.rotate_left(29)).wrapping_add(self.length as u64))
    }
}

/// Names of at most so many bytes are known by their ends.
const KNOWN_BY_ENDS: usize = 16;

/// Numberings that were made.
static NUMBERINGS: AtomicU64 = AtomicU64::new(1);

/// The names that a rule set knows.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Which numbering this is; zero for that of no names.
    number: u64,
    names: Vec<Box<str>>,
    /// By number: what a name is compared by.
    ends: Vec<Ends>,
    /// From hashes of names to their numbers.
    ids: Table,
    /// By number of the contract's field table.
    table: Vec<Option<FieldId>>,
}

impl Names {
    /// The number of a name, new if need be.
    pub fn intern(&mut self, name: &str) -> FieldId {
        if let Some(id) = self.find(name) {
            return id;
        }
        self.number = NUMBERINGS.fetch_add(1, Ordering::Relaxed);
        let id = FieldId(self.names.len() as u32);
        self.names.push(name.into());
        let ends = Ends::of(name.as_bytes());
        self.ends.push(ends);
        self.ids.insert(ends.hash(), id.0);
        if let Some(field) = Field::by_name(name) {
            self.table.resize(TABLE.len() + 1, None);
            self.table[usize::from(field.0)] = Some(id);
        }
        id
    }

    /// The number of a name, if any rule names it.
    pub fn find(&self, name: &str) -> Option<FieldId> {
        self.find_bytes(name.as_bytes())
    }

    /// The same for a name that need not be text.
    #[inline]
    pub fn find_bytes(&self, name: &[u8]) -> Option<FieldId> {
        let ends = Ends::of(name);
        let is_it = |number: u32| {
            let number = number as usize;
            self.ends[number] == ends && (ends.length <= KNOWN_BY_ENDS || self.names[number].as_bytes() == name)
        };
        self.ids.find_one(ends.hash(), is_it).map(FieldId)
    }

    /// Which numbering this is: none with other names, or other numbers of names, is the same.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// A hash of a name, whose upper bits are the better ones.
    pub fn hash(name: &[u8]) -> u64 {
        Ends::of(name).hash()
    }

    /// The number of a field of the contract, if any rule names it.
    pub fn of_field(&self, field: Field) -> Option<FieldId> {
        self.table.get(usize::from(field.0)).copied().flatten()
    }

    /// The name of a number.
    pub fn name(&self, id: FieldId) -> &str {
        self.names.get(id.index()).map_or("", |name| name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no rule names any field.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_fields_of_the_contract_are_found_by_theirs() {
        let mut names = Names::default();
        let image = names.intern("Image");
        let other = names.intern("NoSuchField");
        assert_eq!(names.intern("Image"), image);
        assert_ne!(image, other);
        assert_eq!(names.of_field(Field::IMAGE), Some(image));
        assert_eq!(names.of_field(Field::COMMAND_LINE), None);
        assert_eq!(names.name(other), "NoSuchField");
    }

    #[test]
    fn names_with_the_same_ends_are_told_apart() {
        let mut names = Names::default();
        let texts =
            ["", "a", "ab", "abc", "abcd", "abcde", "ab\0", "12345678-x-12345678", "12345678-y-12345678", "1234567812345678"];
        let numbers = texts.map(|text| names.intern(text));
        assert_eq!(texts.map(|text| names.find(text).unwrap()), numbers);
        assert_eq!(names.len(), texts.len());
        assert_eq!(names.find("12345678-z-12345678"), None);
    }
}
