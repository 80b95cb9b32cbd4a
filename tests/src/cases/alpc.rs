//! ALPC as a whole: every named test of alpctest, and the fast path against the long way.

use crate::runner::{Case, Context, Outcome, check, good, good_kd, long_case, plain, words};
use antares_host::qemu::Machine;
use antares_host::session::Session;

/// The group.
pub fn cases() -> Vec<Case> {
    vec![
        long_case("alpc::every_test_passes", 300, every_test_passes),
        long_case("alpc::the_fast_path_changes_nothing", 400, the_fast_path_changes_nothing),
        long_case("alpc::the_fast_path_changes_nothing_smp_1", 400, the_fast_path_changes_nothing_smp_1),
    ]
}

/// Each name that `alpctest /list` prints passes in `alpctest /v`.
fn every_test_passes(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    let list = good(&mut session, "alpctest /list")?;
    let names: Vec<&str> = list.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    check(names.len() > 30 && names.iter().all(|name| name.contains('/')), "the list is no list", &list)?;
    let said = session.shell("alpctest /v").map_err(words)?;
    for name in &names {
        let passed = said.text.lines().any(|line| line.starts_with(&format!("{name}: passed, ")));
        check(passed, &format!("{name} did not pass"), &said.text)?;
    }
    check(said.status == 0, "alpctest did not pass as a whole", &said.text)?;
    session.shutdown().map_err(words)
}

fn the_fast_path_changes_nothing(test: &Context) -> Outcome {
    compare(test, 2)
}

fn the_fast_path_changes_nothing_smp_1(test: &Context) -> Outcome {
    compare(test, 1)
}

/// Requests and replies that took the fast path since boot.
fn taken(session: &mut Session) -> Result<u64, String> {
    let text = good_kd(session, "!vm")?;
    let line = text.lines().find_map(|line| line.strip_prefix("ALPC fast path"));
    let number = line.and_then(|line| line.trim_start_matches([' ', ':']).split(' ').next()?.parse().ok());
    number.ok_or_else(|| format!("kd does not tell what took the fast path:\n{text}"))
}

/// What alpctest observes is the same with the fast path and without it; and it was used in one case only.
fn compare(test: &Context, smp: u32) -> Outcome {
    let mut records = Vec::new();
    for on in [true, false] {
        let cmdline = if on { "alpc.fastpath=on" } else { "alpc.fastpath=off" };
        let mut session = test.boot(Machine { smp, cmdline: cmdline.to_owned(), ..plain() })?;
        let before = taken(&mut session)?;
        // The tests for it, by themselves: what the shell and the console say to each other is little beside them.
        good(&mut session, "alpctest fast")?;
        let used = taken(&mut session)? - before;
        let expected = if on { used > 100 } else { used == 0 && before == 0 };
        check(expected, &format!("with {cmdline} {used} requests and replies took the fast path"), "")?;
        records.push(good(&mut session, "alpctest /record")?);
        session.shutdown().map_err(words)?;
    }
    check(records[0].lines().count() > 500, "the record is no record", &records[0])?;
    match difference(&records[0], &records[1]) {
        None => Ok(()),
        Some(text) => Err(format!("alpctest observes something else without the fast path:\n{text}")),
    }
}

/// The first lines in which two records differ, with the names of their tests.
fn difference(with: &str, without: &str) -> Option<String> {
    const MOST: usize = 12;
    let tests = |record: &str| -> Vec<(String, Vec<String>)> {
        let mut tests = Vec::new();
        // Other lines are the console's, about children that crash as they are meant to.
        for line in record.lines() {
            if let Some(name) = line.strip_prefix("# ") {
                tests.push((name.to_owned(), Vec::new()));
            } else if let (Some(line), Some((_, lines))) = (line.strip_prefix("> "), tests.last_mut()) {
                Vec::push(lines, line.to_owned());
            }
        }
        tests
    };
    let (with, without) = (tests(with), tests(without));
    let mut found = Vec::new();
    for at in 0..with.len().max(without.len()) {
        let (a, b) =
            (with.get(at).cloned().unwrap_or_default(), without.get(at).cloned().unwrap_or_default());
        if a.0 != b.0 {
            found.push(format!("`{}` and `{}`", a.0, b.0));
        }
        for line in 0..a.1.len().max(b.1.len()) {
            let (x, y) = (a.1.get(line), b.1.get(line));
            if x != y {
                let text = |line: Option<&String>| line.cloned().unwrap_or_else(|| "(nothing)".into());
                found.push(format!("{}\n  with:    {}\n  without: {}", a.0, text(x), text(y)));
            }
        }
    }
    let rest = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    (!found.is_empty()).then(|| format!("{}\nand {rest} more", found.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn differences_are_told_by_test() {
        let record = "# a/b\n> one\n> two\nnoise\n# c/d\n> three\n";
        assert_eq!(difference(record, record), None);
        let other = difference(record, "# a/b\n> one\n# c/d\n> four\n").unwrap();
        assert!(
            other.contains("a/b\n  with:    two\n  without: (nothing)\nc/d\n  with:    three"),
            "{other}"
        );
    }
}
