//! `./run.sh exec`: output, order, statuses, time-outs.

use crate::runner::{Case, Context, Outcome, case, check};

/// The group.
pub fn cases() -> Vec<Case> {
    vec![
        case("exec::prints_output", prints_output),
        case("exec::last_status_counts", last_status_counts),
        case("exec::unknown_command", unknown_command),
        case("exec::kd_commands", kd_commands),
        case("exec::timeout", timeout),
        case("exec::shutdown_as_a_command", shutdown_as_a_command),
        case("exec::wrong_usage", wrong_usage),
    ]
}

fn prints_output(test: &Context) -> Outcome {
    let ran = test.exec(&["hello"])?;
    check(ran.status == 0, "exec hello did not succeed", &format!("{ran:?}"))?;
    check(!ran.out.contains(['\x1b', '\r']), "escape codes in the output", &ran.out)?;
    check(!ran.out.contains("shutdown"), "the shutdown is in the output", &ran.out)
}

fn last_status_counts(test: &Context) -> Outcome {
    let ran = test.exec(&["no-such-program", "hello"])?;
    check(ran.status == 0, "the status is not that of the last command", &format!("{ran:?}"))?;
    let ran = test.exec(&["hello", "no-such-program"])?;
    check(ran.status != 0, "the status is not that of the last command", &format!("{ran:?}"))
}

fn unknown_command(test: &Context) -> Outcome {
    let ran = test.exec(&["no-such-program"])?;
    check(
        !matches!(ran.status, 0 | 124..=126),
        "an unknown command has a status of its own",
        &format!("{ran:?}"),
    )?;
    check(ran.out.contains("no-such-program"), "the message does not name the command", &ran.out)
}

fn kd_commands(test: &Context) -> Outcome {
    let ran = test.exec(&["--kd", "help", "hello"])?;
    check(ran.status == 0, "exec failed", &format!("{ran:?}"))?;
    check(ran.out.contains("trace"), "kd's help is missing from the output", &ran.out)?;
    let ran = test.exec(&["--kd", "no-such-command"])?;
    check(
        !matches!(ran.status, 0 | 124..=126),
        "an unknown kd command has a status of its own",
        &format!("{ran:?}"),
    )
}

/// The shell waits for a program that never ends; exec does not.
fn timeout(test: &Context) -> Outcome {
    let ran = test.exec(&["--timeout", "10", "hello", "waitforever"])?;
    check(ran.status == 124, "a hang does not end with status 124", &format!("{ran:?}"))?;
    check(
        ran.err.contains("waitforever") && ran.err.contains("logs"),
        "the message lacks the command or the logs",
        &ran.err,
    )?;
    check(!ran.out.trim().is_empty(), "what was printed before the hang is missing", &ran.out)
}

fn shutdown_as_a_command(test: &Context) -> Outcome {
    let ran = test.exec(&["shutdown"])?;
    check(ran.status == 0, "shutdown as a command does not end well", &format!("{ran:?}"))
}

fn wrong_usage(test: &Context) -> Outcome {
    for arguments in [&[][..], &["--smp", "0", "hello"], &["--nonsense", "hello"], &["a\nb"]] {
        let ran = test.exec(arguments)?;
        check(
            ran.status == 2 && !ran.err.is_empty(),
            "wrong usage has another status than 2",
            &format!("{arguments:?} {ran:?}"),
        )?;
    }
    Ok(())
}
