//! Sixteen bytes at once, for readers of text: on x86-64 by SSE2, which every such processor has, so nothing has to be
//! asked at run time; elsewhere byte by byte in a form that compilers make vectors of.
//!
//! The one place of the detection engine with unsafe code, and it is unsafe for one reason only: the compiler wants to
//! be told that the processor has these instructions. Nothing here reads or writes through a pointer; one hint names an
//! address that a reference proves.

/// Bytes that are looked at together.
pub const WIDTH: usize = 16;

pub use imp::Chunk;

/// Sixteen bytes of a text from a place on; zeros where the text is over.
#[inline(always)]
pub fn at(text: &[u8], place: usize) -> Chunk {
    match text.get(place..).and_then(|rest| rest.first_chunk::<WIDTH>()) {
        Some(bytes) => Chunk::of(bytes),
        None => Chunk::of(&ending(text, text.len().saturating_sub(place))),
    }
}

/// So many bytes that a text ends with, less than sixteen, and zeros.
#[inline(never)]
fn ending(text: &[u8], length: usize) -> [u8; WIDTH] {
    match text.last_chunk::<WIDTH>() {
        // The bytes before them are shifted out.
        Some(last) if length > 0 => (u128::from_le_bytes(*last) >> (8 * (WIDTH - length))).to_le_bytes(),
        Some(_) => [0; WIDTH],
        None => padded(text.get(text.len() - length..).unwrap_or_default()),
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a text that are asked for at most: nearly every event is shorter, and what is asked for long before it is read
/// pushes out what is needed now.
const MAX_FETCHED: usize = 4_096;

/// Asks for a text before it is read, so that what lies far from the processor comes all at once and not line by line.
#[inline]
pub fn fetch(text: &[u8]) {
    let text = &text[..text.len().min(MAX_FETCHED)];
    text.as_chunks::<LINE>().0.iter().for_each(|line| imp::fetch(&line[0]));
    text.last().into_iter().for_each(imp::fetch);
}

/// Whether a text is ASCII: quicker than the library's for short ones.
#[inline]
pub fn is_ascii(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let (chunks, short) = rest.as_chunks::<WIDTH>();
    let is_rest = || match text.last_chunk::<WIDTH>() {
        Some(last) => Chunk::of(last).beyond_ascii() == 0,
        None => short.is_ascii(),
    };
    blocks.iter().all(is_block_ascii) && chunks.iter().all(|chunk| Chunk::of(chunk).beyond_ascii() == 0) && is_rest()
}

/// One question for all chunks of a block.
#[inline(always)]
fn is_block_ascii(block: &[u8; BLOCK]) -> bool {
    let (parts, _) = block.as_chunks::<WIDTH>();
    parts.iter().map(Chunk::of).reduce(Chunk::or).is_none_or(|any| any.beyond_ascii() == 0)
}

/// Whether some byte between two places of a text is beyond ASCII, or two neighbours there are letters from this one on,
/// whatever their case.
#[inline]
pub fn has_pair_from(letter: u8, text: &[u8], from: usize, to: usize) -> bool {
    let (mut place, mut before) = (from, 0);
    while place < to {
        let chunk = at(text, place);
        let inside = if to - place < WIDTH { (1 << (to - place)) - 1 } else { u32::MAX };
        let letters = u32::from(chunk.letters_from(letter)) & inside;
        if letters & (letters << 1 | before) | u32::from(chunk.beyond_ascii()) & inside != 0 {
            return true;
        }
        before = letters >> (WIDTH - 1);
        place += WIDTH;
    }
    false
}

/// Bytes whose marks fit one word.
pub const BLOCK: usize = 64;

/// A bit for each byte of a block of a text that is one of the two; nothing where the text is over.
#[inline]
pub fn marks(text: &[u8], place: usize, bytes: [u8; 2]) -> [u64; 2] {
    let rest = text.get(place..).unwrap_or_default();
    match rest.first_chunk::<BLOCK>() {
        Some(block) => marks_of(block, bytes),
        None => marks_of(&padded(rest), bytes),
    }
}

#[inline(always)]
fn marks_of(block: &[u8; BLOCK], bytes: [u8; 2]) -> [u64; 2] {
    let (parts, _) = block.as_chunks::<WIDTH>();
    let mut marks = [0; 2];
    for (part, bits) in parts.iter().zip([0, 16, 32, 48]) {
        let chunk = Chunk::of(part);
        marks[0] |= u64::from(chunk.equal(bytes[0])) << bits;
        marks[1] |= u64::from(chunk.equal(bytes[1])) << bits;
    }
    marks
}

/// Where a text first stands in another, by its first and last byte sixteen places at a time. Nothing is prepared, so it
/// suits short values; the idea is Wojciech Muła's, "SIMD-friendly algorithms for substring searching" (2016).
#[inline]
pub fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let ([first, ..], [.., last]) = (wanted, wanted) else { return Some(0) };
    // As many bytes of each as there are places where the text can begin.
    let fronts = text.get(..(text.len() + 1).checked_sub(wanted.len())?)?;
    let backs = text.get(wanted.len() - 1..)?;
    let both = |front: Chunk, back: Chunk| front.equal(*first) & back.equal(*last);
    let pairs = fronts.as_chunks::<WIDTH>().0.iter().zip(backs.as_chunks::<WIDTH>().0);
    for (number, (front, back)) in pairs.enumerate() {
        let places = both(Chunk::of(front), Chunk::of(back));
        if places != 0
            && let Some(place) = verified(text, wanted, number * WIDTH, places)
        {
            return Some(place);
        }
    }
    // Places at the end may be looked at again.
    let start = fronts.len().saturating_sub(WIDTH);
    let places = match (fronts.last_chunk(), backs.last_chunk()) {
        (Some(front), Some(back)) => both(Chunk::of(front), Chunk::of(back)),
        _ => both(at(text, 0), at(backs, 0)),
    };
    verified(text, wanted, start, places)
}

/// The first of these places after `start` at which the text stands.
fn verified(text: &[u8], wanted: &[u8], start: usize, mut places: u16) -> Option<usize> {
    while places != 0 {
        let place = start + places.trailing_zeros() as usize;
        if text.get(place..place + wanted.len()) == Some(wanted) {
            return Some(place);
        }
        places &= places - 1;
    }
    None
}

/// What is left of a text, zeros behind it.
#[inline]
fn padded<const N: usize>(rest: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(target) = bytes.get_mut(..rest.len()) {
        target.copy_from_slice(rest);
    }
    bytes
}

#[cfg(target_arch = "x86_64")]
mod imp {
    use std::arch::x86_64::{
        __m128i, _MM_HINT_T0, _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_cvtsi128_si64, _mm_movemask_epi8, _mm_or_si128,
        _mm_prefetch, _mm_set_epi64x, _mm_set1_epi8, _mm_unpackhi_epi64,
    };

    use super::WIDTH;

    /// Asks for the cache line of a byte.
    #[inline(always)]
    pub fn fetch(byte: &u8) {
        // SAFETY: SSE belongs to every x86-64 processor, and the instruction is a hint that has no effect on memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) }
    }

    /// Sixteen bytes.
    #[derive(Debug, Clone, Copy)]
    pub struct Chunk(__m128i);

    impl Chunk {
        /// These bytes.
        #[inline(always)]
        pub fn of(bytes: &[u8; WIDTH]) -> Self {
            let (low, high) = bytes.split_at(8);
            let word = |half: &[u8]| half.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes));
            // SAFETY: SSE2 belongs to every x86-64 processor; the instruction works on registers.
            Self(unsafe { _mm_set_epi64x(word(high), word(low)) })
        }

        /// These bytes.
        #[inline(always)]
        pub fn bytes(self) -> [u8; WIDTH] {
            // SAFETY: as in `of`.
            let (low, high) = unsafe { (_mm_cvtsi128_si64(self.0), _mm_cvtsi128_si64(_mm_unpackhi_epi64(self.0, self.0))) };
            (u128::from(high as u64) << 64 | u128::from(low as u64)).to_le_bytes()
        }

        /// A bit for each byte that is this one.
        #[inline(always)]
        pub fn equal(self, byte: u8) -> u16 {
            // SAFETY: as in `of`.
            unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8))) as u16 }
        }

        /// A bit for each byte that is one of these.
        #[inline(always)]
        pub fn either(self, bytes: [u8; 2]) -> u16 {
            // SAFETY: as in `of`.
            unsafe {
                let [one, other] = bytes.map(|byte| _mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8)));
                _mm_movemask_epi8(_mm_or_si128(one, other)) as u16
            }
        }

        /// A bit for each byte that is the same in both.
        #[inline(always)]
        pub fn same(self, other: Self) -> u16 {
            // SAFETY: as in `of`.
            unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, other.0)) as u16 }
        }

        /// A bit for each letter of either case from this small one on.
        #[inline(always)]
        pub fn letters_from(self, letter: u8) -> u16 {
            // SAFETY: as in `of`.
            unsafe {
                let small = _mm_or_si128(self.0, _mm_set1_epi8(0x20));
                let after = _mm_cmpgt_epi8(small, _mm_set1_epi8(letter as i8 - 1));
                let before = _mm_cmpgt_epi8(_mm_set1_epi8(b'z' as i8 + 1), small);
                _mm_movemask_epi8(_mm_and_si128(after, before)) as u16
            }
        }

        /// The bits that either has.
        #[inline(always)]
        pub fn or(self, other: Self) -> Self {
            // SAFETY: as in `of`.
            Self(unsafe { _mm_or_si128(self.0, other.0) })
        }

        /// A bit for each byte beyond ASCII.
        #[inline(always)]
        pub fn beyond_ascii(self) -> u16 {
            // SAFETY: as in `of`.
            unsafe { _mm_movemask_epi8(self.0) as u16 }
        }

        /// ASCII capitals made small.
        #[inline(always)]
        pub fn lower(self) -> [u8; WIDTH] {
            // SAFETY: as in `of`.
            let small = unsafe {
                // Signed comparisons: bytes beyond ASCII are below every letter.
                let after = _mm_cmpgt_epi8(self.0, _mm_set1_epi8(b'A' as i8 - 1));
                let before = _mm_cmpgt_epi8(_mm_set1_epi8(b'Z' as i8 + 1), self.0);
                let capital = _mm_and_si128(_mm_and_si128(after, before), _mm_set1_epi8(0x20));
                _mm_or_si128(self.0, capital)
            };
            Self(small).bytes()
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod imp {
    pub use super::plain::Chunk;

    /// There is no such hint.
    pub fn fetch(_: &u8) {}
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use super::WIDTH;

    /// Sixteen bytes.
    #[derive(Debug, Clone, Copy)]
    pub struct Chunk([u8; WIDTH]);

    impl Chunk {
        /// These bytes.
        pub fn of(bytes: &[u8; WIDTH]) -> Self {
            Self(*bytes)
        }

        fn bits(self, is_set: impl Fn(u8) -> bool) -> u16 {
            self.0.iter().rev().fold(0, |bits, byte| bits << 1 | u16::from(is_set(*byte)))
        }

        /// These bytes.
        pub fn bytes(self) -> [u8; WIDTH] {
            self.0
        }

        /// A bit for each byte that is this one.
        pub fn equal(self, byte: u8) -> u16 {
            self.bits(|other| other == byte)
        }

        /// A bit for each byte that is one of these.
        pub fn either(self, bytes: [u8; 2]) -> u16 {
            self.bits(|byte| bytes.contains(&byte))
        }

        /// A bit for each byte that is the same in both.
        pub fn same(self, other: Self) -> u16 {
            let pairs = self.0.iter().zip(&other.0).rev();
            pairs.fold(0, |bits, (one, other)| bits << 1 | u16::from(one == other))
        }

        /// A bit for each letter of either case from this small one on.
        pub fn letters_from(self, letter: u8) -> u16 {
            self.bits(|byte| (letter..=b'z').contains(&(byte | 0x20)))
        }

        /// The bits that either has.
        pub fn or(self, other: Self) -> Self {
            Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
        }

        /// A bit for each byte beyond ASCII.
        pub fn beyond_ascii(self) -> u16 {
            self.bits(|byte| !byte.is_ascii())
        }

        /// ASCII capitals made small.
        pub fn lower(self) -> [u8; WIDTH] {
            self.0.map(|byte| byte.to_ascii_lowercase())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_at_once_are_what_they_are_one_by_one() {
        for first in 0..=255u8 {
            let bytes: [u8; WIDTH] = std::array::from_fn(|at| first.wrapping_add((at * 37) as u8));
            let (fast, slow) = (Chunk::of(&bytes), plain::Chunk::of(&bytes));
            assert_eq!((fast.bytes(), fast.lower()), (slow.bytes(), slow.lower()));
            assert_eq!(fast.beyond_ascii(), slow.beyond_ascii());
            assert_eq!(
                [b'a', b'g', b'z'].map(|from| fast.letters_from(from)),
                [b'a', b'g', b'z'].map(|from| slow.letters_from(from))
            );
            for byte in [b'"', b'\\', 0, 255, first] {
                assert_eq!(fast.equal(byte), slow.equal(byte), "{byte} in {bytes:?}");
                assert_eq!(fast.either([byte, 7]), slow.either([byte, 7]), "{byte} in {bytes:?}");
                let other = bytes.map(|other| if other % 3 == 0 { byte } else { other });
                let both = (fast.or(Chunk::of(&other)), slow.or(plain::Chunk::of(&other)));
                assert_eq!(both.0.bytes(), both.1.bytes());
                assert_eq!(fast.same(Chunk::of(&other)), slow.same(plain::Chunk::of(&other)), "{bytes:?} and {other:?}");
            }
        }
    }

    #[test]
    fn a_text_is_found_where_it_first_stands_and_nowhere_else() {
        let text: Vec<u8> = (0..100u8).map(|at| b"abcab"[usize::from(at) % 5] + at / 40).chain([0, 0]).collect();
        for (from, length) in (0..=text.len()).flat_map(|from| (0..=40).map(move |length| (from, length))) {
            let Some(wanted) = text.get(from..from + length) else { continue };
            let first = (0..=text.len()).find(|at| text[*at..].starts_with(wanted));
            assert_eq!(find(&text, wanted), first, "{wanted:?}");
            let other = [wanted, b"~"].concat();
            assert_eq!(find(&text, &other), None);
        }
        assert_eq!([find(b"", b""), find(b"", b"\0"), find(b"a", b"a\0")], [Some(0), None, None]);
    }

    #[test]
    fn a_pair_of_letters_is_seen_wherever_it_stands_between_the_places_and_nowhere_else() {
        let text = vec![b'1'; 90];
        for (from, to) in (0..40).flat_map(|from| (from..=from + 45).map(move |to| (from, to))) {
            assert!(!has_pair_from(b'g', &text, from, to));
            for (place, pair) in (0..text.len() - 1).flat_map(|place| [b"gZ", b"fg", b"g{"].map(|pair| (place, pair))) {
                let mut text = text.clone();
                text[place..place + 2].copy_from_slice(pair);
                let expected = pair == b"gZ" && from <= place && place + 2 <= to;
                assert_eq!(has_pair_from(b'g', &text, from, to), expected, "{pair:?} at {place}, {from} to {to}");
                text[place] = 0x80;
                text[place + 1] = b'1';
                assert_eq!(has_pair_from(b'g', &text, from, to), (from..to).contains(&place));
            }
        }
    }

    #[test]
    fn a_byte_beyond_ascii_is_seen_wherever_it_stands() {
        for length in 0..150 {
            let text = vec![b'a'; length];
            assert!(is_ascii(&text));
            for place in 0..length {
                let mut text = text.clone();
                text[place] = 0x80;
                assert!(!is_ascii(&text), "{place} of {length}");
            }
        }
    }

    #[test]
    fn what_lies_behind_the_end_is_zero() {
        assert_eq!(at(b"aBc", 1).lower(), *b"bc\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(at(b"abc", 7).equal(0), u16::MAX);
        let text: [u8; 40] = std::array::from_fn(|at| at as u8 + 1);
        for place in 0..=50 {
            let expected: [u8; WIDTH] = std::array::from_fn(|at| text.get(place + at).copied().unwrap_or(0));
            assert_eq!(at(&text, place).bytes(), expected, "{place}");
        }
        assert_eq!(marks(b"a\"b", 0, [b'"', b'\\']), [2, 0]);
        let long = [&[b'x'; 70][..], b"\\"].concat();
        assert_eq!(marks(&long, 64, [b'"', b'\\']), [0, 1 << 6]);
        assert_eq!(marks(&long, 7, [b'x', b'\\']), [u64::MAX >> 1, 1 << 63]);
    }
}
