//! `u`, `k`, `r`, `lm`, `x`, `ln`: instructions, stacks, registers, symbols.

use crate::execute::System;
use crate::memory_view::read_with_holes;
use crate::symbols::{KERNEL, KERNEL_START, Symbols};
use abi::kd::SysdbgThread;
use abi::mm::USER_MAX;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use iced_x86::{Decoder, DecoderOptions, Formatter, MasmFormatter, OpKind};
use serde::Serialize;

/// Longest instruction.
const LONGEST: usize = 15;
/// Most frames of one stack.
const DEPTH: usize = 64;
/// Frames further apart than this are not of one stack.
const LARGEST_FRAME: u64 = 1 << 20;
/// Words of the frame in which the kernel keeps a thread's user registers.
const FRAME_WORDS: usize = 22;
/// KTHREAD_STATE.
const STATE_RUNNING: u32 = 2;
/// What stands in place of a vector in the frame of a system call.
const SYSTEM_CALL: u64 = 0x100;
/// Selectors of user mode (microkernel's `arch::gdt`).
const USER_CS: u64 = 0x23;
const USER_SS: u64 = 0x1B;

/// One instruction.
#[derive(Clone, Debug, Serialize)]
pub struct Instruction {
    address: u64,
    symbol: String,
    bytes: String,
    text: String,
    /// What a call or jump leads to.
    target: String,
}

/// Decodes instructions of a process or the kernel, up to the first that is not there.
pub fn unassemble<S: System>(
    process: u32,
    image: &str,
    address: u64,
    count: u64,
    symbols: &mut Symbols,
    system: &mut S,
) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut at = address;
    let mut formatter = MasmFormatter::new();
    for _ in 0..count {
        let bytes: Vec<u8> =
            read_with_holes(process, at, LONGEST, system).into_iter().map_while(|byte| byte).collect();
        let mut decoder = Decoder::with_ip(64, &bytes, at, DecoderOptions::NONE);
        if !decoder.can_decode() {
            break;
        }
        let instruction = decoder.decode();
        let length = instruction.len().min(bytes.len());
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        let target = match instruction.op_count() > 0 && instruction.op0_kind() == OpKind::NearBranch64 {
            true => symbols.describe(instruction.near_branch_target(), image, system),
            false => String::new(),
        };
        found.push(Instruction {
            address: at,
            symbol: symbols.describe(at, image, system),
            bytes: bytes[..length].iter().map(|byte| format!("{byte:02x}")).collect(),
            text,
            target,
        });
        if instruction.is_invalid() {
            break;
        }
        at = at.wrapping_add(length as u64);
    }
    found
}

/// `u`.
pub fn write_instructions(out: &mut dyn Write, address: u64, instructions: &[Instruction]) -> fmt::Result {
    match instructions.first() {
        None => return writeln!(out, "{address:016x} ????????"),
        Some(first) if !first.symbol.is_empty() => writeln!(out, "{}:", first.symbol)?,
        Some(_) => {}
    }
    for Instruction { address, bytes, text, target, .. } in instructions {
        write!(out, "{address:016x} {bytes:<20} {text}")?;
        if target.is_empty() { writeln!(out)? } else { writeln!(out, "  ; {target}")? }
    }
    Ok(())
}

/// A place on a stack.
#[derive(Clone, Debug, Serialize)]
pub struct Frame {
    /// `kernel` or `user`.
    mode: &'static str,
    address: u64,
    symbol: String,
}

/// A word of memory, if it is there.
fn word<S: System>(process: u32, address: u64, system: &mut S) -> Option<u64> {
    let mut bytes = [0; 8];
    (address.is_multiple_of(8) && system.read_all(process, address, &mut bytes))
        .then(|| u64::from_le_bytes(bytes))
}

/// The registers with which a thread went from user mode into the kernel.
pub fn user_registers<S: System>(thread: &SysdbgThread, system: &mut S) -> Option<[u64; FRAME_WORDS]> {
    let at = thread.stack_base.checked_sub(8 * FRAME_WORDS as u64)?;
    let mut words = [0; FRAME_WORDS];
    for (index, slot) in words.iter_mut().enumerate() {
        *slot = word(0, at + 8 * index as u64, system)?;
    }
    if !(1..USER_MAX).contains(&words[RIP]) {
        return None;
    }
    if words[VECTOR] == SYSTEM_CALL {
        // Its entry leaves out what the instruction destroys and what is always the same.
        (words[RCX], words[R11]) = (words[RIP], words[RFLAGS]);
        (words[CS], words[SS]) = (USER_CS, USER_SS);
    }
    Some(words)
}

/// Places in the frame (microkernel's TrapFrame).
const R11: usize = 4;
const RBP: usize = 8;
const RCX: usize = 12;
const VECTOR: usize = 15;
const RIP: usize = 17;
const CS: usize = 18;
const RFLAGS: usize = 19;
const RSP: usize = 20;
const SS: usize = 21;

/// The stack of a thread: in the kernel, unless it runs, and in user mode. The error is what to tell the person.
pub fn stack<S: System>(
    thread: &SysdbgThread,
    image: &str,
    symbols: &mut Symbols,
    system: &mut S,
) -> Result<Vec<Frame>, String> {
    if thread.state == STATE_RUNNING {
        return Err("the thread is running; .break stops it".into());
    }
    let mut frames = Vec::new();
    // Where the kernel left its stack: the place to go on at, then rbx and rbp.
    let at = |offset: u64| thread.kernel_stack.wrapping_add(offset);
    // A thread that parked on the fast path, or has not run, has nothing but that below its user registers.
    let parked = Some(thread.kernel_stack) == thread.stack_base.checked_sub(8 * FRAME_WORDS as u64 + 8);
    let rbp = if parked { Some(0) } else { word(0, at(16), system) };
    if let (Some(rip), Some(rbp)) = (word(0, at(0), system), rbp) {
        walk(&mut frames, "kernel", 0, image, (rip, rbp), symbols, system);
    }
    if let Some(registers) = user_registers(thread, system) {
        let start = (registers[RIP], registers[RBP]);
        walk(&mut frames, "user", thread.process, image, start, symbols, system);
    }
    Ok(frames)
}

fn walk<S: System>(
    frames: &mut Vec<Frame>,
    mode: &'static str,
    process: u32,
    image: &str,
    (rip, mut rbp): (u64, u64),
    symbols: &mut Symbols,
    system: &mut S,
) {
    frames.push(Frame { mode, address: rip, symbol: symbols.describe(rip, image, system) });
    for _ in 0..DEPTH {
        let next = word(process, rbp, system);
        let (Some(next), Some(address)) = (next, word(process, rbp.wrapping_add(8), system)) else { return };
        if address == 0 || (mode == "kernel") != (address >= KERNEL_START) {
            return;
        }
        // A call can be the last instruction of its function: the byte before the return address is in it.
        let symbol = symbols.near(address.wrapping_sub(1), image, system);
        let symbol = symbol.map(|near| crate::symbols::Near { offset: near.offset + 1, ..near }.to_string());
        frames.push(Frame { mode, address, symbol: symbol.unwrap_or_default() });
        if next <= rbp || next - rbp > LARGEST_FRAME {
            return;
        }
        rbp = next;
    }
}

/// `k`.
pub fn write_stack(out: &mut dyn Write, frames: &[Frame]) -> fmt::Result {
    writeln!(out, " # MODE   ADDRESS          SYMBOL")?;
    for (number, Frame { mode, address, symbol }) in frames.iter().enumerate() {
        writeln!(out, "{number:02x} {mode:<6} {address:016x} {symbol}")?;
    }
    Ok(())
}

/// The registers by name.
#[derive(Clone, Debug, Serialize)]
pub struct Registers {
    names: Vec<(&'static str, u64)>,
    symbol: String,
}

/// `r`: user registers, and the symbol at rip.
pub fn registers<S: System>(
    words: &[u64; FRAME_WORDS],
    image: &str,
    symbols: &mut Symbols,
    system: &mut S,
) -> Registers {
    const NAMES: [(&str, usize); 20] = [
        ("rax", 14),
        ("rbx", 13),
        ("rcx", RCX),
        ("rdx", 11),
        ("rsi", 10),
        ("rdi", 9),
        ("rip", RIP),
        ("rsp", RSP),
        ("rbp", RBP),
        ("r8", 7),
        ("r9", 6),
        ("r10", 5),
        ("r11", R11),
        ("r12", 3),
        ("r13", 2),
        ("r14", 1),
        ("r15", 0),
        ("cs", CS),
        ("ss", SS),
        ("efl", RFLAGS),
    ];
    Registers {
        names: NAMES.iter().map(|(name, at)| (*name, words[*at])).collect(),
        symbol: symbols.describe(words[RIP], image, system),
    }
}

/// `r`.
pub fn write_registers(out: &mut dyn Write, registers: &Registers) -> fmt::Result {
    for line in registers.names.chunks(3) {
        for (name, value) in line {
            write!(out, "{name:>3}={value:016x} ")?;
        }
        writeln!(out)?;
    }
    if registers.symbol.is_empty() { Ok(()) } else { writeln!(out, "{}:", registers.symbol) }
}

/// A module, as `lm` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleRow {
    start: u64,
    end: u64,
    module: String,
    symbols: usize,
}

/// The kernel and the programs whose image names are given.
pub fn modules<S: System>(
    images: &[String],
    symbols: &mut Symbols,
    system: &mut S,
) -> Result<Vec<ModuleRow>, String> {
    let mut rows = Vec::new();
    for name in [KERNEL.to_string()].iter().chain(images) {
        let module = symbols.module(name, system).map_err(|status| format!("modules: {status}"))?;
        rows.extend(module.map(|module| ModuleRow {
            start: module.start,
            end: module.end,
            module: name.clone(),
            symbols: module.count(),
        }));
    }
    Ok(rows)
}

/// `lm`.
pub fn write_modules(out: &mut dyn Write, rows: &[ModuleRow]) -> fmt::Result {
    writeln!(out, "START            END              MODULE           SYMBOLS")?;
    for ModuleRow { start, end, module, symbols } in rows {
        writeln!(out, "{start:016x} {end:016x} {module:<16} {symbols:>7}")?;
    }
    Ok(())
}

/// A symbol, as `x` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct SymbolRow {
    address: u64,
    size: u64,
    name: String,
}

/// The symbols of a module that match a pattern.
pub fn examine<S: System>(
    module: &str,
    pattern: &str,
    symbols: &mut Symbols,
    system: &mut S,
) -> Result<Vec<SymbolRow>, String> {
    let found = symbols.module(module, system).map_err(|status| format!("symbols of {module}: {status}"))?;
    let found = found.ok_or_else(|| format!("there is no module '{module}'; lm lists them"))?;
    let row = |symbol: &crate::symbols::Symbol| SymbolRow {
        address: symbol.address,
        size: symbol.size,
        name: format!("{module}!{}", symbol.name),
    };
    Ok(found.matching(pattern).map(row).collect())
}

/// `x`.
pub fn write_symbols(out: &mut dyn Write, rows: &[SymbolRow]) -> fmt::Result {
    for SymbolRow { address, name, .. } in rows {
        writeln!(out, "{address:016x} {name}")?;
    }
    writeln!(out, "{} symbols", rows.len())
}
