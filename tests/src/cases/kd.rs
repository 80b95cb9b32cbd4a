//! The debug console: its commands on a live system, `--json`, deadlocks, and what comes over its line.

use crate::runner::{Case, Context, Outcome, case, check, good, good_kd, words};
use antares_host::session::{Line, Session};
use serde_json::Value;

/// The group.
pub fn cases() -> Vec<Case> {
    vec![
        case("kd::listings_are_json", listings_are_json),
        case("kd::a_deadlock_is_named", a_deadlock_is_named),
        case("kd::tab_completes", tab_completes),
        case("kd::pages_for_a_terminal", pages_for_a_terminal),
        case("kd::any_input_is_survived", any_input_is_survived),
    ]
}

/// Runs a listing with `--json`; what it printed, parsed.
fn json(session: &mut Session, command: &str) -> Result<Value, String> {
    let text = good_kd(session, &format!("{command} --json"))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| format!("{command}: {error} in:\n{text}"))?;
    check(value.is_array() || value.is_object(), &format!("{command} is neither array nor object"), &text)?;
    Ok(value)
}

fn listings_are_json(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    let processes = json(&mut session, "!process 0 7")?;
    let smss = &processes[0];
    check(
        smss["image"] == "smss" && smss["threads"][0]["thread"].is_u64(),
        "the first process is not smss with its thread",
        &processes.to_string(),
    )?;
    let alpc = json(&mut session, "!alpc")?;
    let ports = alpc["ports"].as_array().cloned().unwrap_or_default();
    let named = ports.iter().find(|port| port["name"] == "\\SmApiPort");
    let named = named.ok_or_else(|| format!("no \\SmApiPort in {alpc}"))?;
    check(named["owner_image"] == "smss", "smss does not own its port", &named.to_string())?;
    for command in [
        "!process 0 0",
        "!thread",
        "!wait",
        "!alpc /p \\SmApiPort",
        "!alpc /lpp smss",
        "!alpc /lpc \\SmApiPort",
        "!handle smss",
        "!vm",
        "!syscalls",
    ] {
        json(&mut session, command)?;
    }
    let refused = session.kd("!process nobody --json").map_err(words)?;
    let refusal: Value = serde_json::from_str(&refused.text).map_err(|error| error.to_string())?;
    check(
        refused.status != 0 && refusal["error"].is_string(),
        "a failure is not JSON with a status",
        &refused.text,
    )?;
    session.shutdown().map_err(words)
}

/// Two processes that ask each other: both threads say why they wait, the chain closes.
fn a_deadlock_is_named(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    good(&mut session, "deadlock")?;
    let text = good_kd(&mut session, "!wait")?;
    check(text.contains(" threads wait for a reply, 1 deadlock\n"), "no deadlock is found", &text)?;
    let lines: Vec<&str> = text.lines().collect();
    let named = lines.iter().find(|line| line.starts_with("deadlock: thread ")).unwrap_or(&"");
    check(named.matches("(deadlock)").count() == 3, "the deadlock does not go around", &text)?;
    let waits = lines.iter().rev().skip(1).take(5).filter(|line| {
        line.contains("Waiting for reply to ALPC message ")
            && line.contains(": queued at port ")
            && line.contains(": owned by process ")
            && line.contains("(\\RPC Control\\deadlock-")
    });
    check(waits.count() == 2, "the chain does not say why each waits", &text)?;
    let json = json(&mut session, "!wait")?;
    let circle = json["deadlocks"][0].as_array().map_or(0, Vec::len);
    check(circle == 2, "the deadlock is not in the JSON", &json.to_string())?;
    let thread = json["deadlocks"][0][0].to_string();
    let one = good_kd(&mut session, &format!("!wait {thread}"))?;
    check(one.contains("deadlock: "), "!wait THREAD does not name the deadlock", &one)?;
    let detail = good_kd(&mut session, "!process deadlock 7")?;
    check(
        detail.matches("Waiting for reply to ALPC message").count() == 2,
        "!process does not say why the threads wait",
        &detail,
    )?;
    // The end of one lets the other go, so only one may be there to be ended.
    session.shell("taskkill /IM deadlock /F").map_err(words)?;
    let after = good_kd(&mut session, "!wait")?;
    check(after.ends_with(", no deadlock\n"), "the deadlock outlives its processes", &after)?;
    session.shutdown().map_err(words)
}

fn tab_completes(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    session.wait_ready(Line::Kd).map_err(words)?;
    let mut types = |keys: &str, shows: &str| {
        session.send(Line::Kd, keys.as_bytes()).map_err(words)?;
        session.expect_editor(Line::Kd, shows).map_err(words)
    };
    types("!proc\t", "!process ")?;
    types("obj\t", "!process objmgr ")?;
    types("\x15!alpc /p \\Sm\t", "!alpc /p \\SmApiPort ")?;
    types("\x15!a\t", "!alpc ")
}

/// After `.terminal` a long listing stops at each screenful; a script that comes later gets all at once.
fn pages_for_a_terminal(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    good_kd(&mut session, ".terminal 5 80")?;
    let from = session.transcript(Line::Kd).len();
    session.begin(Line::Kd, "help", &mut |_, _| {}).map_err(words)?;
    let seen = session.expect(Line::Kd, from, "-- more:").map_err(words)?;
    session.send(Line::Kd, b" ").map_err(words)?;
    session.expect(Line::Kd, seen, "-- more:").map_err(words)?;
    session.send(Line::Kd, b"q").map_err(words)?;
    session.finish_command(Line::Kd, "help", &mut |_, _| {}).map_err(words)?;
    let shown = session.transcript(Line::Kd)[from..].lines().filter(|line| line.contains("  ")).count();
    check(shown <= 9, "two pages are more than two pages", &session.transcript(Line::Kd)[from..])?;
    good_kd(&mut session, ".terminal off")?;
    let all = good_kd(&mut session, "help")?;
    check(all.lines().count() > 10 && !all.contains("more:"), "a script is paged", &all)
}

/// Bytes of any kind and lines far too long leave the console answering.
fn any_input_is_survived(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    session.wait_ready(Line::Kd).map_err(words)?;
    let mut seed = 1u64;
    let mut garbage = Vec::new();
    for _ in 0..6000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let byte = (seed >> 56) as u8;
        // Enter after bytes that by chance spell a command is as likely as in a monkey's typing.
        garbage.push(if byte == b'\r' { b'\t' } else { byte });
    }
    garbage.extend(b"\r");
    garbage.extend(std::iter::repeat_n(b'x', 10_000));
    garbage.extend(b"\r!process ");
    garbage.extend(std::iter::repeat_n(b'9', 5000));
    garbage.extend(b"\r\x1b[\x1b]\x1bO\xff\xc3\r\"\"\"\r");
    for piece in garbage.chunks(512) {
        session.send(Line::Kd, piece).map_err(words)?;
    }
    let from = session.transcript(Line::Kd).len();
    session.send(Line::Kd, b"\x03\x15!process 0 0\r").map_err(words)?;
    session.expect(Line::Kd, from, "Image: smss").map_err(words)?;
    good(&mut session, "hello")?;
    session.shutdown().map_err(words)
}
