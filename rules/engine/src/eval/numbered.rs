//! What is known of the strings of the batch in hand, by their numbers: each string is looked at once however many events
//! name it. Nothing is emptied between batches.

/// Strings with higher numbers are looked at whenever they come: a batch of honest events has some thousands, and tables
/// stay small whatever a hostile one has.
const MAX_NUMBER: usize = 1 << 16;

/// One thing for each string.
#[derive(Debug)]
pub(crate) struct Numbered<T> {
    /// By string: its place in `items` and `base`; what is not more than `base` is of an earlier batch.
    places: Vec<u32>,
    base: u32,
    items: Vec<T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { places: Vec::new(), base: 0, items: Vec::new() }
    }
}

impl<T: Copy> Numbered<T> {
    /// Forgets all, for the next batch.
    pub(crate) fn begin(&mut self) {
        let used = self.items.len() as u32;
        self.items.clear();
        match self.base.checked_add(used).filter(|base| *base < u32::MAX - MAX_NUMBER as u32) {
            Some(base) => self.base = base,
            None => {
                self.places.fill(0);
                self.base = 0;
            }
        }
    }

    /// What is known of a string.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<T> {
        let place = self.places.get(number as usize)?.checked_sub(self.base + 1)?;
        self.items.get(place as usize).copied()
    }

    /// Keeps what is known of a string that nothing was known of.
    pub(crate) fn put(&mut self, number: u32, item: T) {
        let number = number as usize;
        if number >= MAX_NUMBER {
            return;
        }
        if self.places.len() <= number {
            self.places.resize((number + 1).next_power_of_two(), 0);
        }
        self.items.push(item);
        self.places[number] = self.base + self.items.len() as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_string_is_known_in_its_batch_alone() {
        let mut numbered = Numbered::default();
        for batch in 0..100u32 {
            numbered.begin();
            for number in [7, 0, 300, MAX_NUMBER as u32 - 1] {
                assert_eq!(numbered.get(number), None, "{batch}");
                numbered.put(number, number + batch);
                assert_eq!(numbered.get(number), Some(number + batch));
            }
            assert_eq!(numbered.get(8), None);
        }
    }

    #[test]
    fn numbers_begin_anew_before_they_end_and_high_ones_are_not_kept() {
        let mut numbered = Numbered { base: u32::MAX - MAX_NUMBER as u32 - 2, ..Numbered::default() };
        for batch in 0..5u32 {
            numbered.begin();
            assert_eq!(numbered.get(3), None, "{batch}");
            numbered.put(3, batch);
            assert_eq!(numbered.get(3), Some(batch));
        }
        assert!(numbered.base < 10);
        numbered.put(MAX_NUMBER as u32, 1);
        assert_eq!((numbered.get(MAX_NUMBER as u32), numbered.items.len()), (None, 1));
    }
}
