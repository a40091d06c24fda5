//! What is known of the values of the batch in hand: which of its readers are told something by a value, and what. A value
//! is looked into once for each set of readers, however many events have it.

use super::hash;

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
    first: u32,
    end: u32,
}

/// A set of readers, by number.
pub(crate) type SetId = u16;
/// Sets beyond these have this number, and what values tell them is not remembered.
pub(crate) const NO_SET: SetId = SetId::MAX;
/// Places of what is known, as a power of two: a batch has some thousands of values. The newest stays where two share one.
const PLACES_BITS: u32 = 14;
const PLACES: usize = 1 << PLACES_BITS;
/// Finds that are remembered of one batch.
const MAX_KEPT: usize = 1 << 20;
/// Batches before all is wiped: their number has as many bits in a key.
const MAX_BATCH: u64 = 0xffff;

/// What is known of one batch.
#[derive(Debug)]
pub(crate) struct Values {
    /// From 1, so that no key is zero.
    batch: u64,
    places: Box<[(u64, Told); PLACES]>,
    kept: Vec<Find>,
    /// What the values of the event in hand tell.
    pub(crate) event: Vec<Find>,
}

impl Default for Values {
    fn default() -> Self {
        let places = vec![(0, Told::default()); PLACES].into_boxed_slice();
        let places = places.try_into().unwrap_or_else(|_| Box::new([(0, Told::default()); PLACES]));
        Self { batch: 1, places, kept: Vec::new(), event: Vec::new() }
    }
}

impl Values {
    /// Forgets all, for the next batch.
    pub(crate) fn begin(&mut self) {
        self.kept.clear();
        self.batch += 1;
        if self.batch > MAX_BATCH {
            self.batch = 1;
            self.places.fill((0, Told::default()));
        }
    }

    /// What a value is known by; none where it is not remembered. A number is told from all others by all of its bits.
    #[inline]
    fn key(&self, set: SetId, value: u64) -> Option<u64> {
        let is_kept = value <= u64::from(u32::MAX) && set != NO_SET;
        is_kept.then(|| self.batch << 48 | u64::from(set) << 32 | value)
    }

    #[inline]
    fn place(key: u64) -> usize {
        hash::place(key, PLACES_BITS)
    }

    /// What a value tells a set of readers, if that is known.
    #[inline]
    pub(crate) fn get(&self, set: SetId, value: u64) -> Option<Told> {
        let key = self.key(set, value)?;
        let (known, told) = self.places[Self::place(key)];
        (known == key).then_some(told)
    }

    /// Remembers what a value tells.
    pub(crate) fn put(&mut self, set: SetId, value: u64, finds: &[Find]) {
        let Some(key) = self.key(set, value).filter(|_| self.kept.len() + finds.len() <= MAX_KEPT) else { return };
        let first = self.kept.len() as u32;
        self.kept.extend_from_slice(finds);
        let records = finds.iter().fold(0, |records, find| records | 1 << find.record);
        self.places[Self::place(key)] = (key, Told { records, first, end: self.kept.len() as u32 });
    }

    /// What a value told.
    pub(crate) fn finds(&self, told: Told) -> &[Find] {
        self.kept.get(told.first as usize..told.end as usize).unwrap_or_default()
    }

    /// What the values of the event in hand tell one judge of one record.
    pub(crate) fn triggers(&self, record: u8, judge: usize) -> impl Iterator<Item = u32> + Clone {
        let own = self.event.iter().filter(move |find| find.record == record && usize::from(find.judge) == judge);
        own.map(|find| find.trigger)
    }

    /// Takes what a value told as something that the event in hand has.
    pub(crate) fn take(&mut self, told: Told) {
        let finds = self.kept.get(told.first as usize..told.end as usize).unwrap_or_default();
        self.event.extend_from_slice(finds);
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
        let mut values = Values { batch: MAX_BATCH, ..Values::default() };
        values.put(0, 1 << 32, &[]);
        values.put(NO_SET, 1, &[]);
        assert_eq!((values.get(0, 1 << 32), values.get(0, 0), values.get(NO_SET, 1)), (None, None, None));
        values.put(5, 5, &[]);
        values.begin();
        assert_eq!((values.batch, values.get(5, 5)), (1, None));
    }
}
