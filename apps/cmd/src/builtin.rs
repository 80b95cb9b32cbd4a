//! Built-in commands.

use crate::FAILED;
use crate::run::Shell;
use abi::io::{SHUTDOWN_POWER_OFF, SHUTDOWN_REBOOT};
use abi::mm::PAGE_SIZE;
use abi::ob::{DIRECTORY_QUERY, ObjectType, PROCESS_TERMINATE, SYNCHRONIZE};
use core::time::Duration;
use libnt::prelude::*;
use libnt::process::{self, Process};
use libnt::{info, ob, session, thread, wait};

/// How long the end of the system may take.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(60);

/// A built-in command: gets its words, and the rest of the line as it was typed.
type Builtin = fn(&mut Shell, &[String], &str) -> NtStatus;

/// Name, function, usage, what it does.
const BUILTINS: &[(&str, Builtin, &str, &str)] = &[
    ("help", help, "help", "lists the commands and programs"),
    ("start", start, "start PROGRAM [ARGUMENT]...", "runs a program in the background"),
    ("tasklist", tasklist, "tasklist", "lists the processes"),
    ("taskkill", taskkill, "taskkill {/PID ID | /IM NAME} [/F]", "ends processes"),
    ("servers", servers, "servers [/restart NAME]", "lists the core servers, or restarts one"),
    ("mem", mem, "mem", "shows what the kernel holds"),
    ("echo", echo, "echo [TEXT]", "prints the text"),
    ("cls", cls, "cls", "clears the screen"),
    ("ver", ver, "ver", "shows the version"),
    ("exit", exit, "exit [STATUS]", "ends the shell"),
    ("shutdown", shutdown, "shutdown [/s | /r]", "powers the machine off, or restarts it"),
];

/// The built-in command of this name.
pub fn find(name: &str) -> Option<Builtin> {
    BUILTINS.iter().find(|(n, ..)| n.eq_ignore_ascii_case(name)).map(|(_, command, ..)| *command)
}

fn usage(name: &str) -> NtStatus {
    for (_, _, usage, _) in BUILTINS.iter().filter(|(n, ..)| *n == name) {
        println!("usage: {usage}");
    }
    FAILED
}

/// Prints why something failed; answers the status.
fn failed(what: &str, status: NtStatus) -> NtStatus {
    println!("{what}: {status}");
    status
}

fn help(_: &mut Shell, _: &[String], _: &str) -> NtStatus {
    for (_, _, usage, what) in BUILTINS {
        println!("{usage:<36} {what}");
    }
    println!("Anything else is a program, with its arguments; quotes keep blanks together, Ctrl-C ends it.");
    let programs =
        ob::Directory::open("\\SystemRoot", DIRECTORY_QUERY).and_then(|directory| directory.list());
    match programs {
        Ok(entries) => {
            // What has an extension is data.
            let names = entries.iter().map(|entry| entry.name.as_str()).filter(|name| !name.contains('.'));
            let names: Vec<&str> = names.collect();
            println!("Programs: {}", names.join(" "));
            STATUS_SUCCESS
        }
        Err(status) => failed("\\SystemRoot", status),
    }
}

fn start(shell: &mut Shell, arguments: &[String], _: &str) -> NtStatus {
    match arguments.split_first() {
        Some((name, arguments)) => shell.start_background(name, arguments),
        None => usage("start"),
    }
}

fn tasklist(_: &mut Shell, _: &[String], _: &str) -> NtStatus {
    let mut list = match process::list() {
        Ok(list) => list,
        Err(status) => return failed("tasklist", status),
    };
    list.sort_by_key(|process| process.information.unique_process_id);
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>10} {:>10}",
        "Image Name", "PID", "Threads", "Handles", "Memory", "CPU"
    );
    for process in list {
        let information = process.information;
        println!(
            "{:<24} {:>8} {:>8} {:>8} {:>8} K {:>7} ms",
            process.name,
            information.unique_process_id,
            information.number_of_threads,
            information.handle_count,
            information.working_set_size / 1024,
            (information.user_time + information.kernel_time) / 10_000,
        );
    }
    STATUS_SUCCESS
}

/// How long taskkill waits for a process that it has told to end.
const END_PATIENCE: Duration = Duration::from_secs(5);

fn taskkill(_: &mut Shell, arguments: &[String], _: &str) -> NtStatus {
    let mut ids = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case("/f") {
            // Ending a process is always by force.
        } else if word.eq_ignore_ascii_case("/pid") {
            match words.next().and_then(|id| id.parse::<u64>().ok()) {
                Some(id) => ids.push(id),
                None => return usage("taskkill"),
            }
        } else if word.eq_ignore_ascii_case("/im") {
            let Some(name) = words.next() else { return usage("taskkill") };
            let list = process::list().unwrap_or_default();
            let same = list.iter().filter(|process| process.name.eq_ignore_ascii_case(name));
            let before = ids.len();
            ids.extend(same.map(|process| process.information.unique_process_id));
            if ids.len() == before {
                println!("ERROR: no process is called \"{name}\".");
                return FAILED;
            }
        } else {
            return usage("taskkill");
        }
    }
    if ids.is_empty() {
        return usage("taskkill");
    }
    let mut result = STATUS_SUCCESS;
    for id in ids {
        let ended = Process::open(id, PROCESS_TERMINATE | SYNCHRONIZE).and_then(|process| {
            process.terminate(FAILED)?;
            // What is said to have been ended is gone from the next listing.
            wait::one(process.handle(), Some(END_PATIENCE)).map(|_| ())
        });
        match ended {
            Ok(()) => println!("SUCCESS: the process with PID {id} has been ended."),
            Err(STATUS_INVALID_CID) => {
                println!("ERROR: there is no process with PID {id}.");
                result = FAILED;
            }
            Err(status) => {
                println!("ERROR: the process with PID {id} could not be ended: {status}");
                result = FAILED;
            }
        }
    }
    result
}

fn servers(_: &mut Shell, arguments: &[String], _: &str) -> NtStatus {
    match arguments {
        [] => {}
        [flag, name] if flag.eq_ignore_ascii_case("/restart") => {
            return session::restart(name).err().map_or(STATUS_SUCCESS, |status| failed(name, status));
        }
        _ => return usage("servers"),
    }
    let list = match session::servers() {
        Ok(list) => list,
        Err(status) => return failed("servers", status),
    };
    println!("{:<12} {:>8} {:<10} {:>8} Last status", "Name", "PID", "State", "Restarts");
    for server in list {
        let state = format!("{:?}", server.state);
        let last =
            if server.restarts == 0 { String::new() } else { NtStatus(server.last_status).to_string() };
        println!("{:<12} {:>8} {state:<10} {:>8} {last}", server.name, server.process_id, server.restarts);
    }
    STATUS_SUCCESS
}

/// Two lines for people and one line `MEM key=value ...` for tests, which is the same until something leaks.
fn mem(_: &mut Shell, _: &[String], _: &str) -> NtStatus {
    let counters = match info::counters() {
        Ok(counters) => counters,
        Err(status) => return failed("mem", status),
    };
    let kib = |frames: u64| frames * PAGE_SIZE / 1024;
    println!("Memory: {} KiB free of {} KiB.", kib(counters.frames_free), kib(counters.frames_total));
    println!(
        "Kernel: {} KiB heap, {} handles, {} processes, {} threads.",
        counters.heap_bytes / 1024,
        counters.handles,
        counters.processes,
        counters.threads
    );
    print!(
        "MEM frames_total={} frames_free={} frames_cached={} heap_bytes={} heap_blocks={} handles={} \
         processes={} threads={} messages={}",
        counters.frames_total,
        counters.frames_free,
        counters.frames_cached,
        counters.heap_bytes,
        counters.heap_blocks,
        counters.handles,
        counters.processes,
        counters.threads,
        counters.messages,
    );
    for (number, count) in (0u8..).zip(counters.objects) {
        if let Some(object_type) = ObjectType::from_number(number) {
            print!(" {}={count}", object_type.name().replace(' ', "_").to_lowercase());
        }
    }
    println!();
    STATUS_SUCCESS
}

fn echo(_: &mut Shell, _: &[String], rest: &str) -> NtStatus {
    println!("{rest}");
    STATUS_SUCCESS
}

fn cls(_: &mut Shell, _: &[String], _: &str) -> NtStatus {
    print!("\x1b[2J\x1b[H");
    STATUS_SUCCESS
}

fn ver(_: &mut Shell, _: &[String], _: &str) -> NtStatus {
    println!("Antares [Version {}]", env!("CARGO_PKG_VERSION"));
    STATUS_SUCCESS
}

fn exit(shell: &mut Shell, arguments: &[String], _: &str) -> NtStatus {
    let status = match arguments {
        [] => STATUS_SUCCESS,
        [status] => match status.parse() {
            Ok(status) => NtStatus(status),
            Err(_) => return usage("exit"),
        },
        _ => return usage("exit"),
    };
    shell.ending = Some(status);
    status
}

fn shutdown(_: &mut Shell, arguments: &[String], _: &str) -> NtStatus {
    let action = match arguments {
        [] => SHUTDOWN_POWER_OFF,
        [flag] if flag.eq_ignore_ascii_case("/s") => SHUTDOWN_POWER_OFF,
        [flag] if flag.eq_ignore_ascii_case("/r") => SHUTDOWN_REBOOT,
        _ => return usage("shutdown"),
    };
    if let Err(status) = session::shutdown(action) {
        return failed("shutdown", status);
    }
    // smss ends the shell with everything else; there is nothing more to prompt for.
    thread::sleep(LONGEST_SHUTDOWN);
    failed("shutdown", STATUS_IO_TIMEOUT)
}
