//! Executes [`Debug`] commands over the [`System`] trait.

use crate::address::{evaluate, hexadecimal};
use crate::command::ProcessName;
use crate::debug_command::Debug;
use crate::execute::{Failure, Outcome, System, find, put};
use crate::snapshot::{Snapshot, process_id};
use crate::symbols::Symbols;
use crate::{code_view, machine_view, memory_view, object_view, types};
use abi::kd::SysdbgThread;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use serde::Serialize;

/// What debugger commands mean, until another is chosen.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Process whose user addresses are meant; 0: nobody's.
    process: u32,
    /// Thread that `k` and `r` mean; 0: none.
    thread: u32,
    symbols: Symbols,
    /// The table of types, once it has been asked for.
    types: Option<String>,
}

/// Where an answer goes, and in which form.
struct Answer<'a> {
    out: &'a mut dyn Write,
    json: bool,
}

impl Answer<'_> {
    fn give<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&mut dyn Write, &T) -> fmt::Result,
    ) -> Outcome {
        if self.json { put(self.out, value) } else { Ok(text(self.out, value)?) }
    }
}

/// Runs a command; with `json` it is a listing.
pub fn run<S: System>(
    command: &Debug,
    json: bool,
    context: &mut Context,
    system: &mut S,
    out: &mut dyn Write,
) -> Outcome {
    let mut answer = Answer { out, json };
    match command {
        Debug::Dump(..) | Debug::Unassemble(..) | Debug::Pte(_) | Debug::Near(_) => {
            at_address(command, &mut answer, context, system)
        }
        Debug::Stack(_) | Debug::Registers => of_thread(command, &mut answer, context, system),
        Debug::Examine(module, pattern) => {
            let rows = code_view::examine(module, pattern, &mut context.symbols, system)?;
            answer.give(&rows, |out, rows| code_view::write_symbols(out, rows))
        }
        Debug::Modules => {
            let mut images: Vec<String> =
                snapshot(system)?.processes().iter().map(|process| process.name.clone()).collect();
            images.sort();
            images.dedup();
            let rows = code_view::modules(&images, &mut context.symbols, system)?;
            answer.give(&rows, |out, rows| code_view::write_modules(out, rows))
        }
        Debug::Type(name, address) => type_of(name, address.as_deref(), &mut answer, context, system),
        Debug::SetProcess(name) => set_process(name.as_ref(), &mut answer, context, system),
        Debug::SetThread(thread) => {
            if let Some(thread) = *thread {
                context.process = thread_facts(thread, system)?.process;
                context.thread = thread;
            }
            match context.thread {
                0 => Ok(writeln!(answer.out, "no thread is chosen")?),
                thread => {
                    Ok(writeln!(answer.out, "Implicit thread is {thread} of process {}", context.process)?)
                }
            }
        }
        Debug::Vad(name) => {
            let snapshot = snapshot(system)?;
            let process = chosen(name.as_ref(), context, &snapshot)?;
            let runs = system.regions(process).map_err(|status| Failure::Status("regions", status))?;
            let title = format!("{process} ({})", snapshot.process_name(process));
            let rows = memory_view::regions(&runs);
            answer.give(&rows, |out, rows| memory_view::write_regions(out, &title, rows))
        }
        Debug::Token(name) => {
            let snapshot = snapshot(system)?;
            let process = chosen(name.as_ref(), context, &snapshot)?;
            let facts = system.token(process).map_err(|status| Failure::Status("token", status))?;
            let token = object_view::describe_token(process, snapshot.process_name(process), &facts);
            answer.give(&token, object_view::write_token)
        }
        Debug::Object(text) => object(text, &mut answer, system),
        Debug::Running | Debug::Ready | Debug::Timers | Debug::Pcr(_) | Debug::Idt(_) => {
            machine(command, &mut answer, context, system)
        }
        Debug::Break => system.break_in().map_err(|status| Failure::Status(".break", status)),
        Debug::Go => Err(Failure::Said("the system is running; .break stops it".into())),
        Debug::Reboot => system.reboot().map_err(|status| Failure::Status(".reboot", status)),
    }
}

fn snapshot<S: System>(system: &mut S) -> Result<Snapshot, Failure> {
    system.snapshot().map_err(|status| Failure::Status("system information", status))
}

fn thread_facts<S: System>(thread: u32, system: &mut S) -> Result<SysdbgThread, Failure> {
    system.thread(thread).map_err(|_| Failure::Said("no such thread".into()))
}

/// The process that is meant: the one named, or the one chosen before.
fn chosen(name: Option<&ProcessName>, context: &Context, snapshot: &Snapshot) -> Result<u32, Failure> {
    match (name, context.process) {
        (Some(_), _) => match &find(name, snapshot)?[..] {
            [process, ..] => Ok(process_id(process)),
            [] => Err(Failure::Said("no such process".into())),
        },
        (None, 0) => Err(Failure::Said("which process? .process PROCESS chooses one".into())),
        (None, process) => Ok(process),
    }
}

fn set_process<S: System>(
    name: Option<&ProcessName>,
    answer: &mut Answer<'_>,
    context: &mut Context,
    system: &mut S,
) -> Outcome {
    let snapshot = snapshot(system)?;
    if name.is_some() {
        context.process = match name {
            Some(ProcessName::Id(0)) => 0,
            _ => chosen(name, context, &snapshot)?,
        };
        context.thread = 0;
    }
    match context.process {
        0 => Ok(writeln!(answer.out, "no process is chosen: user addresses mean nothing")?),
        id => Ok(writeln!(answer.out, "Implicit process is {id} ({})", snapshot.process_name(id))?),
    }
}

/// Commands on an address.
fn at_address<S: System>(
    command: &Debug,
    answer: &mut Answer<'_>,
    context: &mut Context,
    system: &mut S,
) -> Outcome {
    let process = context.process;
    let image = match process {
        0 => String::new(),
        process => snapshot(system)?.process_name(process).into(),
    };
    let mut address = |text: &str, system: &mut S| evaluate(text, &image, &mut context.symbols, system);
    match command {
        Debug::Dump(unit, text, count) => {
            let address = address(text, system)?;
            let size = (*unit).max(1);
            let default = if *unit == 0 { 256 } else { 128 / size };
            let count = count.map_or(default, |count| usize::try_from(count).unwrap_or(default));
            let bytes = memory_view::read_with_holes(process, address, count * size.max(1), system);
            match unit {
                0 => memory_view::write_text(answer.out, address, &bytes)?,
                unit => memory_view::write_dump(answer.out, address, *unit, &bytes)?,
            }
            Ok(())
        }
        Debug::Unassemble(text, count) => {
            let address = address(text, system)?;
            let symbols = &mut context.symbols;
            let rows = code_view::unassemble(process, &image, address, count.unwrap_or(8), symbols, system);
            answer.give(&rows, |out, rows| code_view::write_instructions(out, address, rows))
        }
        Debug::Pte(text) => {
            let address = address(text, system)?;
            let owner = memory_view::owner(address, process)?;
            let facts = system.process(owner).map_err(|status| Failure::Status("process", status))?;
            let entries = memory_view::page_table_entries(facts.directory_base, address, system);
            answer.give(&entries, |out, entries| memory_view::write_entries(out, address, entries))
        }
        Debug::Near(text) => {
            let address = address(text, system)?;
            let symbol = context.symbols.describe(address, &image, system);
            answer.give(&NearJson { address, symbol }, |out, near| match near.symbol.is_empty() {
                true => writeln!(out, "{address:016x} is in no symbol"),
                false => writeln!(out, "{address:016x} {}", near.symbol),
            })
        }
        _ => Ok(()),
    }
}

/// `ln`.
#[derive(Serialize)]
struct NearJson {
    address: u64,
    symbol: String,
}

/// Commands on a thread.
fn of_thread<S: System>(
    command: &Debug,
    answer: &mut Answer<'_>,
    context: &mut Context,
    system: &mut S,
) -> Outcome {
    let wanted = match command {
        Debug::Stack(Some(thread)) => *thread,
        _ => context.thread,
    };
    if wanted == 0 {
        return Err(Failure::Said("which thread? .thread THREAD chooses one".into()));
    }
    let thread = thread_facts(wanted, system)?;
    let snapshot = snapshot(system)?;
    let image = snapshot.process_name(thread.process);
    let symbols = &mut context.symbols;
    if let Debug::Stack(_) = command {
        let frames = code_view::stack(&thread, image, symbols, system)?;
        return answer.give(&frames, |out, frames| code_view::write_stack(out, frames));
    }
    let words = code_view::user_registers(&thread, system);
    let words = words.ok_or_else(|| Failure::Said("the thread has not been in user mode".into()))?;
    let registers = code_view::registers(&words, image, symbols, system);
    answer.give(&registers, code_view::write_registers)
}

fn type_of<S: System>(
    name: &str,
    address: Option<&str>,
    answer: &mut Answer<'_>,
    context: &mut Context,
    system: &mut S,
) -> Outcome {
    let table = match &context.types {
        Some(table) => table,
        None => context.types.insert(types::read_table(system)?),
    };
    let name = name.strip_prefix("nt!").unwrap_or(name);
    if types::is_pattern(name) {
        return answer.give(&types::names(table, name), |out, names| types::write_names(out, names));
    }
    let mut found = types::find(table, name)?;
    if let Some(address) = address {
        types::fill(&mut found, context.process, types::address(address)?, system);
    }
    answer.give(&found, types::write_type)
}

fn object<S: System>(text: &str, answer: &mut Answer<'_>, system: &mut S) -> Outcome {
    if text.starts_with('\\') {
        let named = system.object(text).map_err(|status| Failure::Said(format!("{text}: {status}")))?;
        return answer.give(&named, object_view::write_named);
    }
    let id = match text.strip_prefix("0x") {
        Some(digits) => hexadecimal(digits),
        None => text.parse().ok(),
    };
    let id = id.ok_or_else(|| Failure::Said(format!("'{text}' is neither a path nor an object's id")))?;
    let snapshot = snapshot(system)?;
    let held = object_view::holders(id, &snapshot, system);
    let held = held.ok_or_else(|| Failure::Said(format!("nobody has a handle to an object {id}")))?;
    answer.give(&held, object_view::write_held)
}

/// Commands on processors.
fn machine<S: System>(
    command: &Debug,
    answer: &mut Answer<'_>,
    context: &mut Context,
    system: &mut S,
) -> Outcome {
    let snapshot = snapshot(system)?;
    match command {
        Debug::Running => {
            let rows = machine_view::in_state(machine_view::STATE_RUNNING, &snapshot, system);
            answer.give(&rows, |out, rows| machine_view::write_threads(out, rows, "every processor is idle"))
        }
        Debug::Ready => {
            let rows = machine_view::in_state(machine_view::STATE_READY, &snapshot, system);
            answer.give(&rows, |out, rows| machine_view::write_threads(out, rows, "no thread is ready"))
        }
        Debug::Timers => {
            let counters = system.counters().map_err(|s| Failure::Status("kernel counters", s))?;
            let rows = machine_view::timers(&snapshot, system.tsc(), counters.tsc_frequency, system);
            answer.give(&rows, |out, rows| machine_view::write_timers(out, rows))
        }
        Debug::Pcr(wanted) => {
            let mut blocks = Vec::new();
            for processor in wanted.map_or(0..=u32::MAX, |processor| processor..=processor) {
                match system.processor(processor) {
                    Ok(block) => blocks.push(machine_view::pcr(processor, &block)),
                    Err(_) => break,
                }
            }
            if blocks.is_empty() {
                return Err(Failure::Said("there is no such processor".into()));
            }
            answer.give(&blocks, |out, blocks| {
                blocks.iter().try_for_each(|block| machine_view::write_pcr(out, block, &snapshot))
            })
        }
        Debug::Idt(wanted) => {
            let block = system.processor(0).map_err(|status| Failure::Status("processor", status))?;
            let rows = machine_view::gates(block.idt_base, *wanted, &mut context.symbols, system);
            answer.give(&rows, |out, rows| machine_view::write_gates(out, rows))
        }
        _ => Ok(()),
    }
}

impl Context {
    /// The names of symbols that begin with a text, `MODULE!` included, for completion.
    pub fn symbols_with<S: System>(&mut self, start: &str, system: &mut S) -> Vec<String> {
        const MOST: usize = 1000;
        let Some((module, part)) = start.split_once('!') else {
            return ["nt!".into()].into_iter().filter(|name: &String| name.starts_with(start)).collect();
        };
        // A module that cannot be read has nothing to offer.
        let Ok(Some(found)) = self.symbols.module(module, system) else { return Vec::new() };
        let matching = found.matching(&format!("{part}*")).take(MOST);
        matching.map(|symbol| format!("{module}!{}", symbol.name)).collect()
    }
}
