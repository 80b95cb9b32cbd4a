//! A booted machine: commands on the shell and on the debug console, raw keys, an orderly end.
//!
//! QEMU connects both serial lines and its control channel to sockets made here before it starts, so that not a byte is lost. A thread per
//! socket only reads; all thinking happens in the caller's thread, in [`Session::step`].

use crate::error::{Context, Error, Result, message};
use crate::firmware::Filter;
use crate::guest::{self, Guest};
use crate::image;
use crate::paths::{self, TempDir};
use crate::protocol::{Protocol, Seen};
use crate::qemu::{self, Boot, Machine};
use crate::term::{Event, Scanner};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long after a bugcheck line the rest of its screen is waited for.
const BUGCHECK_SCREEN: Duration = Duration::from_secs(3);
/// Said in place of the console's last lines when there are none.
const SILENT: &str = "(nothing: the kernel was not reached; what BIOS, UEFI or Limine say is on the screen, which --gui shows)";
/// How many runs' logs stay in `build/logs`.
const KEPT_LOGS: usize = 20;
/// How many of the last console lines go with an error.
const TAIL_LINES: usize = 40;

/// A serial line of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// COM1: the system console with the shell.
    Console,
    /// COM2: the debug console.
    Kd,
}

impl Line {
    fn index(self) -> usize {
        match self {
            Line::Console => 0,
            Line::Kd => 1,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Line::Console => "the shell",
            Line::Kd => "the debug console",
        }
    }
}

/// What to boot and how long to bear with it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The machine.
    pub machine: Machine,
    /// Time for the whole session, from the start of QEMU to its end.
    pub timeout: Duration,
    /// Further words for QEMU's command line.
    pub qemu: Vec<String>,
    /// Where the console logs go; without it a new folder in `build/logs`, removed when all went well.
    pub logs: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            machine: Machine::default(),
            timeout: Duration::from_secs(120),
            qemu: Vec::new(),
            logs: None,
        }
    }
}

/// What a command printed, and its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The text, cleaned.
    pub text: String,
    /// The command's status.
    pub status: u32,
}

enum Report {
    Bytes(Line, Vec<u8>),
    Closed(Line),
    Qmp(String),
    /// QEMU's answer to a command on its control channel.
    Answer(String),
}

struct Wire {
    writer: UnixStream,
    log: Option<File>,
    filter: Filter,
    scanner: Scanner,
    protocol: Protocol,
    seen: VecDeque<Seen>,
    is_open: bool,
}

impl Wire {
    fn new(writer: UnixStream, log: Option<File>, filter: Filter) -> Wire {
        Wire {
            writer,
            log,
            filter,
            scanner: Scanner::default(),
            protocol: Protocol::default(),
            seen: VecDeque::new(),
            is_open: true,
        }
    }
}

/// A booted machine. Dropping it kills QEMU and keeps the logs; [`Session::shutdown`] ends it in order.
pub struct Session {
    qemu: Option<Child>,
    wires: [Wire; 2],
    reports: Receiver<Report>,
    deadline: Instant,
    logs: PathBuf,
    keeps_logs: bool,
    reason: Option<String>,
    expects_reset: bool,
    expects_bugcheck: bool,
    control: Option<UnixStream>,
    answers: VecDeque<String>,
    _temp: Option<TempDir>,
}

impl Session {
    /// Boots what the last build made and waits for the shell's prompt.
    pub fn boot(options: &Options) -> Result<Session> {
        let mut session = Session::start(&guest::built()?, options)?;
        session.wait_ready(Line::Console)?;
        Ok(session)
    }

    /// Starts the machine without waiting for anything.
    pub fn start(guest: &Guest, options: &Options) -> Result<Session> {
        let deadline = Instant::now() + options.timeout;
        let temp = TempDir::new()?;
        let media = image::media(guest, options.machine.boot, &options.machine.cmdline, &temp)?;
        let (logs, keeps_logs) = match &options.logs {
            Some(folder) => (folder.clone(), true),
            None => {
                let folder = paths::build("logs")?;
                paths::keep_newest(&folder, KEPT_LOGS);
                (folder.join(unique_name()), false)
            }
        };
        fs::create_dir_all(&logs).context(format_args!("make the folder {}", logs.display()))?;

        let mut command = qemu::command(&options.machine, &media, &temp)?;
        command.args(&options.qemu);
        let mut listeners = Vec::new();
        for name in ["console", "kd", "qmp"] {
            let path = temp.path().join(name);
            listeners
                .push(UnixListener::bind(&path).context(format_args!("make the socket {}", path.display()))?);
            command.arg("-chardev").arg(format!("socket,id={name},path={}", qemu::option_value(&path)?));
        }
        command.args([
            "-serial",
            "chardev:console",
            "-serial",
            "chardev:kd",
            "-mon",
            "chardev=qmp,mode=control",
        ]);
        let errors = File::create(logs.join("qemu.log")).context("make qemu.log")?;
        let also = errors.try_clone().context("open qemu.log twice")?;
        command.stdin(Stdio::null()).stdout(errors).stderr(also);
        die_with_parent(&mut command);
        let mut child =
            command.spawn().context("start qemu-system-x86_64 (apt-get install qemu-system-x86)")?;

        let mut streams = Vec::new();
        for listener in listeners {
            match accept(&listener, &mut child, deadline) {
                Ok(stream) => streams.push(stream),
                Err(error) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(died(error, String::new(), &logs));
                }
            }
        }
        let (sender, reports) = channel();
        let is_uefi = options.machine.boot == Boot::Uefi;
        let mut streams = streams.into_iter();
        let mut wire = |line: Line, name: &str| -> Result<Wire> {
            let stream = streams.next().ok_or_else(|| message("a serial line is missing"))?;
            let log = File::create(logs.join(name)).context(format_args!("make {name}"))?;
            read_line(line, &stream, &sender)?;
            let filter = if is_uefi { Filter::default() } else { Filter::off() };
            Ok(Wire::new(stream, Some(log), filter))
        };
        let wires = [wire(Line::Console, "console.log")?, wire(Line::Kd, "kd.log")?];
        let control = streams.next();
        if let Some(qmp) = &control {
            read_qmp(qmp, sender)?;
        }
        Ok(Session {
            qemu: Some(child),
            wires,
            reports,
            deadline,
            logs,
            keeps_logs,
            reason: None,
            expects_reset: false,
            expects_bugcheck: false,
            control,
            answers: VecDeque::new(),
            _temp: Some(temp),
        })
    }

    /// A session over two sockets with somebody else's guest behind them; `logs` is only named in errors.
    pub fn over(console: UnixStream, kd: UnixStream, timeout: Duration, logs: PathBuf) -> Result<Session> {
        let (sender, reports) = channel();
        read_line(Line::Console, &console, &sender)?;
        read_line(Line::Kd, &kd, &sender)?;
        let wires = [Wire::new(console, None, Filter::off()), Wire::new(kd, None, Filter::off())];
        let deadline = Instant::now() + timeout;
        Ok(Session {
            qemu: None,
            wires,
            reports,
            deadline,
            logs,
            keeps_logs: true,
            reason: None,
            expects_reset: false,
            expects_bugcheck: false,
            control: None,
            answers: VecDeque::new(),
            _temp: None,
        })
    }

    /// Where the logs are: `console.log`, `kd.log`, `qemu.log`.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// All text of a line so far, cleaned, start-up included.
    pub fn transcript(&self, line: Line) -> &str {
        self.wires[line.index()].protocol.transcript()
    }

    /// What the line's editor shows, without the prompt.
    pub fn editor_line(&self, line: Line) -> String {
        self.wires[line.index()].protocol.editor().line()
    }

    /// Runs a command in the shell.
    pub fn shell(&mut self, command: &str) -> Result<Output> {
        self.run(Line::Console, command)
    }

    /// Runs a command in the debug console.
    pub fn kd(&mut self, command: &str) -> Result<Output> {
        self.run(Line::Kd, command)
    }

    /// Runs a command on either line; the text is what that line showed up to the command's end.
    pub fn run(&mut self, line: Line, command: &str) -> Result<Output> {
        let mut text = Vec::new();
        let status = self.run_with(line, command, &mut |from, bytes| {
            if from == line {
                text.extend_from_slice(bytes);
            }
        })?;
        Ok(Output { text: String::from_utf8_lossy(&text).into_owned(), status })
    }

    /// Runs a command and hands on what either line shows, as it comes.
    pub fn run_with(&mut self, line: Line, command: &str, sink: &mut dyn FnMut(Line, &[u8])) -> Result<u32> {
        self.begin(line, command, sink)?;
        self.finish_command(line, command, sink)
    }

    /// Types a command and Enter, without waiting for its end.
    pub fn begin(&mut self, line: Line, command: &str, sink: &mut dyn FnMut(Line, &[u8])) -> Result<()> {
        self.wait_ready_with(line, sink)?;
        let mut seen = Vec::new();
        let wire = &mut self.wires[line.index()];
        wire.protocol.command(command, &mut seen);
        wire.seen.extend(seen);
        self.write(line, format!("{command}\r").as_bytes());
        Ok(())
    }

    /// Waits for the end of the command that runs on a line.
    pub fn finish_command(
        &mut self,
        line: Line,
        command: &str,
        sink: &mut dyn FnMut(Line, &[u8]),
    ) -> Result<u32> {
        loop {
            if let Some(status) = self.drain(line, sink) {
                return Ok(status);
            }
            self.step(&format!("`{command}` in {} to end", line.words()))?;
        }
    }

    /// Runs a command of QEMU's monitor; what that prints.
    pub fn monitor(&mut self, command: &str) -> Result<String> {
        let request = serde_json::json!({
            "execute": "human-monitor-command",
            "arguments": { "command-line": command },
        });
        let control = self.control.as_mut().ok_or_else(|| message("this machine has no monitor"))?;
        control.write_all(format!("{request}\n").as_bytes()).context("write to QEMU's control channel")?;
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            self.step(&format!("QEMU to do `{command}`"))?;
        }
    }

    /// Waits until a command may be typed.
    pub fn wait_ready(&mut self, line: Line) -> Result<()> {
        self.wait_ready_with(line, &mut |_, _| {})
    }

    fn wait_ready_with(&mut self, line: Line, sink: &mut dyn FnMut(Line, &[u8])) -> Result<()> {
        loop {
            self.drain(line, sink);
            if self.wires[line.index()].protocol.is_ready() {
                return Ok(());
            }
            let what = if self.wires[line.index()].protocol.has_booted() { "prompt" } else { "first prompt" };
            self.step(&format!("the {what} of {}", line.words()))?;
        }
    }

    /// Sends keys as they are, for tests of the line editor.
    pub fn send(&mut self, line: Line, keys: &[u8]) -> Result<()> {
        self.wires[line.index()].protocol.keys();
        self.write(line, keys);
        Ok(())
    }

    /// Sends keys that make the editor drop its line (Ctrl-C), and waits for the fresh prompt.
    pub fn send_for_prompt(&mut self, line: Line, keys: &[u8]) -> Result<()> {
        let before = self.wires[line.index()].protocol.prompts();
        self.send(line, keys)?;
        while self.wires[line.index()].protocol.prompts() == before {
            self.step(&format!("a fresh prompt of {}", line.words()))?;
        }
        self.wires[line.index()].protocol.line_was_dropped();
        Ok(())
    }

    /// Waits until the line's transcript, from byte `from` of it on, holds a text; returns the transcript's length then.
    pub fn expect(&mut self, line: Line, from: usize, text: &str) -> Result<usize> {
        loop {
            let transcript = self.transcript(line);
            if transcript.get(from..).is_some_and(|tail| tail.contains(text)) {
                return Ok(transcript.len());
            }
            self.step(&format!("`{text}` from {}", line.words()))?;
        }
    }

    /// Waits until the line's editor shows exactly this after its prompt.
    pub fn expect_editor(&mut self, line: Line, text: &str) -> Result<()> {
        while self.editor_line(line) != text {
            self.step(&format!("the editor to show `{text}` (it shows `{}`)", self.editor_line(line)))?;
        }
        Ok(())
    }

    /// Gives the session this much time from now on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
    }

    /// Lets the guest run for a while.
    pub fn idle(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            match self.reports.recv_timeout(left) {
                Ok(report) => self.take(report)?,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
            }
        }
        Ok(())
    }

    /// Types `shutdown` and waits for the machine to end.
    pub fn shutdown(mut self) -> Result<()> {
        self.begin(Line::Console, "shutdown", &mut |_, _| {})?;
        self.wait_end("`shutdown` to end the machine", &mut |_, _| {})
    }

    /// The machine may end by a restart, which QEMU is told not to make.
    pub fn expect_reset(&mut self) {
        self.expects_reset = true;
    }

    /// The kernel may stop with a bugcheck: the debug console's line goes on.
    pub fn expect_bugcheck(&mut self) {
        self.expects_bugcheck = true;
    }

    /// Waits for the machine to end in order.
    pub fn wait_end(&mut self, what: &str, sink: &mut dyn FnMut(Line, &[u8])) -> Result<()> {
        while self.wires[Line::Console.index()].is_open {
            self.drain(Line::Console, sink);
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.reports.recv_timeout(left) {
                Ok(Report::Closed(line)) => self.wires[line.index()].is_open = false,
                Ok(report) => self.take(report)?,
                Err(RecvTimeoutError::Timeout) => return Err(self.timed_out(what)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.drain(Line::Console, sink);
        // The reason may come after the lines have closed.
        while self.reason.is_none() {
            match self.reports.recv_timeout(Duration::from_millis(500)) {
                Ok(report) => self.take_quietly(report),
                Err(_) => break,
            }
        }
        let Some(mut child) = self.qemu.take() else { return Ok(()) };
        let status = wait(&mut child, self.deadline);
        let reason = self.reason.clone().unwrap_or_default();
        match status {
            Some(status)
                if status.success()
                    && (reason != "guest-reset" || self.expects_reset)
                    && reason != "guest-panic" =>
            {
                if !self.keeps_logs {
                    let _ = fs::remove_dir_all(&self.logs);
                }
                Ok(())
            }
            Some(status) => Err(died(ending(&reason, &status.to_string()), self.tail(), &self.logs)),
            None => Err(self.timed_out(what)),
        }
    }

    fn write(&mut self, line: Line, bytes: &[u8]) {
        // A guest that has ended shows by its closed line, with the better message.
        let _ = self.wires[line.index()].writer.write_all(bytes);
    }

    /// Hands on everything seen, and returns the status if the command on `line` ended.
    fn drain(&mut self, line: Line, sink: &mut dyn FnMut(Line, &[u8])) -> Option<u32> {
        for from in [Line::Console, Line::Kd] {
            while let Some(seen) = self.wires[from.index()].seen.pop_front() {
                match seen {
                    Seen::Output(text) => sink(from, &text),
                    Seen::Done(status) if from == line => return Some(status),
                    Seen::Done(_) => {}
                }
            }
        }
        None
    }

    /// Waits for the next thing to happen.
    fn step(&mut self, waiting_for: &str) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.reports.recv_timeout(left) {
            Ok(report) => self.take(report),
            Err(RecvTimeoutError::Timeout) => Err(self.timed_out(waiting_for)),
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    fn take(&mut self, report: Report) -> Result<()> {
        match report {
            Report::Closed(line) => {
                self.wires[line.index()].is_open = false;
                Err(self.ended())
            }
            report => {
                self.take_quietly(report);
                let stopped = !self.expects_bugcheck && self.wires[0].protocol.bugcheck().is_some();
                if stopped { Err(self.bugcheck()) } else { Ok(()) }
            }
        }
    }

    fn take_quietly(&mut self, report: Report) {
        match report {
            Report::Bytes(line, bytes) => {
                let wire = &mut self.wires[line.index()];
                if let Some(log) = &mut wire.log {
                    let _ = log.write_all(&bytes);
                }
                let mut events: Vec<Event> = Vec::new();
                wire.scanner.feed(&wire.filter.feed(&bytes), &mut events);
                let mut seen = Vec::new();
                for event in &events {
                    wire.protocol.event(event, &mut seen);
                }
                wire.seen.extend(seen);
            }
            Report::Qmp(reason) => self.reason = Some(reason),
            Report::Answer(text) => self.answers.push_back(text),
            Report::Closed(line) => self.wires[line.index()].is_open = false,
        }
    }

    fn tail(&self) -> String {
        let text = self.transcript(Line::Console).trim_end();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn timed_out(&mut self, waiting_for: &str) -> Error {
        self.keeps_logs = true;
        let screen = match self.tail() {
            screen if screen.is_empty() => SILENT.to_owned(),
            screen => screen,
        };
        Error::Timeout { waiting_for: waiting_for.to_owned(), screen, logs: self.logs.clone() }
    }

    /// The kernel has stopped: waits for the rest of the screen.
    fn bugcheck(&mut self) -> Error {
        self.keeps_logs = true;
        let until = Instant::now() + BUGCHECK_SCREEN;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match self.reports.recv_timeout(left) {
                Ok(Report::Closed(_)) | Err(_) => break,
                Ok(report) => self.take_quietly(report),
            }
        }
        let screen = self.wires[0].protocol.bugcheck().unwrap_or_default().to_owned();
        Error::Bugcheck { screen, logs: self.logs.clone() }
    }

    /// A line was closed: QEMU has ended, or the fake guest has.
    fn ended(&mut self) -> Error {
        self.keeps_logs = true;
        while let Ok(report) = self.reports.recv_timeout(Duration::from_millis(300)) {
            self.take_quietly(report);
        }
        if self.wires[0].protocol.bugcheck().is_some() {
            return self.bugcheck();
        }
        let status =
            self.qemu.take().and_then(|mut child| wait(&mut child, Instant::now() + Duration::from_secs(5)));
        let words = status.map_or_else(|| "QEMU closed the line".to_owned(), |status| status.to_string());
        let reason = self.reason.clone().unwrap_or_default();
        let said = fs::read_to_string(self.logs.join("qemu.log")).unwrap_or_default();
        let said =
            if said.trim().is_empty() { String::new() } else { format!("; QEMU said: {}", said.trim()) };
        died(ending(&reason, &words) + &said, self.tail(), &self.logs)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(mut child) = self.qemu.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn died(how: String, screen: String, logs: &Path) -> Error {
    Error::Died { how, screen, logs: logs.to_path_buf() }
}

fn ending(reason: &str, status: &str) -> String {
    match reason {
        "guest-reset" => "the processor was reset (a triple fault, if the guest did not ask for it)".into(),
        "guest-shutdown" => "the guest switched itself off".into(),
        "guest-panic" => "the guest reported a panic".into(),
        "host-signal" => "QEMU was ended by a signal".into(),
        _ => format!("QEMU ended with {status}"),
    }
}

fn wait(child: &mut Child, deadline: Instant) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// Waits for QEMU to connect, or to end.
fn accept(
    listener: &UnixListener,
    child: &mut Child,
    deadline: Instant,
) -> std::result::Result<UnixStream, String> {
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(|error| error.to_string())?;
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("QEMU did not start ({status}); qemu.log says why"));
        }
        if Instant::now() >= deadline {
            return Err("QEMU did not connect its serial lines in time".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn read_line(line: Line, stream: &UnixStream, sender: &Sender<Report>) -> Result<()> {
    let mut stream = stream.try_clone().context("open a serial line twice")?;
    let sender = sender.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 16384];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if sender.send(Report::Bytes(line, buffer[..count].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = sender.send(Report::Closed(line));
    });
    Ok(())
}

/// Listens on QEMU's control channel for answers and for the reason of its end.
fn read_qmp(stream: &UnixStream, sender: Sender<Report>) -> Result<()> {
    let stream = stream.try_clone().context("open QEMU's control channel twice")?;
    let mut writer = stream.try_clone().context("open QEMU's control channel twice")?;
    std::thread::spawn(move || {
        if writer.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").is_err() {
            return;
        }
        let reader = std::io::BufReader::new(stream);
        for line in std::io::BufRead::lines(reader) {
            let Ok(line) = line else { return };
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            let report = match value["event"].as_str() {
                Some("SHUTDOWN") => value["data"]["reason"].as_str().map(|text| Report::Qmp(text.to_owned())),
                Some("GUEST_PANICKED") => Some(Report::Qmp("guest-panic".into())),
                // Only monitor commands are answered by text, and only errors by `desc`.
                None => value["return"]
                    .as_str()
                    .or_else(|| value["error"]["desc"].as_str())
                    .map(|text| Report::Answer(text.to_owned())),
                Some(_) => None,
            };
            if report.is_some_and(|report| sender.send(report).is_err()) {
                return;
            }
        }
    });
    Ok(())
}

/// QEMU ends with the thread that started it, however that ends.
pub(crate) fn die_with_parent(command: &mut std::process::Command) {
    let set = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(std::io::Error::from)
    };
    // SAFETY: between fork and exec the closure makes one system call and touches no memory of the parent.
    unsafe { command.pre_exec(set) };
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    format!("{seconds}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Guests for unit tests: threads behind socket pairs.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use std::io::{BufRead, BufReader};

    /// A guest that answers each line by `reply`; `None` hangs, an empty name closes the line.
    fn fake(stream: UnixStream, reply: fn(&str) -> Option<(String, u32)>) {
        std::thread::spawn(move || {
            let mut writer = stream.try_clone().unwrap();
            let mut reader = BufReader::new(stream);
            writer.write_all(b"starting\r\n").unwrap();
            loop {
                writer.write_all(b"\x1b]133;A\x07C:\\>\x1b]133;B\x07").unwrap();
                let mut command = Vec::new();
                if reader.read_until(b'\r', &mut command).unwrap() == 0 {
                    return;
                }
                let command = String::from_utf8(command).unwrap().trim_end().to_owned();
                writer.write_all(format!("{command}\r\n\x1b]133;C\x07").as_bytes()).unwrap();
                if command == "shutdown" {
                    return;
                }
                let Some((text, status)) = reply(&command) else {
                    let _ = reader.read_to_end(&mut Vec::new());
                    return;
                };
                writer.write_all(format!("{text}\x1b]133;D;{status}\x07").as_bytes()).unwrap();
            }
        });
    }

    /// A session with two such guests.
    pub fn session(reply: fn(&str) -> Option<(String, u32)>, timeout: Duration) -> Session {
        let (console, console_guest) = UnixStream::pair().unwrap();
        let (kd, kd_guest) = UnixStream::pair().unwrap();
        fake(console_guest, reply);
        fake(kd_guest, reply);
        Session::over(console, kd, timeout, PathBuf::from("nowhere")).unwrap()
    }

    /// A guest that repeats its commands; `hang` and `stop` do what they say.
    pub fn echo(command: &str) -> Option<(String, u32)> {
        match command {
            "hang" => None,
            "stop" => Some(("*** STOP: 0x0000007F (0, 0, 0, 0)\r\nrip 1234\r\n".into(), 0)),
            other => Some((format!("<{other}>\r\n"), u32::try_from(other.len()).unwrap())),
        }
    }

    /// More time than any test needs.
    pub const LONG: Duration = Duration::from_secs(20);
}

#[cfg(test)]
mod tests {
    use super::testing::{LONG, echo, session};
    use super::*;

    #[test]
    fn commands_run_on_both_lines() {
        let mut session = session(echo, LONG);
        assert_eq!(session.shell("hello").unwrap(), Output { text: "<hello>\n".into(), status: 5 });
        assert_eq!(
            session.kd("!process 0 0").unwrap(),
            Output { text: "<!process 0 0>\n".into(), status: 12 }
        );
        assert_eq!(session.shell("x").unwrap().status, 1);
    }

    #[test]
    fn a_hang_is_a_timeout() {
        let mut session = session(echo, Duration::from_millis(300));
        let error = session.shell("hang").unwrap_err();
        assert_eq!(error.exit_code(), 124);
        assert!(error.to_string().contains("`hang` in the shell to end"), "{error}");
    }

    #[test]
    fn a_bugcheck_is_an_error_with_its_screen() {
        let mut session = session(echo, LONG);
        let error = session.shell("stop").unwrap_err();
        assert_eq!(error.exit_code(), 125);
        assert!(error.to_string().contains("rip 1234"), "{error}");
    }

    #[test]
    fn an_end_nobody_asked_for_is_an_error() {
        let mut session = session(echo, LONG);
        assert_eq!(session.shell("shutdown").unwrap_err().exit_code(), 126);
    }
}
