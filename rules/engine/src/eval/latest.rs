//! What was found in the latest value of each field. Most values of an event stand as they stood in the one before, and whoever
//! read them knows it ([`super::recall`]): then nothing has to be hashed or compared to know what is found in them.

use super::names::FieldId;

/// Triggers that are kept of one value: most have none.
const MAX_TRIGGERS: usize = 3;

/// What is known of the latest values, by field.
#[derive(Debug, Default)]
pub(super) struct Latest {
    fields: Vec<Known>,
}

/// Half a line of the cache: what is known of nearly all fields of an event is in a few of them.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct Known {
    /// The number of the reading; zero for none.
    reading: u64,
    /// Numbers of the scans that looked into it.
    scans: (u32, u32),
    count: u32,
    triggers: [u32; MAX_TRIGGERS],
}

impl Latest {
    /// What these scans found in the value of a field, if it is of the reading that was kept. Numbers of readings are never
    /// zero.
    #[inline]
    pub(super) fn find(&self, field: FieldId, reading: u64, scans: (u32, u32)) -> Option<&[u32]> {
        let known = self.fields.get(field.index())?;
        if (known.reading, known.scans) == (reading, scans) { known.triggers.get(..known.count as usize) } else { None }
    }

    /// Keeps what they found.
    #[inline]
    pub(super) fn keep(&mut self, field: FieldId, reading: u64, scans: (u32, u32), found: &[u32]) {
        if found.len() > MAX_TRIGGERS {
            return;
        }
        if self.fields.len() <= field.index() {
            self.fields.resize(field.index() + 1, Known::default());
        }
        let mut triggers = [0; MAX_TRIGGERS];
        triggers.iter_mut().zip(found).for_each(|(kept, trigger)| *kept = *trigger);
        self.fields[field.index()] = Known { reading, scans, count: found.len() as u32, triggers };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_known_for_the_same_reading_and_the_same_scans_alone() {
        let mut latest = Latest::default();
        let (field, other) = (FieldId(3), FieldId(1));
        assert_eq!(latest.find(field, 7, (1, 2)), None);
        latest.keep(field, 7, (1, 2), &[4, 5]);
        assert_eq!(latest.find(field, 7, (1, 2)), Some(&[4, 5][..]));
        assert_eq!(
            (latest.find(field, 8, (1, 2)), latest.find(field, 7, (1, 0)), latest.find(other, 7, (1, 2))),
            (None, None, None)
        );
        latest.keep(field, 8, (1, 2), &[]);
        assert_eq!((latest.find(field, 8, (1, 2)), latest.find(field, 7, (1, 2))), (Some(&[][..]), None));
        latest.keep(field, 9, (1, 2), &[1, 2, 3, 4]);
        assert_eq!(latest.find(field, 9, (1, 2)), None);
    }
}
