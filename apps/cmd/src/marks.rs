//! Shell-integration escapes (OSC 133): they tell a terminal, or a program that drives the shell, where the prompt, the
//! typed line and the output are, and with which status a command ended.

use abi::status::NtStatus;
use alloc::format;
use alloc::string::String;

/// The output of a command begins.
pub const OUTPUT: &str = "\x1b]133;C\x07";

/// A prompt, with the marks of its beginning and end.
pub fn prompt(text: &str) -> String {
    format!("\x1b]133;A\x07{text}\x1b]133;B\x07")
}

/// A command ended with this status.
pub fn done(status: NtStatus) -> String {
    format!("\x1b]133;D;{}\x07", status.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::status::STATUS_CONTROL_C_EXIT;

    #[test]
    fn marks_are_as_drivers_expect_them() {
        assert_eq!(prompt("> "), "\x1b]133;A\x07> \x1b]133;B\x07");
        assert_eq!(done(STATUS_CONTROL_C_EXIT), "\x1b]133;D;3221225786\x07");
    }
}
