//! The lines typed before, newest last.

use alloc::collections::VecDeque;
use alloc::string::String;

/// Lines that are kept.
const CAPACITY: usize = 200;

/// Lines typed before, and where in them a person is looking.
#[derive(Debug, Default)]
pub struct History {
    lines: VecDeque<String>,
    /// How far back the line shown is: 0 is the one being typed.
    back: usize,
    /// The line being typed, while an older one is shown.
    draft: String,
}

impl History {
    /// Keeps a line (not an empty one, and not the same twice in a row) and goes back to the newest.
    pub fn add(&mut self, line: &str) {
        self.leave();
        if line.trim().is_empty() || self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() == CAPACITY {
            self.lines.pop_front();
        }
        self.lines.push_back(String::from(line));
    }

    /// Stops looking at older lines.
    pub fn leave(&mut self) {
        self.back = 0;
        self.draft.clear();
    }

    /// One line older than `current`, or `None` at the oldest.
    pub fn older(&mut self, current: &str) -> Option<String> {
        let line = self.lines.get(self.lines.len().checked_sub(self.back + 1)?)?.clone();
        if self.back == 0 {
            self.draft = String::from(current);
        }
        self.back += 1;
        Some(line)
    }

    /// One line newer, at last the one that was being typed; `None` when that is shown already.
    pub fn newer(&mut self) -> Option<String> {
        self.back = self.back.checked_sub(1)?;
        if self.back == 0 {
            return Some(core::mem::take(&mut self.draft));
        }
        self.lines.get(self.lines.len() - self.back).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn up_and_down_and_the_draft() {
        let mut history = History::default();
        assert_eq!(history.older("x"), None);
        ["one", "two", "two", "  "].iter().for_each(|l| history.add(l));
        assert_eq!(history.older("dra").as_deref(), Some("two"));
        assert_eq!(history.older("two").as_deref(), Some("one"));
        assert_eq!(history.older("one"), None);
        assert_eq!(history.newer().as_deref(), Some("two"));
        assert_eq!(history.newer().as_deref(), Some("dra"));
        assert_eq!(history.newer(), None);
    }

    #[test]
    fn it_stays_bounded() {
        let mut history = History::default();
        (0..1000).for_each(|i| history.add(&format!("line {i}")));
        let mut oldest = String::new();
        while let Some(line) = history.older("") {
            oldest = line;
        }
        assert_eq!(oldest, format!("line {}", 1000 - CAPACITY));
    }
}
