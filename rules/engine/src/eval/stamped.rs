//! What is known of the batch in hand: each thing in the one place that its hash names, where the newest stays, and lists
//! one behind the other. Nothing is emptied between batches, because every place says of which batch it is.

/// Things by key, two to the power of `BITS` places for them.
#[derive(Debug)]
pub(crate) struct Stamped<K, V, const BITS: u32> {
    /// From 1; it begins anew after four thousand million batches, and then all is wiped.
    batch: u32,
    places: Vec<Place<K, V>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place<K, V> {
    batch: u32,
    key: K,
    thing: V,
}

impl<K, V, const BITS: u32> Default for Stamped<K, V, BITS> {
    fn default() -> Self {
        Self { batch: 0, places: Vec::new() }
    }
}

impl<K: Copy + Default + PartialEq, V: Copy + Default, const BITS: u32> Stamped<K, V, BITS> {
    /// Forgets all, for the next batch.
    pub(crate) fn begin(&mut self) {
        self.places.resize(1 << BITS, Place::default());
        self.batch = self.batch.checked_add(1).unwrap_or_else(|| {
            self.places.fill(Place::default());
            1
        });
    }

    /// The place of a hash, whose upper bits are the better ones.
    #[inline]
    fn at(hash: u64) -> usize {
        (hash >> (64 - BITS)) as usize
    }

    /// What is known under a key that has this hash.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: K) -> Option<V> {
        let place = self.places.get(Self::at(hash))?;
        (place.batch == self.batch && place.key == key).then_some(place.thing)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, hash: u64, key: K) -> Option<&mut V> {
        let batch = self.batch;
        let place = self.places.get_mut(Self::at(hash)).filter(|place| place.batch == batch && place.key == key)?;
        Some(&mut place.thing)
    }

    /// Remembers a thing.
    #[inline]
    pub(crate) fn put(&mut self, hash: u64, key: K, thing: V) {
        let batch = self.batch;
        self.places.get_mut(Self::at(hash)).into_iter().for_each(|place| *place = Place { batch, key, thing });
    }
}

/// Items that are kept of one batch: its strings have one in a hundred finds or so, its rules read some values of each
/// event.
pub(crate) const MAX_KEPT: usize = 1 << 20;

/// Lists of the batch in hand, one behind the other.
#[derive(Debug)]
pub(crate) struct Kept<T>(Vec<T>);

/// Where a list is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    first: u32,
    end: u32,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Kept<T> {
    /// Forgets all, for the next batch.
    pub(crate) fn begin(&mut self) {
        self.0.clear();
    }

    /// Keeps a list, where there is room.
    #[inline]
    pub(crate) fn put(&mut self, list: &[T]) -> Option<Span> {
        let first = self.0.len() as u32;
        let has_room = self.0.len() + list.len() <= MAX_KEPT;
        has_room.then(|| {
            self.0.extend_from_slice(list);
            Span { first, end: self.0.len() as u32 }
        })
    }

    /// A list.
    #[inline]
    pub(crate) fn get(&self, span: Span) -> &[T] {
        self.0.get(span.first as usize..span.end as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_known_under_its_key_and_in_its_batch_and_the_newest_stays() {
        let mut stamped: Stamped<u32, u32, 4> = Stamped::default();
        assert_eq!(stamped.get(0, 0), None, "there was no batch yet");
        for batch in 1..4 {
            stamped.begin();
            for (hash, key) in [(0, 0), (0, 7), (u64::MAX, 7)] {
                assert_eq!(stamped.get(hash, key), None, "{batch}");
                stamped.put(hash, key, batch);
                *stamped.get_mut(hash, key).unwrap() += 1;
                assert_eq!(stamped.get(hash, key), Some(batch + 1));
                assert_eq!((stamped.get(hash, key + 1), stamped.get_mut(hash, key + 1)), (None, None));
            }
            assert_eq!(stamped.get(0, 0), None, "another took its place");
        }
        stamped.batch = u32::MAX;
        stamped.begin();
        assert_eq!((stamped.batch, stamped.get(0, 7), stamped.get(u64::MAX, 7)), (1, None, None));
    }

    #[test]
    fn lists_are_kept_as_long_as_there_is_room() {
        let mut kept = Kept::default();
        let spans: Vec<Span> = (0..3).map(|number| kept.put(&vec![number; number]).unwrap()).collect();
        assert_eq!(spans.iter().map(|span| kept.get(*span)).collect::<Vec<_>>(), [&[][..], &[1], &[2, 2]]);
        assert_eq!((kept.put(&vec![9; MAX_KEPT - 2]), kept.put(&vec![9; MAX_KEPT - 3]).is_some()), (None, true));
        assert_eq!((kept.put(&[1]), kept.get(spans[2])), (None, &[2, 2][..]));
        kept.begin();
        assert!(kept.put(&[1]).is_some());
    }
}
