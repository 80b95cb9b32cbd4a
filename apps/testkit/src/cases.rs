//! Named tests of one program: run, chosen by name, listed, or recorded.
//!
//! A program's modules give their tests one line each, `test.case("part/name", function)`; [`Cases`] holds what the
//! command line asked for and how each test went. It never runs anything by itself: [`Test::case`] does.

use crate::{Test, record};
use libnt::prelude::*;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Run the tests, print what failed.
    #[default]
    Run,
    /// Run the tests, print a line for each.
    Verbose,
    /// Print the names only.
    List,
    /// Run each test once and print what it observed.
    Record,
}

/// The named tests of a program.
#[derive(Debug, Default)]
pub struct Cases {
    mode: Mode,
    /// Names asked for; none means all.
    chosen: Vec<String>,
    /// Names of the tests in this round, in order.
    seen: Vec<&'static str>,
}

/// How a test program with named tests is used.
pub const USAGE: &str = "[/list | /v | /record] [NAME | PART]...";

impl Cases {
    /// What these arguments ask for; `None` when they make no sense.
    pub fn parse<'a>(arguments: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut cases = Self::default();
        for argument in arguments {
            let mode = match argument {
                "/list" => Mode::List,
                "/v" => Mode::Verbose,
                "/record" => Mode::Record,
                name if name.starts_with('/') => return None,
                name => {
                    cases.chosen.push(name.to_owned());
                    continue;
                }
            };
            if cases.mode != Mode::Run {
                return None;
            }
            cases.mode = mode;
        }
        Some(cases)
    }

    /// What was asked for.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// A new round of all tests begins.
    pub fn restart(&mut self) {
        self.seen.clear();
    }

    /// Names that were asked for and that no test of this round has.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let known = |name: &str| self.seen.iter().any(|seen| names(name, seen));
        self.chosen.iter().map(String::as_str).filter(move |name| !known(name))
    }

    /// Notes a test of this round: is it to be run? A name that is there already is `None`.
    fn enter(&mut self, name: &'static str) -> Option<bool> {
        if self.seen.contains(&name) {
            return None;
        }
        self.seen.push(name);
        Some(self.chosen.is_empty() || self.chosen.iter().any(|chosen| names(chosen, name)))
    }
}

/// Does `word` (a test's name, or a part's) name this test?
fn names(word: &str, test: &str) -> bool {
    test.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Test {
    /// The named tests that the command line asks for.
    ///
    /// # Errors
    /// STATUS_INVALID_PARAMETER, with the usage printed, when it makes no sense.
    pub fn from_arguments(name: &'static str) -> NtResult<Self> {
        let Some(cases) = Cases::parse(env::args()) else {
            println!("usage: {name} {USAGE}");
            return Err(STATUS_INVALID_PARAMETER);
        };
        Ok(Self { cases, ..Self::new(name) })
    }

    /// Runs a named test, `part/name`, if it is asked for. One that ends early is a failure, and the others still run.
    pub fn case(&mut self, name: &'static str, case: impl FnOnce(&mut Self) -> NtResult) {
        let Some(wanted) = self.cases.enter(name) else {
            self.fail(format_args!("two tests are named {name}"));
            return;
        };
        if !wanted {
            return;
        }
        if self.cases.mode == Mode::List {
            println!("{name}");
            return;
        }
        let (checks, failed) = (self.checks, self.failed);
        self.current = Some(name);
        if self.cases.mode == Mode::Record {
            record::begin();
        }
        let ended = case(self);
        self.ok("the whole of it", ended);
        self.current = None;
        let (checks, failed) = (self.checks - checks, self.failed - failed);
        match self.cases.mode {
            Mode::Verbose if failed == 0 => println!("{name}: passed, {checks} checks"),
            Mode::Verbose => println!("{name}: FAILED, {failed} of {checks} checks"),
            Mode::Record => {
                println!("# {name}");
                for line in record::end() {
                    println!("> {line}");
                }
            }
            Mode::Run | Mode::List => {}
        }
    }

    /// A named test of threads against each other, of which only the outcome is recorded: what it observes on the way
    /// differs from run to run.
    pub fn race(&mut self, name: &'static str, case: impl FnOnce(&mut Self) -> NtResult) {
        self.case(name, |test| record::quietly(|| case(test)));
    }

    /// Runs all tests as the command line asks: `run` has a [`Test::case`] for each. Once to warm up, then with the
    /// kernel's counters watched, which may grow by `slack` frames and heap blocks. Returns the exit status.
    pub fn run_cases(mut self, slack: u64, run: impl Fn(&mut Self)) -> NtResult<u32> {
        match self.cases.mode {
            Mode::List => {
                run(&mut self);
                return Ok(0);
            }
            Mode::Record => run(&mut self),
            Mode::Run | Mode::Verbose => {
                let mode = core::mem::take(&mut self.cases.mode);
                run(&mut self);
                self.cases.mode = mode;
                self.cases.restart();
                let before = crate::Counters::settled()?;
                run(&mut self);
                before.must_return(&mut self, slack);
            }
        }
        let unknown: Vec<String> = self.cases.unknown().map(ToOwned::to_owned).collect();
        for name in unknown {
            self.fail(format_args!("no test is named {name}"));
        }
        Ok(self.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Cases> {
        Cases::parse(text.split_whitespace())
    }

    #[test]
    fn arguments_choose_mode_and_names() {
        let all = parse("").unwrap();
        assert_eq!((all.mode, all.chosen.len()), (Mode::Run, 0));
        let some = parse("a/b /v c").unwrap();
        assert_eq!((some.mode, some.chosen), (Mode::Verbose, vec!["a/b".to_owned(), "c".to_owned()]));
        assert!(parse("/list /v").is_none() && parse("/x").is_none());
        assert_eq!(parse("/record").unwrap().mode, Mode::Record);
    }

    #[test]
    fn a_word_names_a_test_or_a_part() {
        assert!(names("a", "a/b") && names("a/b", "a/b"));
        assert!(!names("a", "ab/c") && !names("a/b", "a/bc") && !names("a/b/c", "a/b"));
    }

    #[test]
    fn chosen_tests_run_and_unknown_ones_are_told() {
        let mut cases = parse("a/one b nothing").unwrap();
        assert_eq!(cases.enter("a/one"), Some(true));
        assert_eq!(cases.enter("a/two"), Some(false));
        assert_eq!(cases.enter("b/one"), Some(true));
        assert_eq!(cases.enter("a/one"), None);
        assert_eq!(cases.unknown().collect::<Vec<_>>(), ["nothing"]);
    }
}
