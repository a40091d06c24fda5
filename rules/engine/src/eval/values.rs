//! What is known of the values of the batch in hand: which of its readers are told something by a value, and what. A value
//! is looked into once for each set of readers, however many events have it.

use super::hash::spread;
use super::stamped::{Kept, Span, Stamped};

/// Who is told something by a value: the record that an event is judged as, from 0, the judge among those of its way, and
/// what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Find {
    pub(crate) record: u8,
    pub(crate) judge: u8,
    pub(crate) trigger: u32,
}

/// What a value tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// A bit for each record that rules are looked at for.
    pub(crate) records: u8,
    /// Where it stands in `kept`.
    finds: Span,
}

/// A set of readers, by number.
pub(crate) type SetId = u16;
/// Sets beyond these have this number, and what values tell them is not remembered.
pub(crate) const NO_SET: SetId = SetId::MAX;
/// Places of what is known, as a power of two: a batch has some thousands of values.
const PLACES_BITS: u32 = 14;

/// What is known of one batch.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// By set and value.
    known: Stamped<[u32; 2], Told, PLACES_BITS>,
    kept: Kept<Find>,
    /// What the values of the event in hand tell.
    pub(crate) event: Vec<Find>,
}

impl Values {
    /// Forgets all, for the next batch.
    pub(crate) fn begin(&mut self) {
        self.known.begin();
        self.kept.begin();
    }

    /// What a value is known by; none where it is not remembered. A number is told from all others by all of its bits.
    #[inline]
    fn key(set: SetId, value: u64) -> Option<[u32; 2]> {
        let is_kept = value <= u64::from(u32::MAX) && set != NO_SET;
        is_kept.then_some([set.into(), value as u32])
    }

    #[inline]
    fn hash([set, value]: [u32; 2]) -> u64 {
        spread(u64::from(set) << 32 | u64::from(value))
    }

    /// What a value tells a set of readers, if that is known.
    #[inline]
    pub(crate) fn get(&self, set: SetId, value: u64) -> Option<Told> {
        let key = Self::key(set, value)?;
        self.known.get(Self::hash(key), key)
    }

    /// Remembers what a value tells.
    pub(crate) fn put(&mut self, set: SetId, value: u64, told: &[Find]) {
        let Some(key) = Self::key(set, value) else { return };
        let Some(finds) = self.kept.put(told) else { return };
        let records = told.iter().fold(0, |records, find| records | 1 << find.record);
        self.known.put(Self::hash(key), key, Told { records, finds });
    }

    /// What a value told.
    pub(crate) fn finds(&self, told: Told) -> &[Find] {
        self.kept.get(told.finds)
    }

    /// What the values of the event in hand tell one judge of one record.
    pub(crate) fn triggers(&self, record: u8, judge: usize) -> impl Iterator<Item = u32> + Clone {
        let own = self.event.iter().filter(move |find| find.record == record && usize::from(find.judge) == judge);
        own.map(|find| find.trigger)
    }

    /// Takes what a value told as something that the event in hand has.
    pub(crate) fn take(&mut self, told: Told) {
        self.event.extend_from_slice(self.kept.get(told.finds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_value_tells_is_known_to_its_set_alone_and_in_its_batch() {
        let mut values = Values::default();
        let find = Find { record: 2, judge: 0, trigger: 9 };
        for batch in 0..3 {
            values.begin();
            for (set, value) in [(0, 0), (0, 7), (7, 0), (3, u64::from(u32::MAX))] {
                assert_eq!(values.get(set, value), None, "{batch}");
                values.put(set, value, &[find]);
                let told = values.get(set, value).unwrap();
                assert_eq!((told.records, values.finds(told)), (4, &[find][..]));
            }
            values.put(1, 1, &[]);
            assert_eq!(values.get(1, 1).map(|told| told.records), Some(0));
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_remembered() {
        let mut values = Values::default();
        values.begin();
        values.put(0, 1 << 32, &[]);
        values.put(NO_SET, 1, &[]);
        assert_eq!((values.get(0, 1 << 32), values.get(0, 0), values.get(NO_SET, 1)), (None, None, None));
    }
}
