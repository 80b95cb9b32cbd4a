//! Names: lengths, components, case.

use abi::status::{NtResult, STATUS_OBJECT_NAME_INVALID};
use alloc::string::String;
use proto::objmgr::MAX_NAME;

/// Separates the components of a name.
pub const SEPARATOR: char = '\\';

/// `Ok` when the name is no longer than a UNICODE_STRING can be.
pub fn check_length(name: &str) -> NtResult {
    // No string has more UTF-16 units than UTF-8 bytes, so most names need no count.
    if name.len() <= MAX_NAME || name.encode_utf16().count() <= MAX_NAME {
        Ok(())
    } else {
        Err(STATUS_OBJECT_NAME_INVALID)
    }
}

/// The name as it compares without regard to case: each character in upper case, where that is one character, as in
/// NT's table.
pub fn fold(name: &str) -> String {
    name.chars()
        .map(|c| {
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => c,
            }
        })
        .collect()
}

/// Splits off the first component: it, and what follows its separator (`None` when it is the last).
pub fn split_first(name: &str) -> (&str, Option<&str>) {
    match name.split_once(SEPARATOR) {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    }
}

/// Cuts a text to at most `length` bytes from its end, at a character's boundary. For labels of limited size, where the
/// last component says the most.
pub fn tail(text: &str, length: usize) -> &str {
    let mut start = text.len().saturating_sub(length);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_keeps_what_has_no_single_upper_case() {
        assert_eq!(fold("BaseNamed\u{e9}"), "BASENAMED\u{c9}");
        assert_eq!(fold("stra\u{df}e"), "STRA\u{df}E");
    }

    #[test]
    fn lengths_are_counted_in_utf16_units() {
        assert!(check_length(&"a".repeat(MAX_NAME)).is_ok());
        assert_eq!(check_length(&"a".repeat(MAX_NAME + 1)), Err(STATUS_OBJECT_NAME_INVALID));
        assert!(check_length(&"\u{20ac}".repeat(MAX_NAME)).is_ok());
        assert_eq!(check_length(&"\u{1f600}".repeat(MAX_NAME / 2 + 1)), Err(STATUS_OBJECT_NAME_INVALID));
    }

    #[test]
    fn components_and_tails() {
        assert_eq!(split_first("a\\b\\c"), ("a", Some("b\\c")));
        assert_eq!(split_first("a\\"), ("a", Some("")));
        assert_eq!(split_first("a"), ("a", None));
        assert_eq!(tail("x\u{20ac}yz", 4), "yz");
    }
}
