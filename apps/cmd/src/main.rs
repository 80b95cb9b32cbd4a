//! cmd: the shell.
//!
//! It reads lines from the console, runs built-in commands and programs, and shows where prompt, output and status are by
//! the OSC 133 marks. Ctrl-C ends the program in the foreground.
//!
//! Map: [`builtin`] the built-in commands; [`run`] programs; the library splits lines and makes the marks.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod builtin;
mod run;

use cmd::{line, marks};
use libnt::io::{self, Line};
use libnt::prelude::*;
use libnt::{session, time};
use run::Shell;

libnt::main!(main);

/// What the prompt shows.
const PROMPT: &str = "antares> ";
/// Status of a command that the shell itself refuses.
pub const FAILED: NtStatus = NtStatus(1);

fn main() -> NtStatus {
    let mut shell = Shell::new();
    let arguments: Vec<&str> = env::args().collect();
    match arguments.as_slice() {
        [] => interact(&mut shell),
        [flag, command @ ..] if flag.eq_ignore_ascii_case("/c") => {
            let status = execute(&mut shell, &command.join(" "));
            shell.ending.unwrap_or(status)
        }
        _ => {
            eprintln!("usage: cmd [/c COMMAND]");
            FAILED
        }
    }
}

/// Reads and runs lines until `exit` or the end of input.
fn interact(shell: &mut Shell) -> NtStatus {
    println!("Antares {}. Type help for the commands.", env!("CARGO_PKG_VERSION"));
    // Only the first shell's first prompt counts, and only a shell that smss started may say so.
    let _ = session::boot_mark(time::tsc());
    let prompt = marks::prompt(PROMPT);
    loop {
        match io::read_line(&prompt, true) {
            Ok(Line::Text(text)) if text.trim().is_empty() => {}
            Ok(Line::Text(text)) => {
                print!("{}", marks::OUTPUT);
                let status = execute(shell, &text);
                print!("{}", marks::done(status));
            }
            Ok(Line::Interrupted) => {}
            Ok(Line::EndOfFile) => return STATUS_SUCCESS,
            // The console is gone; smss starts a new shell on the next one.
            Err(status) => return status,
        }
        if let Some(status) = shell.ending {
            return status;
        }
    }
}

/// Runs one line; answers its status.
fn execute(shell: &mut Shell, text: &str) -> NtStatus {
    let words = line::words(text);
    let Some((name, arguments)) = words.split_first() else { return STATUS_SUCCESS };
    match builtin::find(name) {
        Some(command) => command(shell, arguments, line::after_first_word(text)),
        None => shell.run(name, arguments),
    }
}
