//! `./run.sh` and `./run.sh kd`: a person at a terminal.

use crate::error::{Context, Result, message};
use crate::firmware::Filter;
use crate::guest::Guest;
use crate::image;
use crate::paths::{self, TempDir};
use crate::qemu::{self, Boot, Machine};
use crate::session::{Line, Session};
use rustix::termios::{self, OptionalActions, Termios};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// The debug console's socket, in `build/`.
const SOCKET: &str = "kd.sock";
/// Ctrl-], which leaves the debug console.
const LEAVE: u8 = 0x1d;

/// Boots with the system console on this terminal; returns QEMU's exit status.
pub fn boot(guest: &Guest, machine: &Machine) -> Result<u8> {
    let temp = TempDir::new()?;
    let media = image::media(guest, machine.boot, &machine.cmdline, &temp)?;
    let mut command = qemu::command(machine, &media, &temp)?;
    let build = paths::build("")?;
    let socket = bind_name(&build, &temp)?;
    command.arg("-serial").arg("mon:stdio");
    command.arg("-chardev").arg(format!(
        "socket,id=kd,path={},server=on,wait=off,logfile={}",
        qemu::option_value(&socket)?,
        qemu::option_value(&build.join("kd.log"))?
    ));
    command.args(["-serial", "chardev:kd"]);
    let how = if machine.kvm { "KVM" } else { "emulation" };
    eprintln!(
        "antares: booting ({}, {} processors, {} MiB, {how}). Leave: `shutdown`, or Ctrl-A then X. Debug console: ./run.sh kd elsewhere.",
        machine.boot.name(),
        machine.smp,
        machine.mem
    );
    let _terminal = Terminal::keep();
    let status = if machine.boot == Boot::Uefi { run_filtered(command) } else { command.status() };
    let status = status.context("start qemu-system-x86_64 (apt-get install qemu-system-x86)")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Runs QEMU with the firmware's screens taken out of what it prints.
fn run_filtered(mut command: Command) -> std::io::Result<ExitStatus> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    if let Some(mut from) = child.stdout.take() {
        let (mut filter, mut buffer, mut out) = (Filter::default(), [0; 4096], std::io::stdout());
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            out.write_all(&filter.feed(&buffer[..count]))?;
            out.flush()?;
        }
    }
    child.wait()
}

/// Where QEMU makes the debug console's socket. A path in `build/` may be longer than a socket's name can be, so the socket is in the
/// temporary folder and `build/` has a link to it.
fn bind_name(build: &std::path::Path, temp: &TempDir) -> Result<std::path::PathBuf> {
    let socket = temp.path().join("kd");
    let link = build.join(SOCKET);
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&socket, &link).context(format_args!("make the link {}", link.display()))?;
    Ok(socket)
}

/// Connects to the debug console of the running system.
fn connect() -> Result<UnixStream> {
    let link = paths::build("")?.join(SOCKET);
    let nothing = || message("no system is running: start one with ./run.sh in another terminal");
    let socket = std::fs::read_link(&link).map_err(|_| nothing())?;
    UnixStream::connect(socket).map_err(|_| nothing())
}

/// The command by which the debug console learns what it can show: pages and colour for a terminal, all and plain for a script.
/// Ctrl-U drops what somebody may have left at its prompt; a line that begins with a blank is not kept in its history.
fn terminal_line(is_terminal: bool) -> Vec<u8> {
    let size = termios::tcgetwinsize(std::io::stdout()).ok().filter(|size| is_terminal && size.ws_row >= 2);
    match size {
        Some(size) => format!("\x15 .terminal {} {}\r", size.ws_row, size.ws_col.max(20)).into_bytes(),
        None => b"\x15 .terminal off\r".to_vec(),
    }
}

/// The debug console on this terminal.
pub fn kd() -> Result<()> {
    let mut stream = connect()?;
    let mut input = stream.try_clone().context("open the debug console twice")?;
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_terminal {
        eprintln!("antares: debug console; Ctrl-] leaves it, `help` lists its commands");
    }
    let terminal = Terminal::keep();
    terminal.raw();
    // A line that says what can be seen here gives a fresh prompt too.
    input.write_all(&terminal_line(is_terminal)).context("write to the debug console")?;
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        loop {
            let count = match std::io::stdin().read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            let mut keys = buffer[..count].to_vec();
            if is_terminal {
                if let Some(at) = keys.iter().position(|&key| key == LEAVE) {
                    let _ = input.write_all(&keys[..at]);
                    let _ = input.write_all(&terminal_line(false));
                    let _ = input.shutdown(std::net::Shutdown::Both);
                    break;
                }
            } else {
                keys.iter_mut().filter(|key| **key == b'\n').for_each(|key| *key = b'\r');
            }
            if input.write_all(&keys).is_err() {
                break;
            }
        }
        if !is_terminal {
            // The end of a script: time for the answers, then the end.
            std::thread::sleep(Duration::from_secs(1));
            let _ = input.shutdown(std::net::Shutdown::Both);
        }
    });
    let mut buffer = [0; 4096];
    let mut out = std::io::stdout();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                out.write_all(&buffer[..count]).and_then(|()| out.flush()).context("write to the terminal")?
            }
        }
    }
    drop(terminal);
    eprintln!("\nantares: the debug console is closed");
    Ok(())
}

/// Types commands into the debug console of the running system and prints what they print; the last one's status.
pub fn kd_commands(commands: &[String], timeout: Duration) -> Result<u32> {
    let mut stream = connect()?;
    stream.write_all(&terminal_line(false)).context("write to the debug console")?;
    let (console, silent) = UnixStream::pair().context("make a socket")?;
    let mut session = Session::over(console, stream, timeout, paths::build("")?)?;
    let mut status = 0;
    for command in commands {
        let mut out = std::io::stdout();
        status = session.run_with(Line::Kd, command, &mut |_, text| {
            let _ = out.write_all(text).and_then(|()| out.flush());
        })?;
    }
    drop(silent);
    Ok(status)
}

/// The terminal's state, put back when dropped.
struct Terminal(Option<Termios>);

impl Terminal {
    fn keep() -> Terminal {
        Terminal(termios::tcgetattr(std::io::stdin()).ok())
    }

    /// Every key goes through as it is.
    fn raw(&self) {
        if let Some(state) = &self.0 {
            let mut raw = state.clone();
            raw.make_raw();
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, state);
        }
    }
}
