//! Command lines: words and quotes.
//!
//! Words are separated by blanks. Between double quotes blanks belong to the word; two double quotes within quotes are one.
//! Quotes that are not closed reach to the end of the line.

use alloc::string::String;
use alloc::vec::Vec;

/// The words of a line.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                word.get_or_insert_default().push('"');
            }
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// What follows the first word of a line, as it was typed.
pub fn after_first_word(line: &str) -> &str {
    let line = line.trim_start();
    line.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn words_and_quotes() {
        assert_eq!(words("  alpcping  1000 "), ["alpcping", "1000"]);
        assert_eq!(words("winobj \"\\RPC Control\""), ["winobj", "\\RPC Control"]);
        assert_eq!(words("echo \"a \"\"b\"\" c\"d \"\" \"open end"), ["echo", "a \"b\" cd", "", "open end"]);
        assert!(words(" \t ").is_empty());
    }

    #[test]
    fn the_rest_of_a_line_is_kept() {
        assert_eq!(after_first_word(" echo  a  \"b\" "), "a  \"b\" ");
        assert_eq!(after_first_word("echo"), "");
    }

    proptest! {
        #[test]
        fn quoting_keeps_any_word(word: String) {
            let quoted = format!("x \"{}\" y", word.replace('"', "\"\""));
            prop_assert_eq!(words(&quoted), ["x", word.as_str(), "y"]);
        }
    }
}
