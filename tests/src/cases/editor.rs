//! The line editor, key by key: what a person expects of a shell.

use crate::runner::{Case, Context, Outcome, case, check, good, words};
use antares_host::session::{Line, Session};

const UP: &[u8] = b"\x1b[A";
const DOWN: &[u8] = b"\x1b[B";
const RIGHT: &[u8] = b"\x1b[C";
const LEFT: &[u8] = b"\x1b[D";
const HOME: &[u8] = b"\x1b[H";
const END: &[u8] = b"\x1b[F";
const DELETE: &[u8] = b"\x1b[3~";
const BACKSPACE: &[u8] = b"\x7f";
const CTRL_C: &[u8] = b"\x03";

/// The group.
pub fn cases() -> Vec<Case> {
    vec![
        case("editor::cursor_keys", |test| cursor_keys(test, Line::Console)),
        case("editor::cursor_keys_in_kd", |test| cursor_keys(test, Line::Kd)),
        case("editor::history", history),
        case("editor::ctrl_c_drops_the_line", ctrl_c_drops_the_line),
        case("editor::ctrl_c_ends_a_program", ctrl_c_ends_a_program),
    ]
}

/// Sends keys and waits until the editor shows a text.
fn keys(session: &mut Session, line: Line, keys: &[&[u8]], shows: &str) -> Outcome {
    session.send(line, &keys.concat()).map_err(words)?;
    session.expect_editor(line, shows).map_err(words)
}

fn cursor_keys(test: &Context, line: Line) -> Outcome {
    let mut session = test.boot_plain()?;
    session.wait_ready(line).map_err(words)?;
    keys(&mut session, line, &[b"abd"], "abd")?;
    keys(&mut session, line, &[LEFT, b"c"], "abcd")?;
    keys(&mut session, line, &[HOME, b"_", END, b"!"], "_abcd!")?;
    keys(&mut session, line, &[BACKSPACE, HOME, DELETE], "abcd")?;
    keys(&mut session, line, &[RIGHT, RIGHT, BACKSPACE, b"x"], "axcd")
}

/// The text at the prompt, once it is `wanted`.
fn recalls(session: &mut Session, key: &[u8], wanted: &str) -> Outcome {
    keys(session, Line::Console, &[key], wanted)
}

fn history(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    good(&mut session, "hello")?;
    good(&mut session, "help")?;
    session.wait_ready(Line::Console).map_err(words)?;
    recalls(&mut session, UP, "help")?;
    recalls(&mut session, UP, "hello")?;
    recalls(&mut session, DOWN, "help")?;
    recalls(&mut session, DOWN, "")
}

fn ctrl_c_drops_the_line(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    keys(&mut session, Line::Console, &[b"no-such-program"], "no-such-program")?;
    session.send_for_prompt(Line::Console, CTRL_C).map_err(words)?;
    let text = good(&mut session, "hello")?;
    check(!text.contains("no-such-program"), "the dropped line was run", &text)?;
    session.shutdown().map_err(words)
}

fn ctrl_c_ends_a_program(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    session.begin(Line::Console, "waitforever", &mut |_, _| {}).map_err(words)?;
    let from = session.expect(Line::Console, 0, "Waiting for ever").map_err(words)?;
    session.send(Line::Console, CTRL_C).map_err(words)?;
    let status = session.finish_command(Line::Console, "waitforever", &mut |_, _| {}).map_err(words)?;
    check(status != 0, "a program ended by Ctrl-C has status 0", &session.transcript(Line::Console)[from..])?;
    good(&mut session, "hello")?;
    session.shutdown().map_err(words)
}
