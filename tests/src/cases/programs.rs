//! The test programs of the system: each checks one mechanism from the inside and ends with status 0 only when all held.

use crate::runner::{Case, Context, Outcome, case, check, good, long_case, plain, words};
use antares_host::qemu::Machine;

/// The group.
pub fn cases() -> Vec<Case> {
    vec![
        long_case("programs::spawnmany", 600, |test| passes(test, "spawnmany 10000", 2)),
        long_case("programs::spawnopen", 300, |test| passes(test, "spawnopen 1000", 2)),
        long_case("programs::alpctest", 120, |test| passes(test, "alpctest", 2)),
        long_case("programs::alpctest_smp_1", 120, |test| passes(test, "alpctest", 1)),
        long_case("programs::alpctest_smp_4", 120, |test| passes(test, "alpctest", 4)),
        long_case("programs::fault", 240, |test| passes(test, "fault all", 2)),
        long_case("programs::fptest", 240, |test| passes(test, "fptest", 2)),
        long_case("programs::garbage", 240, |test| passes(test, "garbage", 2)),
        long_case("programs::badcalls", 240, |test| passes(test, "badcalls", 2)),
        long_case("programs::handletest", 240, |test| passes(test, "handletest", 2)),
        long_case("programs::memtest", 240, |test| passes(test, "memtest", 2)),
        long_case("programs::memtest_smp_4", 240, |test| passes(test, "memtest", 4)),
        long_case("programs::sched", 240, |test| passes(test, "sched", 2)),
        long_case("programs::sched_smp_1", 240, |test| passes(test, "sched", 1)),
        long_case("programs::apctest", 240, |test| passes(test, "apctest", 2)),
        long_case("programs::apctest_smp_1", 240, |test| passes(test, "apctest", 1)),
        long_case("programs::apctest_smp_4", 240, |test| passes(test, "apctest", 4)),
        long_case("programs::killtest", 400, |test| passes(test, "killtest 1 6", 2)),
        long_case("programs::killtest_smp_1", 400, |test| passes(test, "killtest 2 6", 1)),
        long_case("programs::killtest_smp_4", 400, |test| passes(test, "killtest 3 6", 4)),
        long_case("programs::storm", 600, |test| passes(test, "killtest storm 1 1000 40", 2)),
        long_case("programs::storm_smp_1", 600, |test| passes(test, "killtest storm 2 1000 30", 1)),
        long_case("programs::storm_smp_4", 600, |test| passes(test, "killtest storm 3 1000 40", 4)),
        long_case("programs::killtest_limits", 400, |test| passes(test, "killtest limits", 2)),
        case("programs::a_fault_is_reported", a_fault_is_reported),
        case("programs::not_a_program", not_a_program),
        case("programs::background", background),
        case("programs::a_server_is_restarted", a_server_is_restarted),
        case("programs::restart_ends_qemu", restart_ends_qemu),
    ]
}

/// Runs a test program, and `hello` after it: the system goes on.
fn passes(test: &Context, command: &str, smp: u32) -> Outcome {
    let mut session = test.boot(Machine { smp, ..plain() })?;
    good(&mut session, command)?;
    good(&mut session, "hello")?;
    session.shutdown().map_err(words)
}

/// A fault ends the program with its status, the console says where it was, the shell goes on.
fn a_fault_is_reported(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    let output = session.shell("fault av-read").map_err(words)?;
    check(output.status == 0xC000_0005, "the status is not that of the fault", &format!("{output:x?}"))?;
    for word in ["fault", "0xC0000005"] {
        check(
            output.text.to_lowercase().contains(&word.to_lowercase()),
            &format!("the report lacks `{word}`"),
            &output.text,
        )?;
    }
    good(&mut session, "hello")?;
    session.shutdown().map_err(words)
}

/// A boot module that is no program.
fn not_a_program(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    let output = session.shell("readme.txt").map_err(words)?;
    check(output.status != 0 && !output.text.trim().is_empty(), "no clear refusal", &format!("{output:?}"))?;
    good(&mut session, "hello")?;
    session.shutdown().map_err(words)
}

/// A program in the background is listed and can be ended.
fn background(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    good(&mut session, "start waitforever")?;
    let list = good(&mut session, "tasklist")?;
    check(list.contains("waitforever"), "tasklist does not list it", &list)?;
    good(&mut session, "taskkill /IM waitforever /F")?;
    let list = good(&mut session, "tasklist")?;
    check(!list.contains("waitforever"), "taskkill did not end it", &list)?;
    session.shutdown().map_err(words)
}

/// The object manager dies and comes back; names work again.
fn a_server_is_restarted(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    let before = good(&mut session, "winobj \\")?;
    good(&mut session, "servers /restart objmgr")?;
    let after = good(&mut session, "winobj \\")?;
    check(
        after.contains(&before),
        "the name space is another one after the restart",
        &format!("{before}\n---\n{after}"),
    )?;
    good(&mut session, "alpcping 10")?;
    // A program that comes while objmgr ends, starts and fills its tree waits for it.
    for _ in 0..4 {
        good(&mut session, "servers /restart objmgr")?;
        good(&mut session, "hello")?;
    }
    session.shutdown().map_err(words)
}

fn restart_ends_qemu(test: &Context) -> Outcome {
    let ran = test.exec(&["shutdown /r"])?;
    check(ran.status == 0, "shutdown /r does not end well", &format!("{ran:?}"))
}
