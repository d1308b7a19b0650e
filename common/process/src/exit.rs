//! What `--help` and docs/reference/exit-codes.md say about an exit code.

/// An exit code with its texts.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    pub code: u8,
    /// For `--help`: a few words.
    pub meaning: &'static str,
    /// For the reference: what to do about it, in sentences.
    pub remedy: &'static str,
}

/// The list of exit codes in `--help`.
pub fn help(codes: impl IntoIterator<Item = Description>) -> String {
    let lines =
        codes.into_iter().map(|Description { code, meaning, .. }| format!("\n  {code:>3}  {meaning}"));
    format!("Exit codes:{}", lines.collect::<String>())
}
