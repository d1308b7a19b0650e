//! Numbers as bytes: LEB128 (seven bits a byte, the lowest first), one by one and in columns. A column of equal numbers, such as the
//! lag of a closed loop, takes two bytes. Reading never panics: what does not fit is `None`.

/// A column whose numbers stand one after the other, or whose one number stands for all.
const EACH: u8 = 0;
const SAME: u8 = 1;

pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(lowest(number) | 0x80);
        number >>= 7;
    }
    out.push(lowest(number));
}

fn lowest(number: u64) -> u8 {
    let [lowest, ..] = number.to_le_bytes();
    lowest
}

/// Nothing for no numbers.
pub(super) fn put_column(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64> + Clone) {
    let mut rest = numbers.clone();
    let Some(first) = rest.next() else { return };
    if rest.all(|number| number == first) {
        out.push(SAME);
        put(out, first);
    } else {
        out.push(EACH);
        numbers.for_each(|number| put(out, number));
    }
}

/// The first number, and each further one as its distance from the one before: rows in order and times of one batch lie close together.
pub(super) fn put_deltas(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64> + Clone) {
    let mut rest = numbers.clone();
    let Some(first) = rest.next() else { return };
    put(out, first);
    put_column(out, numbers.zip(rest).map(|(before, number)| zigzag(number.wrapping_sub(before))));
}

/// A small distance is a small number, whichever way it goes.
fn zigzag(distance: u64) -> u64 {
    let sign = distance.cast_signed() >> 63;
    (distance << 1) ^ sign.cast_unsigned()
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Bytes that are read from the front.
#[derive(Debug)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if bits > u64::MAX >> shift {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A number within a type, such as `u32`.
    pub(super) fn narrow<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    /// Gives each of `count` numbers, which must fit `T`, with its position. `count` is the caller's to bound.
    pub(super) fn column<T: TryFrom<u64> + Copy>(
        &mut self,
        count: usize,
        mut each: impl FnMut(usize, T),
    ) -> Option<()> {
        if count == 0 {
            return Some(());
        }
        match self.array()? {
            [EACH] => {
                for position in 0..count {
                    each(position, self.narrow()?);
                }
            }
            [SAME] => {
                let number = self.narrow()?;
                (0..count).for_each(|position| each(position, number));
            }
            _ => return None,
        }
        Some(())
    }

    /// The same for what [`put_deltas`] wrote.
    pub(super) fn deltas<T: TryFrom<u64> + Copy>(
        &mut self,
        count: usize,
        mut each: impl FnMut(usize, T),
    ) -> Option<()> {
        let Some(further) = count.checked_sub(1) else { return Some(()) };
        let mut number = self.number()?;
        let mut fits = true;
        let mut give = |position, number| match T::try_from(number) {
            Ok(number) => each(position, number),
            Err(_) => fits = false,
        };
        give(0, number);
        self.column(further, |position, distance| {
            number = number.wrapping_add(unzigzag(distance));
            give(position + 1, number);
        })?;
        fits.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn deltas(numbers: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        put_deltas(&mut out, numbers.iter().copied());
        out
    }

    #[test]
    fn neighbours_and_equal_numbers_take_little_room() {
        assert_eq!(deltas(&[7]).len(), 1);
        assert_eq!(
            deltas(&(1_000..1_256).collect::<Vec<_>>()).len(),
            4,
            "the first, and one distance for all"
        );
        let mut out = Vec::new();
        put_column(&mut out, [0; 256].into_iter());
        assert_eq!(out, [SAME, 0]);
    }

    #[test]
    fn a_number_that_does_not_fit_is_none() {
        let overflow = [[0xff; 9].as_slice(), &[0x02]].concat();
        for bytes in [&[][..], &[0x80], &[0xff; 11], &overflow] {
            assert_eq!(Bytes::new(bytes).number(), None, "{bytes:?}");
        }
        assert_eq!(Bytes::new(&[0x80, 0x02]).narrow::<u8>(), None);
    }

    proptest! {
        #[test]
        fn every_number_comes_back(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut out = Vec::new();
            put_column(&mut out, numbers.iter().copied());
            out.extend(deltas(&numbers));
            let (mut column, mut distances) = (Vec::new(), Vec::new());
            let mut bytes = Bytes::new(&out);
            bytes.column(numbers.len(), |_, number: u64| column.push(number)).unwrap();
            bytes.deltas(numbers.len(), |_, number: u64| distances.push(number)).unwrap();
            prop_assert!(bytes.is_empty());
            prop_assert_eq!(&column, &numbers);
            prop_assert_eq!(&distances, &numbers);
        }
    }
}
