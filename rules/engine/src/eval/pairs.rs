//! Texts of two and three bytes, looked for by their first two at every place of a value.

use beffroi_simd::{self as simd, Chunk};

use super::gram::{gram, key};
use super::hash::Table;

/// Texts of two and three bytes that may stand anywhere, by their first two.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    bits: Vec<u64>,
    table: Table,
    /// All pairs, where they are few enough to be looked for one by one.
    few: Vec<[u8; 2]>,
}

/// Pairs that are looked for one by one, each in sixteen places at a time.
const FEW_PAIRS: usize = 5;

impl Pairs {
    /// Of two bytes and the number of a text each.
    pub(crate) fn new(pairs: &[(u32, u32)]) -> Self {
        let mut made = Self::default();
        if !pairs.is_empty() {
            made.bits.resize((1 << 16) / 64, 0);
            pairs.iter().for_each(|(pair, _)| made.bits[(pair >> 6) as usize & 1023] |= 1 << (pair & 63));
            made.table = Table::new(&pairs.iter().map(|(pair, number)| (key(*pair), *number)).collect::<Vec<_>>());
            made.few = pairs.iter().map(|(pair, _)| (*pair as u16).to_le_bytes()).collect();
            made.few.sort_unstable();
            made.few.dedup();
            if made.few.len() > FEW_PAIRS {
                made.few.clear();
            }
        }
        made
    }

    /// Tells where a text may stand.
    #[inline]
    pub(crate) fn each(&self, value: &[u8], mut tell: impl FnMut(usize, u32)) {
        if !self.few.is_empty() {
            return self.each_of_few(value, tell);
        }
        let Some(bits) = self.bits.first_chunk::<1024>() else { return };
        for (at, window) in value.windows(2).enumerate() {
            let pair = gram::<2>(window);
            if bits[(pair >> 6) as usize & 1023] >> (pair & 63) & 1 == 1 {
                self.table.find(key(pair)).for_each(|number| tell(at, number));
            }
        }
    }

    fn each_of_few(&self, value: &[u8], mut tell: impl FnMut(usize, u32)) {
        // As many bytes of each as there are pairs.
        let (Some((_, front)), Some((_, back))) = (value.split_last(), value.split_first()) else { return };
        let chunks = front.as_chunks::<{ simd::WIDTH }>().0.iter().zip(back.as_chunks::<{ simd::WIDTH }>().0);
        let seen = chunks.len() * simd::WIDTH;
        chunks.enumerate().for_each(|(number, (here, behind))| {
            self.tell_few((number * simd::WIDTH, 0), [Chunk::of(here), Chunk::of(behind)], &mut tell);
        });
        let start = front.len().saturating_sub(simd::WIDTH);
        match (front.last_chunk(), back.last_chunk()) {
            _ if seen == front.len() => {}
            (Some(here), Some(behind)) => {
                self.tell_few((start, seen - start), [Chunk::of(here), Chunk::of(behind)], &mut tell);
            }
            _ => self.tell_few((0, 0), [simd::at(front, 0), simd::at(back, 0)], &mut tell),
        }
    }

    /// Tells where a text may stand in one chunk, from one of its places on.
    #[inline(always)]
    fn tell_few(&self, (start, first): (usize, usize), [here, behind]: [Chunk; 2], tell: &mut impl FnMut(usize, u32)) {
        for pair in &self.few {
            let mut places = (here.equal(pair[0]) & behind.equal(pair[1])) >> first << first;
            while places != 0 {
                let at = start + places.trailing_zeros() as usize;
                self.table.find(key(gram::<2>(pair))).for_each(|number| tell(at, number));
                places &= places - 1;
            }
        }
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.bits.len() * 8 + self.table.memory()
    }
}
