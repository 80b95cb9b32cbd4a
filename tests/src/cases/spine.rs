//! The main job: the name space prints, a thousand checked round trips run, and the trace shows them.

use crate::runner::{Case, Context, Outcome, case, check, good, good_kd, has_limine, long_case};

/// The group.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("spine::direct", |test| main_job(test, "direct")),
        case("spine::idle_prompt_answers_again", idle_prompt_answers_again),
        case("spine::kd_while_a_program_runs", kd_while_a_program_runs),
    ];
    if has_limine() {
        cases.push(case("spine::bios", |test| main_job(test, "bios")));
        cases.push(long_case("spine::uefi", 240, |test| main_job(test, "uefi")));
    }
    cases
}

fn main_job(test: &Context, boot: &str) -> Outcome {
    let ran = test.exec(&[
        "--boot",
        boot,
        "--kd",
        "trace on alpcping",
        "--kd",
        "trace show",
        "winobj \\",
        "alpcping 1000",
    ])?;
    check(ran.status == 0, "the main job failed", &format!("{ran:?}"))?;
    for name in ["Device", "RPC Control", "alpcping", "1000"] {
        check(ran.out.contains(name), &format!("the output lacks `{name}`"), &ran.out)?;
    }
    let lines = ran.out.lines().count();
    check(lines > 1000, "the trace has fewer lines than there were messages", &ran.out)
}

/// Commands in a row, each from a fresh prompt.
fn idle_prompt_answers_again(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    let first = good(&mut session, "hello")?;
    for _ in 0..20 {
        let again = good(&mut session, "hello")?;
        check(again == first, "`hello` prints something else the next time", &again)?;
    }
    session.shutdown().map_err(crate::runner::words)
}

/// The debug console answers while a program holds the shell.
fn kd_while_a_program_runs(test: &Context) -> Outcome {
    use antares_host::session::Line;
    let mut session = test.boot_plain()?;
    session.begin(Line::Console, "waitforever", &mut |_, _| {}).map_err(crate::runner::words)?;
    let mut shown = String::new();
    for _ in 0..50 {
        shown = good_kd(&mut session, "!process 0 0")?;
        if shown.contains("waitforever") {
            return Ok(());
        }
    }
    check(false, "kd does not show the running program", &shown)
}
