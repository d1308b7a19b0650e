//! Counts lines as editors do: `\n`, `\r\n` and a lone `\r` each end one.

/// A place in the file, by its line.
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

    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let [first, .., last] = bytes else {
            bytes.iter().for_each(|byte| self.pass_one(*byte));
            return;
        };
        self.line -= u64::from(self.is_after_cr && *first == b'\n');
        // Each count is a loop without branches, which compilers turn into vector instructions.
        self.line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        if bytes.contains(&b'\r') {
            let pairs = bytes.iter().zip(&bytes[1..]).filter(|pair| *pair == (&b'\r', &b'\n')).count();
            self.line += (bytes.iter().filter(|byte| **byte == b'\r').count() - pairs) as u64;
        }
        self.is_after_cr = *last == b'\r';
    }

    fn pass_one(&mut self, byte: u8) {
        let ends_line = byte == b'\r' || byte == b'\n' && !self.is_after_cr;
        self.line += u64::from(ends_line);
        self.is_after_cr = byte == b'\r';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_counts_once_however_the_bytes_are_divided() {
        let check = |text: &[u8], expected: u64| {
            for block in 1..=text.len() {
                let mut lines = Lines::new();
                text.chunks(block).for_each(|bytes| lines.pass(bytes));
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
