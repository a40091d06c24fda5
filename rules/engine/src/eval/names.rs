//! Field names as small numbers, one numbering for a whole rule set. Fields that no rule names have no number.

use beffroi_schema::Field;
use beffroi_schema::fields::TABLE;

use super::hash::{Table, hash};

/// Number of a field name within one rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(u32);

impl FieldId {
    /// Its place in dense tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The names that a rule set knows.
#[derive(Debug, Clone, Default)]
pub struct Names {
    names: Vec<Box<str>>,
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
        let id = FieldId(self.names.len() as u32);
        self.names.push(name.into());
        self.ids.insert(hash(name.as_bytes()), id.0);
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
    pub fn find_bytes(&self, name: &[u8]) -> Option<FieldId> {
        let is_it = |number: &u32| self.names[*number as usize].as_bytes() == name;
        self.ids.find(hash(name)).find(is_it).map(FieldId)
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
}
