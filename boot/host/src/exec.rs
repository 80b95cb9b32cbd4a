//! `./run.sh exec`: commands into the shell and the debug console of a machine without a window.

use crate::error::{Error, Result, message};
use crate::guest::Guest;
use crate::session::{Line, Options, Session};
use std::io::Write;

/// `./run.sh exec --help`.
pub const HELP: &str = "\
./run.sh exec [OPTIONS] [--kd 'COMMAND']... 'COMMAND'...

Boots the system without a window, types each COMMAND into the shell and each --kd COMMAND into the debug
console, prints what they print, shuts the system down by `shutdown`, and exits with the last COMMAND's status.

  --boot bios|uefi|direct   how to boot (bios; direct where Limine is not at hand)
  --smp N   --mem MiB       processors (2), memory (512)
  --timeout S               the whole run may take this many seconds (120)
  --cmdline 'TEXT'          the kernel command line
  --icount                  count guest instructions: the run repeats exactly, and the TSC counts instructions
  --kvm                     KVM instead of emulation
  --keep-logs DIR           put console.log, kd.log and qemu.log there (else they are kept only after a failure)

Order. Commands are typed in the order given, each when the one before it is done, with one exception: of the
--kd commands given before the first COMMAND, only the leading ones that arm something (`trace on`,
`trace filter`, `trace clear`) are typed first; the others are typed after the last COMMAND. So
    ./run.sh exec --kd 'trace on alpcping' --kd 'trace show' 'winobj \\' 'alpcping 1000'
arms the trace, runs both programs, then shows the trace.

Exit status. The last COMMAND's status if it is 0 to 255, else 1 (with --kd commands only: the last of theirs).
124: not done in time. 125: the kernel stopped, or could not be started. 126: the machine ended by itself. 2: wrong usage. In these
cases the console logs are kept and their folder is named. A COMMAND `shutdown` ends the system there: status 0.
What the system prints on its own between commands (a late crash report) is printed where it came.
";

/// A command for one of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where it is typed.
    pub line: Line,
    /// What is typed.
    pub command: String,
}

/// Puts commands as given into the order in which they are typed (see [`HELP`]).
pub fn order(given: Vec<Step>) -> Vec<Step> {
    let Some(first) = given.iter().position(|step| step.line == Line::Console) else { return given };
    let last = given.iter().rposition(|step| step.line == Line::Console).unwrap_or(first);
    let arming = given[..first].iter().take_while(|step| arms(&step.command)).count();
    let (head, rest) = given.split_at(arming);
    let (moved, rest) = rest.split_at(first - arming);
    let (middle, tail) = rest.split_at(last + 1 - first);
    [head, middle, moved, tail].concat()
}

/// Does this debug-console command only set something up for what comes?
fn arms(command: &str) -> bool {
    let mut words = command.split_whitespace();
    words.next() == Some("trace") && matches!(words.next(), Some("on" | "filter" | "clear"))
}

/// The exit status of the process for a command's 32-bit status.
pub fn exit_code(status: u32) -> u8 {
    u8::try_from(status).unwrap_or(1)
}

/// Boots and runs the commands; the result is the exit status.
pub fn run(guest: &Guest, options: &Options, given: Vec<Step>, out: &mut dyn Write) -> Result<u8> {
    if let Some(step) = given.iter().find(|step| step.command.contains(|c: char| c.is_control())) {
        return Err(Error::Usage(format!(
            "a command is one line without control characters, and this one is not: {:?}",
            step.command
        )));
    }
    let steps = order(given);
    let mut session = Session::start(guest, options)?;
    session.wait_ready(Line::Console)?;
    let (status, ended) = drive(&mut session, &steps, out)?;
    if !ended {
        session.shutdown()?;
    }
    Ok(exit_code(status))
}

/// Types the commands and writes what is printed to `out`; the status that counts, and whether a command ended the system.
pub fn drive(session: &mut Session, steps: &[Step], out: &mut dyn Write) -> Result<(u32, bool)> {
    let counts = if steps.iter().any(|step| step.line == Line::Console) { Line::Console } else { Line::Kd };
    let mut status = 0;
    for (number, step) in steps.iter().enumerate() {
        let mut ends_with_newline = true;
        let mut failed = None;
        let mut sink = |_: Line, text: &[u8]| {
            if let Some(last) = text.last() {
                ends_with_newline = *last == b'\n';
            }
            if let Err(error) = out.write_all(text).and_then(|()| out.flush()) {
                failed = Some(error);
            }
        };
        if step.line == Line::Console && ends_system(&step.command) {
            if step.command.split_whitespace().any(|word| word.eq_ignore_ascii_case("/r")) {
                session.expect_reset();
            }
            session.begin(step.line, &step.command, &mut sink)?;
            session.wait_end(&format!("`{}` to end the machine", step.command), &mut sink)?;
            if let Some(left) = steps.get(number + 1) {
                return Err(message(format!(
                    "`{}` ended the system, so `{}` cannot run",
                    step.command, left.command
                )));
            }
            return Ok((0, true));
        }
        let result = session.run_with(step.line, &step.command, &mut sink);
        if let Some(error) = failed {
            return Err(message(format!("cannot write the output: {error}")));
        }
        if !ends_with_newline {
            let _ = out.write_all(b"\n");
        }
        let of_step = result?;
        if step.line == counts {
            status = of_step;
        }
    }
    Ok((status, false))
}

fn ends_system(command: &str) -> bool {
    command.split_whitespace().next() == Some("shutdown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing;

    fn steps(text: &[&str]) -> Vec<Step> {
        text.iter()
            .map(|item| match item.strip_prefix("kd:") {
                Some(command) => Step { line: Line::Kd, command: command.into() },
                None => Step { line: Line::Console, command: (*item).into() },
            })
            .collect()
    }

    #[test]
    fn arming_comes_first_and_the_rest_after_the_last_command() {
        let given = steps(&["kd:trace on alpcping", "kd:trace show", "winobj \\", "alpcping 1000"]);
        assert_eq!(
            order(given),
            steps(&["kd:trace on alpcping", "winobj \\", "alpcping 1000", "kd:trace show"])
        );
    }

    #[test]
    fn only_a_leading_run_arms() {
        let given = steps(&["kd:!process 0 0", "kd:trace on", "hello"]);
        assert_eq!(order(given), steps(&["hello", "kd:!process 0 0", "kd:trace on"]));
        let given = steps(&["kd:trace clear", "kd:trace on", "kd:trace show", "hello"]);
        assert_eq!(order(given), steps(&["kd:trace clear", "kd:trace on", "hello", "kd:trace show"]));
    }

    #[test]
    fn commands_between_and_after_stay() {
        let given = steps(&["kd:lm", "a", "kd:x", "b", "kd:y"]);
        assert_eq!(order(given), steps(&["a", "kd:x", "b", "kd:lm", "kd:y"]));
    }

    #[test]
    fn without_shell_commands_nothing_moves() {
        let given = steps(&["kd:lm", "kd:trace on"]);
        assert_eq!(order(given.clone()), given);
        assert_eq!(order(vec![]), vec![]);
    }

    #[test]
    fn output_comes_in_order_and_the_last_shell_status_counts() {
        let mut session = testing::session(testing::echo, testing::LONG);
        let mut out = Vec::new();
        let steps = order(steps(&["kd:trace on x", "kd:lm", "four", "seventy"]));
        let (status, ended) = drive(&mut session, &steps, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "<trace on x>\n<four>\n<seventy>\n<lm>\n");
        assert_eq!((status, ended), (7, false));
    }

    #[test]
    fn with_kd_commands_alone_the_last_of_them_counts() {
        let mut session = testing::session(testing::echo, testing::LONG);
        assert_eq!(drive(&mut session, &steps(&["kd:a", "kd:bcd"]), &mut Vec::new()).unwrap(), (3, false));
    }

    #[test]
    fn shutdown_ends_it() {
        let mut session = testing::session(testing::echo, testing::LONG);
        assert_eq!(drive(&mut session, &steps(&["a", "shutdown"]), &mut Vec::new()).unwrap(), (0, true));
        let mut session = testing::session(testing::echo, testing::LONG);
        assert!(drive(&mut session, &steps(&["shutdown", "a"]), &mut Vec::new()).is_err());
    }

    #[test]
    fn statuses_become_exit_codes() {
        assert_eq!([0, 1, 255, 256, 0xC000_0005].map(exit_code), [0, 1, 255, 1, 1]);
    }
}
