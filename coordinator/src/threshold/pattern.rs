//! Name patterns in which `*` matches any number of characters, including none. All other characters match literally.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(String);

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The leftmost match leaves the most text for the parts that follow.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let pattern = Pattern::new(pattern);
        for name in matching {
            assert!(pattern.matches(name), "{name}");
        }
        for name in others {
            assert!(!pattern.matches(name), "{name}");
        }
    }

    #[test]
    fn a_star_matches_any_characters() {
        check("db-7", &["db-7"], &["db-77", "xdb-7", "db-*", ""]);
        check("*", &["", "a", "db:7"], &[]);
        check("db-*", &["db-", "db-7"], &["xdb-7"]);
        check("*-7", &["db-7", "-7", "a-7-7"], &["db-77"]);
        check("a*b*c", &["abc", "a1b2c", "abbc", "abcbc"], &["acb", "ab"]);
        check("aa*aa", &["aaaa", "aaxaa"], &["aaa"]);
        check("ä*é", &["äé", "äxé"], &["ä"]);
    }
}
