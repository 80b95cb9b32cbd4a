//! The debug console: its commands on a live system, `--json`, deadlocks, and what comes over its line.

use crate::runner::{Case, Context, Outcome, case, check, good, good_kd, long_case, plain, words};
use antares_host::qemu::Machine;
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
        case("kd::debugger_commands", debugger_commands),
        case("kd::what_is_not_there", what_is_not_there),
        case("kd::a_stopped_system", |test| a_stopped_system(test, 2)),
        case("kd::a_stopped_system_smp_4", |test| a_stopped_system(test, 4)),
        long_case("kd::stopped_while_all_are_busy", 300, stopped_while_all_are_busy),
        case("kd::after_a_bugcheck", after_a_bugcheck),
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
    good_kd(&mut session, ".process cmd")?;
    for command in [
        "!token",
        "!vad",
        "!object \\",
        "!running",
        "!ready",
        "!timer",
        "!pcr",
        "!idt",
        "!pte ffffffff80000000",
        "lm",
        "x cmd!*main*",
        "ln ffffffff80000000",
        "u ffffffff80000000",
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

/// Each command of a debugger shows what is known to be there.
fn debugger_commands(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    let threads = json(&mut session, "!process cmd 7")?;
    let thread = threads[0]["threads"][0]["thread"].to_string();
    good_kd(&mut session, &format!(".thread {thread}"))?;
    for (command, shows) in [
        ("lm", &["ffffffff80000000", " nt ", " cmd ", " kd "][..]),
        ("x nt!*antares_trap_stubs*", &["nt!antares_trap_stubs", "1 symbols"]),
        ("ln nt!antares_trap_stubs+5", &["nt!antares_trap_stubs+0x5"]),
        ("u nt!antares_trap_return L4", &["nt!antares_trap_return:", "pop r15"]),
        ("u cmd!_start L1", &["cmd!_start:"]),
        ("dq nt!antares_trap_stubs L2", &["ffffffff8000"]),
        (
            "k",
            &[
                "kernel ffffffff8",
                "nt!microkernel::sys::alpc::NtAlpcSendWaitReceivePort",
                "user",
                "cmd!_start",
            ],
        ),
        ("r", &["rip=", "cs=0000000000000023", "cmd!"]),
        (".process", &["(cmd)"]),
        ("!vad", &["Mapped  Commit  EXECUTE_READ", "pages committed"]),
        ("!token", &["User: S-1-5-18", "SeDebugPrivilege", "IntegrityLevel: System"]),
        ("!pte ffffffff80000000", &["PXE at ", "PTE at ", "KREV"]),
        ("!idt e", &["0e: ", "nt!antares_trap_stubs+0xe0", "#PF"]),
        ("!pcr 1", &["KPCR for processor 1", "CurrentThread"]),
        ("!running", &["(kd)"]),
        ("!object \\SmApiPort", &["Type: ALPC Port"]),
        ("!alpc /p \\SmApiPort", &["CompletionList", "MaxMessageLength", "Security", "Canceled queue"]),
        ("!thread", &["Waiting for any of ", "(handle 0x"]),
    ] {
        let text = good_kd(&mut session, command)?;
        for wanted in shows {
            check(text.contains(wanted), &format!("`{command}` does not show `{wanted}`"), &text)?;
        }
    }
    types(&mut session, &thread)?;
    // What a program has in its memory is what the debugger sees there, byte by byte the beginning of its file.
    let vads = json(&mut session, "!vad")?;
    let image = vads.as_array().and_then(|runs| runs.iter().find(|run| run["type"] == "Mapped")).cloned();
    let start = image.and_then(|run| run["start"].as_u64()).ok_or("cmd has no image")?;
    let head = good_kd(&mut session, &format!("db {start:x} L4"))?;
    check(head.contains("7f 45 4c 46"), "the image does not begin as an ELF file", &head)?;
    session.shutdown().map_err(words)
}

/// `dt` knows the fields of the kernel's types, and reads them: a thread object holds the thread's id.
fn types(session: &mut Session, thread: &str) -> Outcome {
    let text = good_kd(session, "dt microkernel::ps::thread::Thread")?;
    for field in [" process ", " stack ", " id "] {
        check(text.contains(field), &format!("a thread has no field{field}"), &text)?;
    }
    let names = good_kd(session, "dt *dispatch*state*")?;
    check(names.contains("antares_core::dispatch::State"), "a type is not found by its pattern", &names)?;
    let state = good_kd(session, "dt antares_core::dispatch::State")?;
    check(state.contains("Waiting = 5"), "an enum has no names of values", &state)?;
    let listed = good_kd(session, &format!("!thread {thread}"))?;
    let object = listed.split("Object: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let value = json(session, &format!("dt microkernel::ps::thread::Thread {object}"))?;
    let fields = value["members"].as_array().cloned().unwrap_or_default();
    let id = fields.iter().find(|field| field["name"] == "id").map(|field| field["value"].clone());
    let id = id.and_then(|value| u32::from_str_radix(value.as_str()?, 16).ok());
    check(
        id.map(|id| id.to_string()).as_deref() == Some(thread),
        "the thread's id is not in its object",
        &value.to_string(),
    )?;
    let refused = session.kd("dt NoSuchType").map_err(words)?;
    check(refused.status != 0, "an unknown type is not refused", &refused.text)
}

/// Addresses of all kinds of nothing: question marks, never a fault.
fn what_is_not_there(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    for process in ["0", "cmd"] {
        session.kd(&format!(".process {process}")).map_err(words)?;
        for address in [
            "0",
            "ffffffffffffffff",
            "fffffffffffffff8",
            "8000000000000000",
            "0000800000000000",
            "00007fffffffffff",
            "ffffff0000000000",
            "fffffffffffff000",
        ] {
            for command in ["db", "dw", "dd", "dq", "du", "u", "!pte", "ln"] {
                let output = session.kd(&format!("{command} {address}")).map_err(words)?;
                let nothing = output.text.contains('?')
                    || output.text.contains("not mapped")
                    || output.text.contains("in no symbol")
                    || output.status != 0;
                check(nothing, &format!("{command} {address} shows something"), &output.text)?;
            }
        }
    }
    // The local APIC, which the kernel has mapped: device registers are never read.
    let mapped = good_kd(&mut session, "!pte fffffe8000000000")?;
    check(mapped.contains("pfn fee00 "), "the local APIC is mapped elsewhere", &mapped)?;
    let text = good_kd(&mut session, "dd fffffe8000000000 L4")?;
    check(text.contains("????????"), "device memory was read", &text)?;
    good(&mut session, "hello")?;
    session.shutdown().map_err(words)
}

/// Waits until the shell waits for a line.
fn shell_waits(session: &mut Session) -> Outcome {
    let mut text = String::new();
    for _ in 0..100 {
        text = good_kd(session, "!wait")?;
        if text.contains("(cmd)") {
            return Ok(());
        }
    }
    check(false, "the shell does not wait for a line", &text)
}

/// What the reduced console answers, stopped or crashed.
fn reduced_console(session: &mut Session, processors: u32) -> Outcome {
    for (command, shows) in [
        (".help", &["!running", ".reboot"][..]),
        ("r", &["rip="]),
        ("k", &["nt!microkernel::"]),
        ("~1", &[]),
        ("r", &["rip=", "cs="]),
        ("k", &["!"]),
        ("~0", &[]),
        ("!running", &["  0  ", "  1  "]),
        ("!ready", &[]),
        ("!process 0 0", &["Image: smss", "Image: cmd"]),
        (
            "!process 0 7",
            &["Waiting for reply to ALPC message ", ": received at port ", " owned by process "],
        ),
        ("!process 4", &["Image: smss", "THREAD 8 "]),
        ("!thread", &["Process: kd"]),
        ("!thread 8", &["THREAD 8 "]),
        ("k 8", &["nt!microkernel::", "-- user mode", "smss!"]),
        ("!alpc", &["connection", "\\SmApiPort"]),
        ("!vm", &["pages"]),
        ("db ffffffff80000000 L10", &["ffffffff80000000  "]),
        ("dw ffffffff80000000 L10", &["ffffffff80000000  "]),
        ("dd ffffffffffffffff", &["????????"]),
        ("dq 0 L2", &["????????????????"]),
        ("dq 8000000000000000 L2", &["????????????????"]),
        ("ln ffffffff80000000", &["ffffffff80000000"]),
        (".process 36", &[]),
        ("dd 0 L4", &["????????"]),
    ] {
        let text = good_kd(session, command)?;
        for wanted in shows {
            check(text.contains(wanted), &format!("`{command}` does not show `{wanted}`"), &text)?;
        }
    }
    for wrong in
        ["frob", "db", "db x", "db 0 L0", "db 0 L99999", "~99", "k 99999", "!alpc /m zz", "a b c d e f g"]
    {
        let output = session.kd(wrong).map_err(words)?;
        check(
            output.status != 0 && !output.text.is_empty(),
            &format!("`{wrong}` is not refused"),
            &output.text,
        )?;
    }
    let running = good_kd(session, "!running")?;
    check(running.lines().count() == processors as usize, "not every processor is listed", &running)
}

/// `.break`, everything that can be asked, `g`: and all goes on as if nothing had been. Twice.
fn a_stopped_system(test: &Context, smp: u32) -> Outcome {
    let mut session = test.boot(Machine { smp, ..plain() })?;
    for _ in 0..2 {
        shell_waits(&mut session)?;
        let text = good_kd(&mut session, ".break")?;
        check(text.contains("The system is stopped"), "the system is not stopped", &text)?;
        reduced_console(&mut session, smp)?;
        // Keys that no line is made of, and lines that are too long.
        session.wait_ready(Line::Kd).map_err(words)?;
        session.send(Line::Kd, &[0x1b, b'[', b'A', 0xff, 0, 0x1b, b'O', b'P', 0x80]).map_err(words)?;
        session.send(Line::Kd, &[b'x'; 600]).map_err(words)?;
        session.send(Line::Kd, b"\x15").map_err(words)?;
        session.send_for_prompt(Line::Kd, b"\x03").map_err(words)?;
        good_kd(&mut session, "!vm")?;
        good_kd(&mut session, "g")?;
        let live = good_kd(&mut session, "!process 0 0")?;
        check(live.contains("SessionId"), "the server does not answer after g", &live)?;
        good(&mut session, "alpcping 100")?;
    }
    let refused = session.kd("g").map_err(words)?;
    check(refused.status != 0, "g of a running system is not refused", &refused.text)?;
    session.shutdown().map_err(words)
}

/// The system is stopped in the middle of work on all processors, again and again, and the work comes to its end.
fn stopped_while_all_are_busy(test: &Context) -> Outcome {
    let mut session = test.boot(Machine { smp: 4, ..plain() })?;
    session.begin(Line::Console, "killtest 1 2", &mut |_, _| {}).map_err(words)?;
    for _ in 0..10 {
        good_kd(&mut session, ".break")?;
        for command in ["!running", "!process 0 7", "!alpc", "~1", "r", "k", "g"] {
            good_kd(&mut session, command)?;
        }
    }
    let status = session.finish_command(Line::Console, "killtest 1 2", &mut |_, _| {}).map_err(words)?;
    check(status == 0, "the program failed", session.transcript(Line::Console))?;
    session.shutdown().map_err(words)
}

/// The same answers after a bugcheck, but for `g`.
fn after_a_bugcheck(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    shell_waits(&mut session)?;
    session.expect_bugcheck();
    let text = good_kd(&mut session, ".crash")?;
    check(text.contains("The system has crashed"), "the crash is not said on the debug console", &text)?;
    reduced_console(&mut session, 2)?;
    let refused = session.kd("g").map_err(words)?;
    check(refused.status != 0, "g of a crashed system is not refused", &refused.text)?;
    let screen = session.transcript(Line::Console);
    check(screen.contains("MANUALLY_INITIATED_CRASH"), "the screen is not on the console", screen)?;
    session.begin(Line::Kd, ".reboot", &mut |_, _| {}).map_err(words)?;
    session.expect_reset();
    session.wait_end(".reboot to restart the machine", &mut |_, _| {}).map_err(words)
}
