//! Encodes numbers as LEB128 (seven bits per byte, least significant first), individually and in columns. A column of equal small
//! numbers, for example the lag of a closed loop, takes two bytes. Reading never panics: invalid input gives `None`.

/// Tag of a column that lists every number.
const EACH: u8 = 0;
/// Tag of a column whose numbers are all equal, stored once.
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

/// Writes a column. Writes nothing for an empty one.
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

/// Writes the first number, then a column of the differences between neighbors, which are small for rows in order and for the times of
/// one batch.
pub(super) fn put_deltas(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64> + Clone) {
    let mut rest = numbers.clone();
    let Some(first) = rest.next() else { return };
    put(out, first);
    put_column(out, numbers.zip(rest).map(|(previous, number)| zigzag(number.wrapping_sub(previous))));
}

/// Zigzag encoding: maps differences that are small in absolute value, positive or negative, to small numbers.
fn zigzag(difference: u64) -> u64 {
    let sign = difference.cast_signed() >> 63;
    (difference << 1) ^ sign.cast_unsigned()
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// A cursor that reads a byte slice from the front.
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

    /// Reads a number that must fit `T`, for example `u32`.
    pub(super) fn narrow<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    /// Calls `each` with the position and value of each of `count` numbers, which must fit `T`. The caller bounds `count`.
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

    /// Like [`column`](Self::column), for the output of [`put_deltas`].
    pub(super) fn deltas<T: TryFrom<u64> + Copy>(
        &mut self,
        count: usize,
        mut each: impl FnMut(usize, T),
    ) -> Option<()> {
        let Some(further) = count.checked_sub(1) else { return Some(()) };
        let mut number = self.number()?;
        let mut fits = true;
        let mut emit = |position, number| match T::try_from(number) {
            Ok(number) => each(position, number),
            Err(_) => fits = false,
        };
        emit(0, number);
        self.column(further, |position, difference| {
            number = number.wrapping_add(unzigzag(difference));
            emit(position + 1, number);
        })?;
        fits.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deltas(numbers: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        put_deltas(&mut out, numbers.iter().copied());
        out
    }

    #[test]
    fn consecutive_and_equal_numbers_take_few_bytes() {
        assert_eq!(deltas(&[7]).len(), 1);
        assert_eq!(
            deltas(&(1_000..1_256).collect::<Vec<_>>()).len(),
            4,
            "the first number and one shared difference"
        );
        let mut out = Vec::new();
        put_column(&mut out, [0; 256].into_iter());
        assert_eq!(out, [SAME, 0]);
    }

    #[test]
    fn a_number_that_is_truncated_or_out_of_range_gives_none() {
        let overflow = [[0xff; 9].as_slice(), &[0x02]].concat();
        for bytes in [&[][..], &[0x80], &[0xff; 11], &overflow] {
            assert_eq!(Bytes::new(bytes).number(), None, "{bytes:?}");
        }
        assert_eq!(Bytes::new(&[0x80, 0x02]).narrow::<u8>(), None);
    }

    proptest! {
        #[test]
        fn numbers_round_trip(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut out = Vec::new();
            put_column(&mut out, numbers.iter().copied());
            out.extend(deltas(&numbers));
            let (mut column, mut differences) = (Vec::new(), Vec::new());
            let mut bytes = Bytes::new(&out);
            bytes.column(numbers.len(), |_, number: u64| column.push(number)).unwrap();
            bytes.deltas(numbers.len(), |_, number: u64| differences.push(number)).unwrap();
            prop_assert!(bytes.is_empty());
            prop_assert_eq!(&column, &numbers);
            prop_assert_eq!(&differences, &numbers);
        }
    }
}
