//! Traces: what the console shows while a program talks, and files that other programs open and agree with.

use crate::runner::{Case, Context, Outcome, case, causes, check, good, good_kd, long_case, plain, words};
use ::trace::exchange::Kind;
use ::trace::testing::TraceMemory;
use ::trace::{Exchanges, Names, Position};
use abi::alpc::{LPC_REPLY, LPC_REQUEST};
use abi::trace::{
    NAME_PORT, NAME_PROCESS, TRACE_RECEIVE, TRACE_REPLY, TRACE_SEND, TRACE_SWITCH, TRACE_UNWAIT,
    TRACE_WAIT_REPLY,
};
use antares_host::exec::Step;
use antares_host::qemu::Machine;
use antares_host::session::Line;
use antares_host::trace::{Capture, Format, RECORDS, Wanted, capture, rules};
use antares_host::{guest, paths};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The group.
pub fn cases() -> Vec<Case> {
    vec![
        case("trace::from_the_first_message", from_the_first_message),
        case("trace::live_while_a_program_talks", live_while_a_program_talks),
        case("trace::each_record_is_there_or_lost", each_record_is_there_or_lost),
        case("trace::only_late_answers", only_late_answers),
        case("trace::views_handles_and_impersonation", views_handles_and_impersonation),
        case("trace::switches", switches),
        case("trace::what_it_costs", what_it_costs),
        case("trace::a_command_causes_requests", a_command_causes_requests),
        case("trace::payloads_of_both_ways", payloads_of_both_ways),
        case("trace::a_malformed_filter_is_refused", a_malformed_filter_is_refused),
        long_case("trace::files_agree_with_the_program", 240, files_agree_with_the_program),
        long_case("trace::all_of_alpctest_keeps_the_rules", 240, all_of_alpctest_keeps_the_rules),
        case("trace::the_page_with_100_000_messages", the_page_with_100_000_messages),
    ]
}

const PINGS: usize = 300;

/// With `trace=on` on the command line the trace begins with the boot.
fn from_the_first_message(test: &Context) -> Outcome {
    let mut session = test.boot(Machine { cmdline: "trace=on".into(), ..plain() })?;
    let shown = good_kd(&mut session, "trace show")?;
    let first = shown.lines().nth(1).unwrap_or_default();
    check(
        first.contains(" create ") && first.contains("smss("),
        "the first event is not smss's port",
        &shown,
    )?;
    let registers = shown.lines().any(|line| line.contains(" send ") && line.contains("objmgr("));
    check(registers, "objmgr's first request was not recorded", &shown)?;
    check(shown.trim_end().ends_with("none lost"), "records of the boot were lost", &shown)?;
    session.shutdown().map_err(words)
}

/// `trace live` prints messages as they come, each once.
fn live_while_a_program_talks(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    good_kd(&mut session, "trace on alpcping")?;
    let command = "trace live for=60";
    session.begin(Line::Kd, command, &mut |_, _| {}).map_err(words)?;
    good(&mut session, &format!("alpcping {PINGS}"))?;
    session.send(Line::Kd, b"q").map_err(words)?;
    session.finish_command(Line::Kd, command, &mut |_, _| {}).map_err(words)?;
    let lines = session.transcript(Line::Kd);
    let round_trips = lines.lines().filter(|line| line.contains("32>32")).count();
    check(
        round_trips == PINGS && !lines.contains("LOST"),
        &format!("{round_trips} round trips were shown"),
        lines,
    )?;
    session.shutdown().map_err(words)
}

/// More records than a ring holds, with nobody reading: what is not shown is counted.
fn each_record_is_there_or_lost(test: &Context) -> Outcome {
    let mut session = test.boot(Machine { cmdline: "trace.records=4096".into(), smp: 1, ..plain() })?;
    good_kd(&mut session, "trace on alpcping")?;
    good(&mut session, "alpcping 100000")?;
    good_kd(&mut session, "trace off")?;
    let shown = good_kd(&mut session, "trace status")?;
    let numbers: Vec<u64> = shown.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [recorded, lost, 1, 4096] = numbers[..] else { return check(false, "no counts", &shown) };
    check(recorded >= 200_000 && lost == recorded - 4096, "records are unaccounted for", &shown)?;
    let tail = good_kd(&mut session, "trace tail last=1")?;
    check(tail.contains(&format!("{lost} LOST")), "the loss is not told", &tail)?;
    session.shutdown().map_err(words)
}

/// A filter by latency records answers that took long, and nothing else.
fn only_late_answers(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    good_kd(&mut session, "trace on alpcping latency>=1ticks")?;
    good(&mut session, "alpcping 100")?;
    let shown = good_kd(&mut session, "trace show")?;
    let timed = shown.lines().filter(|line| line.contains(" timed ") && line.contains("32/72")).count();
    check(timed == 100, &format!("{timed} of 100 answers were timed"), &shown)?;
    check(!shown.contains(" send ") && shown.contains(" took "), "other events were recorded", &shown)?;
    good_kd(&mut session, "trace on alpcping latency>100s")?;
    good(&mut session, "alpcping 100")?;
    let shown = good_kd(&mut session, "trace show")?;
    check(shown == "0 records, none lost\n", "quick answers were recorded", &shown)?;
    session.shutdown().map_err(words)
}

/// What comes with messages, and what is done with it, has events of its own.
fn views_handles_and_impersonation(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    good_kd(&mut session, "trace on event=view,unmap,handle,impersonate")?;
    good(&mut session, "alpctest view security handle")?;
    let shown = good_kd(&mut session, "trace show")?;
    for event in [" view ", " unmap ", " handle ", " impersonate "] {
        check(shown.contains(event), &format!("no event{event}"), &shown)?;
    }
    check(!shown.contains(" send "), "other events were recorded", &shown)?;
    session.shutdown().map_err(words)
}

/// Switches tell who runs: whoever does something has been switched to, by a switch or by a leg of the fast path.
fn switches(test: &Context) -> Outcome {
    let steps = vec![Step { line: Line::Console, command: "alpcping 50".into() }];
    let guest = guest::built().map_err(words)?;
    let recorded = capture(&guest, &test.options(plain()), &Wanted::default(), steps, &mut Vec::new());
    let (_, capture) = recorded.map_err(words)?;
    let mut running: Vec<Option<(u32, u32)>> = vec![None; capture.cpus];
    let (mut switched, mut legs) = (0, 0);
    for record in &capture.reading.records {
        let place = &mut running[usize::from(record.cpu)];
        let runs = place.is_none_or(|running| running == (record.process, record.thread));
        check(runs, &format!("{place:?} runs, and another does something"), &format!("{record:?}"))?;
        let is_switch = record.event == TRACE_SWITCH;
        if is_switch || record.detail != 0 && matches!(record.event, TRACE_SEND | TRACE_REPLY) {
            // The rest of a leg is its sender's, and then its receiver's.
            *place = is_switch.then_some((record.peer_process, record.detail as u32));
            *(if is_switch { &mut switched } else { &mut legs }) += 1;
        } else if matches!(record.event, TRACE_RECEIVE | TRACE_UNWAIT) {
            *place = Some((record.process, record.thread));
        }
    }
    check(switched > 10 && legs >= 80, "switches are missing", &format!("{switched} switches, {legs} legs"))
}

/// Guest instructions of the 32-byte round trip: on at most 15 % more than off, and at most 8 % more with a filter that rejects it,
/// by name or by condition.
fn what_it_costs(test: &Context) -> Outcome {
    let mut session = test.boot(Machine { icount: true, smp: 1, ..plain() })?;
    let mut off = None;
    let goals =
        [("port=nothing", 8.0), ("nobody", 8.0), ("size>100", 8.0), ("type=datagram", 8.0), ("", 15.0)];
    for (filter, percent) in [("off", 0.0)].into_iter().chain(goals) {
        good_kd(
            &mut session,
            &if filter == "off" { "trace off".into() } else { format!("trace on {filter}") },
        )?;
        let printed = good(&mut session, "bench alpc_rt_32")?;
        let count = printed.split_whitespace().nth(2).and_then(|word| word.parse::<f64>().ok());
        let count = count.ok_or_else(|| format!("no count: {printed}"))?;
        let more = (count / *off.get_or_insert(count) - 1.0) * 100.0;
        check(
            more <= percent,
            &format!("`trace on {filter}` costs {more:.1} %"),
            &format!("{off:?} and {count}"),
        )?;
    }
    session.shutdown().map_err(words)
}

/// What a command asks of whom, in a line each.
fn a_command_causes_requests(test: &Context) -> Outcome {
    causes(test, "winobj \\Driver", "objmgr", "objmgr OpenDirectory", 100_000)?;
    causes(test, "hello", "console", "console Write", 2_000_000)
}

/// Payloads of requests and replies, by the fast path and the long way, are there and decoded.
fn payloads_of_both_ways(test: &Context) -> Outcome {
    for cmdline in ["", "alpc.fastpath=off"] {
        let mut session = test.boot(Machine { cmdline: cmdline.into(), ..plain() })?;
        good_kd(&mut session, "trace on payload=48")?;
        good(&mut session, "alpcping 10")?;
        good(&mut session, "winobj \\Driver")?;
        let shown = good_kd(&mut session, "trace tail")?;
        let pings = shown.lines().filter(|line| line.trim_start().starts_with("> 00 00 00 00")).count();
        check(pings >= 1, "no payload of the program", &shown)?;
        for side in ["> objmgr ", "< objmgr ", "> console "] {
            let found = shown.lines().any(|line| line.trim_start().starts_with(side));
            check(found, &format!("no payload is decoded as `{side}`"), &shown)?;
        }
        let count = |side: &str| shown.lines().filter(|line| line.trim_start().starts_with(side)).count();
        let (requests, replies) = (count("> objmgr "), count("< objmgr "));
        let counts = format!("{requests} requests to objmgr have a payload and {replies} replies");
        check(requests > 3 && requests == replies, &counts, &shown)?;
        session.shutdown().map_err(words)?;
    }
    Ok(())
}

/// Errors point at the place, and leave tracing as it was.
fn a_malformed_filter_is_refused(test: &Context) -> Outcome {
    let mut session = test.boot_plain()?;
    let refused = session.kd("trace on alpcping and colour=red").map_err(words)?;
    let expected = "trace on alpcping and colour=red\n                      ^ there is no 'colour'";
    check(refused.status == 1 && refused.text.starts_with(expected), "the error", &refused.text)?;
    let status = good_kd(&mut session, "trace status")?;
    check(status.starts_with("Tracing is off"), "tracing was switched on", &status)?;
    session.shutdown().map_err(words)
}

/// One trace in all formats, each read by a program that knows the format, and each as the program talked.
fn files_agree_with_the_program(test: &Context) -> Outcome {
    let wanted = Wanted {
        out: "unused.json".into(),
        filter: String::new(),
        payload: 64,
        from_boot: false,
        records: RECORDS,
    };
    let steps = vec![Step { line: Line::Console, command: format!("alpcping {PINGS}") }];
    let guest = guest::built().map_err(words)?;
    let recorded = capture(&guest, &test.options(plain()), &wanted, steps, &mut Vec::new());
    let (status, capture) = recorded.map_err(words)?;
    check(
        status == 0 && capture.reading.lost == 0,
        "the program failed, or records were lost",
        &capture.summary(),
    )?;
    let temp = paths::TempDir::new().map_err(words)?;
    json_lines(&capture)?;
    let (slices, flows) = rules::check(&text(capture.write(Format::Perfetto)))?;
    check(
        flows >= 2 * PINGS && slices >= 3 * PINGS,
        "slices or flows are missing",
        &format!("{slices} {flows}"),
    )?;
    packets(&capture, temp.path())?;
    page(&capture, temp.path(), PINGS)
}

/// All that ALPC can do, by many threads at once, still makes a trace that keeps the format's rules.
fn all_of_alpctest_keeps_the_rules(test: &Context) -> Outcome {
    let steps = vec![Step { line: Line::Console, command: "alpctest".into() }];
    let guest = guest::built().map_err(words)?;
    let recorded = capture(&guest, &test.options(plain()), &Wanted::default(), steps, &mut Vec::new());
    // What alpctest finds is for other tests.
    let (_, capture) = recorded.map_err(words)?;
    check(capture.reading.lost == 0, "records were lost", &capture.summary())?;
    let (slices, flows) = rules::check(&text(capture.write(Format::Perfetto)))?;
    check(slices > 10_000 && flows > 10_000, "slices or flows are missing", &format!("{slices} {flows}"))?;
    // Some that alpctest asks nobody answers, on purpose.
    let asked = || capture.exchanges.all().iter().filter(|exchange| exchange.kind != Kind::Datagram);
    let (ended, all) = (asked().filter(|exchange| exchange.is_complete()).count(), asked().count());
    let unsent = asked().filter(|exchange| exchange.sent.is_none()).count();
    let counts = format!("{ended} of {all} ended, {unsent} were received without being sent");
    check(ended * 100 > all * 95 && unsent < 10, "requests without their ends", &counts)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

fn json_lines(capture: &Capture) -> Outcome {
    let text = text(capture.write(Format::JsonLines));
    let mut pings = 0;
    for line in text.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let is_ping = value["port_name"].as_str().is_some_and(|name| name.contains("alpcping"))
            && value["kind"] == "request";
        if is_ping && value["size"] == 32 {
            check(value["reply_size"] == 32 && value["latency"].as_u64() > Some(0), "a round trip", line)?;
            pings += 1;
        }
    }
    check(pings == PINGS, &format!("{pings} of {PINGS} round trips in the JSON lines"), "")
}

/// Is a program to be had here? `./run.sh test` installs it where it can.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has = found.is_ok_and(|status| status.success());
    if !has {
        println!("     ({program} is not here, so nothing is checked with it)");
    }
    has
}

/// Runs a program as somebody who is not root: as root, Wireshark loads no scripts and Chromium has no sandbox.
fn run_plainly(program: &str, arguments: &[&str], home: &Path) -> Result<Output, String> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
        std::os::unix::fs::chown(home, Some(65534), Some(65534)).map_err(|error| error.to_string())?;
        command
    } else {
        Command::new(program)
    };
    command
        .args(arguments)
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .env("XDG_CACHE_HOME", home)
        .current_dir(home);
    command.output().map_err(|error| format!("{program}: {error}"))
}

/// tshark with the dissector from the repository: messages, pairs and round trips.
fn packets(capture: &Capture, folder: &Path) -> Outcome {
    if !has("tshark") {
        return Ok(());
    }
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|error| error.to_string())?;
        Ok::<_, String>(path.display().to_string())
    };
    let file = put("trace.pcapng", &capture.write(Format::Pcapng))?;
    let dissector = paths::root().map_err(words)?.join("boot/host/src/trace/alpc.lua");
    let dissector = put("alpc.lua", &fs::read(dissector).map_err(|error| error.to_string())?)?;
    let script = format!("lua_script:{dissector}");
    let fields = |filter: &str, names: &[&str]| {
        let mut arguments = vec!["-2", "-X", &script, "-r", &file, "-Y", filter, "-T", "fields"];
        names.iter().for_each(|name| arguments.extend(["-e", name]));
        let output = run_plainly("tshark", &arguments, folder)?;
        check(output.status.success(), "tshark failed", &text(output.stderr))?;
        let lines = text(output.stdout);
        Ok::<Vec<Vec<String>>, String>(
            lines.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect(),
        )
    };
    let of_ping = "alpc.port.name contains \"alpcping\" && alpc.length == 32";
    let requests = fields(
        &format!("{of_ping} && alpc.kind == 1"),
        &["frame.number", "alpc.response_in", "alpc.source.image", "alpc.payload"],
    )?;
    let replies =
        fields(&format!("{of_ping} && alpc.kind == 2"), &["frame.number", "alpc.request_in", "alpc.rtt"])?;
    let counts = format!("{} requests, {} replies", requests.len(), replies.len());
    check(requests.len() == PINGS && replies.len() == PINGS, "tshark counts other messages", &counts)?;
    for (request, reply) in requests.iter().zip(&replies) {
        let pair = format!("{request:?} {reply:?}");
        check(request[1] == reply[0] && reply[1] == request[0], "request and reply are no pair", &pair)?;
        let rtt: f64 = reply[2].parse().map_err(|_| format!("no round trip: {pair}"))?;
        check(rtt > 0.0 && rtt < 10.0 && request[2] == "alpcping", "a message's fields", &pair)?;
    }
    // The payload begins with the request's number.
    let numbered = requests.iter().enumerate().all(|(number, request)| {
        request[3].starts_with(&(number as u64).to_le_bytes().map(|byte| format!("{byte:02x}")).concat())
    });
    check(numbered, "the payloads are not those that were sent", &format!("{:?}", requests[1]))?;
    let all = fields("alpc", &["frame.number"])?.len();
    let replied = capture.exchanges.all().iter().filter(|exchange| exchange.replied.is_some()).count();
    let expected = capture.exchanges.all().len() + replied;
    check(all == expected, "tshark counts other messages in all", &format!("{all}, not {expected}"))
}

/// What Chromium makes of a page: the document once its script has run.
fn document(folder: &Path, page: &[u8], wish: &str) -> Result<String, String> {
    let path = folder.join("trace.html");
    fs::write(&path, page).map_err(|error| error.to_string())?;
    let address = format!("file://{}#{wish}", path.display());
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1400,900",
        "--virtual-time-budget=20000",
        "--dump-dom",
        &address,
    ];
    let output = run_plainly("chromium", &arguments, folder)?;
    let document = text(output.stdout);
    check(document.contains("data-ready"), "the page's script did not end", &text(output.stderr))?;
    // Without the trace itself.
    let (before, rest) = document.split_once("<script id=\"data\"").unwrap_or((&document, ""));
    Ok(before.to_owned() + rest.split_once("</script>").map_or("", |(_, after)| after))
}

fn page(capture: &Capture, folder: &Path, pings: usize) -> Outcome {
    if !has("chromium") {
        return Ok(());
    }
    let page = capture.write(Format::Page);
    let shown =
        document(folder, &page, "query=%5CRPC%20Control%5Calpcping%20lpc_request&message=0&view=ports")?;
    let all = capture.exchanges.all().len();
    // One more request of the program's than round trips: the last says that it ends.
    let counted =
        [pings, pings + 1].iter().any(|count| shown.contains(&format!(">{count} of {all} messages<")));
    check(
        counted,
        "the page does not count the messages that the search finds",
        &shown[..shown.len().min(3000)],
    )?;
    check(shown.contains("Cause and effect"), "the page shows no message", "")?;
    check(shown.contains("who answers"), "the page shows no graph of ports", "")
}

/// A large trace: it is searched, scrolled and drawn in time.
fn the_page_with_100_000_messages(_: &Context) -> Outcome {
    if !has("chromium") {
        return Ok(());
    }
    const MESSAGES: u32 = 100_000;
    let mut memory = TraceMemory::new(1, MESSAGES as usize * 8, 16);
    for (id, name) in [(20, "app"), (12, "server"), (8, "store")] {
        memory.name(NAME_PROCESS, id, 4, name);
    }
    memory.name(NAME_PORT, 7, 12, "\\RPC Control\\x");
    for number in 0..MESSAGES {
        let events = [
            (TRACE_SEND, 20),
            (TRACE_WAIT_REPLY, 20),
            (TRACE_RECEIVE, 12),
            (TRACE_REPLY, 12),
            (TRACE_UNWAIT, 20),
        ];
        for (step, (event, process)) in events.into_iter().enumerate() {
            memory.event(0, u64::from(number) * 10_000 + step as u64 * 1000, |r| {
                (r.event, r.process, r.thread, r.peer_process) = (event, process, process + 1, 32 - process);
                (r.connection_port, r.message_id) = (7, number + 1);
                r.message_type = if step < 3 { LPC_REQUEST } else { LPC_REPLY };
                (r.data_length, r.total_length) = (32, 72);
            });
        }
    }
    let trace = memory.trace();
    let mut names = Names::default();
    names.add_log(&trace.names().0);
    let reading = trace.read(&Position::START, |_| true);
    let exchanges = Exchanges::of(&reading);
    let title = "100,000 messages".to_owned();
    let capture = Capture { title, clock: trace.clock(), cpus: 1, names, reading, exchanges };
    let temp = paths::TempDir::new().map_err(words)?;
    let page = capture.write(Format::Page);
    let shown = document(temp.path(), &page, "query=0001869f&message=99998&scroll=150000")?;
    check(
        shown.contains(">1 of 100,000 messages<"),
        "the search finds another number",
        &shown[..shown.len().min(3000)],
    )?;
    let shown = document(temp.path(), &page, "scroll=150000")?;
    check(shown.contains(">100,000 of 100,000 messages<"), "not all are shown", "")?;
    let drawn =
        shown.split_once("data-drawn=\"").and_then(|(_, rest)| rest.split('"').next()?.parse::<f64>().ok());
    // A frame; machines that emulate everything take their time.
    check(
        drawn.is_some_and(|time| time < 250.0),
        "a screenful takes too long to draw",
        &format!("{drawn:?} ms"),
    )
}
