//! Counts lines as editors do: `\n`, `\r\n` and a lone `\r` each end one.

/// Tracks the line number of a position in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// The line number, from 1.
    pub(super) line: u64,
    is_after_cr: bool,
}

impl Lines {
    pub(super) const fn new() -> Self {
        Self { line: 1, is_after_cr: false }
    }

    pub(super) fn advance(&mut self, bytes: &[u8]) {
        let [first, .., last] = bytes else {
            bytes.iter().for_each(|byte| self.advance_one(*byte));
            return;
        };
        self.line -= u64::from(self.is_after_cr && *first == b'\n');
        // Each count is a loop without branches, which the compiler can vectorize.
        self.line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        if bytes.contains(&b'\r') {
            let pairs = bytes.iter().zip(&bytes[1..]).filter(|pair| *pair == (&b'\r', &b'\n')).count();
            self.line += (bytes.iter().filter(|byte| **byte == b'\r').count() - pairs) as u64;
        }
        self.is_after_cr = *last == b'\r';
    }

    fn advance_one(&mut self, byte: u8) {
        let ends_line = byte == b'\r' || byte == b'\n' && !self.is_after_cr;
        self.line += u64::from(ends_line);
        self.is_after_cr = byte == b'\r';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_counts_once_for_any_block_size() {
        let check = |text: &[u8], expected: u64| {
            for block in 1..=text.len() {
                let mut lines = Lines::new();
                text.chunks(block).for_each(|bytes| lines.advance(bytes));
                assert_eq!(lines.line, expected, "{} in blocks of {block}", text.escape_ascii());
            }
        };
        check(b"abc", 1);
        check(b"a\nb\n\nc", 4);
        check(b"a\r\nb\r\n\r\n", 4);
        check(b"a\rb\r\rc\r", 5);
        check(b"\r\n\r\r\n\n", 5);
    }
}
