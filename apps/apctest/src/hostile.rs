//! CONTEXTs that no program should pass, stacks that are none, dispatchers that are missing: the kernel takes what is
//! harmless, refuses or ends the rest, and goes on.

use libnt::abi::context::*;
use libnt::abi::mm::USER_MAX;
use libnt::abi::ob::{PROCESS_ALL_ACCESS, THREAD_ALL_ACCESS};
use libnt::abi::ps::{
    PROCESS_APC_DISPATCHER, THREAD_BASIC_INFORMATION, THREAD_CREATE_FLAGS_CREATE_SUSPENDED,
    ThreadBasicInformation,
};
use libnt::abi::syscalls::nr;
use libnt::prelude::*;
use libnt::process::Command;
use libnt::sys::calls;
use libnt::{apc, thread, wait};
use testkit::Test;
use zerocopy::{FromZeros, IntoBytes};

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("continue/flags-and-selectors", flags_and_selectors);
    test.case("continue/refused", refused);
    test.case("continue/bad-pointers", bad_pointers);
    test.case("continue/vector-registers", vector_registers);
    test.case("continue/children", children);
    test.case("apc/no-dispatcher", no_dispatcher);
    test.case("apc/bad-routine", bad_routine);
}

/// A routine with the saved registers as fourth argument.
type Meddler = extern "sysv64" fn(u64, u64, u64, &mut Context);

/// Has the calling thread run an APC that changes the registers it goes back to.
fn meddle(with: Meddler, argument: u64) -> NtResult {
    // SAFETY: the dispatcher passes the context as fourth argument; what the meddlers here change is what each test is
    // about, in a thread or process of its own where it could not go on.
    unsafe { calls::queue_apc(Handle::CURRENT_THREAD, with as usize as u64, [argument, 0, 0]) }?;
    apc::test_alert();
    Ok(())
}

fn flags() -> u64 {
    let flags: u64;
    // SAFETY: reads the flags register.
    unsafe { core::arch::asm!("pushfq", "pop {}", out(reg) flags) };
    flags
}

extern "sysv64" fn hostile_flags(_: u64, _: u64, _: u64, context: &mut Context) {
    // IOPL 3, interrupts off, nested task, virtual-8086 mode, and everything above; selectors of the kernel.
    context.eflags = 0xFFFB_7000;
    context.segments = [8, 16, 16, 16, 16, 16];
}

fn flags_and_selectors(test: &mut Test) -> NtResult {
    meddle(hostile_flags, 0)?;
    let (cs, ss): (u64, u64);
    let now = flags();
    // SAFETY: reads selectors; clears what the context set and a program may have set: AC.
    unsafe {
        core::arch::asm!("mov {0:r}, cs", "mov {1:r}, ss", out(reg) cs, out(reg) ss);
        core::arch::asm!("pushfq", "and qword ptr [rsp], {}", "popfq", const !0x24_0000i32);
    }
    test.equal("IOPL, NT, VM, VIF, VIP", now & 0x1A_7000, 0);
    test.equal("interrupts", now & 0x200, 0x200);
    test.equal("rings", (cs & 3, ss & 3), (3, 3));
    Ok(())
}

extern "sysv64" fn jump(to: u64, _: u64, _: u64, context: &mut Context) {
    context.rip = to;
}

extern "sysv64" fn set_parts(flags: u64, _: u64, _: u64, context: &mut Context) {
    context.context_flags = flags as u32;
}

/// The dispatcher ends the thread with the status of an NtContinue that came back.
fn refused(test: &mut Test) -> NtResult {
    let addresses = [
        0,
        0x8000_0000_0000,
        0x0100_0000_0000_0000,
        0xFFFF_8000_0000_0000,
        u64::MAX,
        USER_MAX,
        USER_MAX + 0x1000,
    ];
    let jumps = addresses.map(|address| (jump as Meddler, address));
    for (meddler, argument) in jumps.into_iter().chain([(set_parts as Meddler, 0), (set_parts, 0xB)]) {
        let thread = thread::spawn(move || meddle(meddler, argument))?;
        wait::one(thread.handle(), None)?;
        let basic: ThreadBasicInformation = calls::query_thread(thread.handle(), THREAD_BASIC_INFORMATION)?;
        let status = NtStatus(basic.exit_status);
        test.equal(format_args!("going on with {argument:#x}"), status, STATUS_INVALID_PARAMETER);
    }
    // Without any part the thread goes on after NtContinue, in the dispatcher, with success.
    let thread = thread::spawn(|| meddle(set_parts, CONTEXT_AMD64.into()))?;
    wait::one(thread.handle(), None)?;
    let basic: ThreadBasicInformation = calls::query_thread(thread.handle(), THREAD_BASIC_INFORMATION)?;
    test.equal("a context without parts", NtStatus(basic.exit_status), STATUS_SUCCESS);
    Ok(())
}

fn bad_pointers(test: &mut Test) -> NtResult {
    for address in [0, 0x10, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, u64::MAX - 8, USER_MAX - 8] {
        // SAFETY: the address is no context, so the kernel refuses.
        let status = unsafe { libnt::sys::NtContinue(libnt::abi::arg::In::at(address), false) };
        test.equal(format_args!("a context at {address:#x}"), status, STATUS_ACCESS_VIOLATION);
    }
    let mut context = Context::new_zeroed();
    // SAFETY: a context without flags is refused.
    test.equal("an empty one", unsafe { calls::go_on(&context, true) }, STATUS_INVALID_PARAMETER);
    context.context_flags = CONTEXT_CONTROL;
    // SAFETY: a context with no instruction pointer is refused.
    test.equal("with address 0", unsafe { calls::go_on(&context, true) }, STATUS_INVALID_PARAMETER);
    Ok(())
}

extern "sysv64" fn hostile_vectors(_: u64, _: u64, _: u64, context: &mut Context) {
    // Reserved bits of MXCSR, x87 words without sense; the first vector register.
    if context.context_flags & CONTEXT_FLOATING_POINT == CONTEXT_FLOATING_POINT {
        let mxcsr = context.float_save[24..28].to_vec();
        context.float_save[..160].fill(0xFF);
        context.float_save[24] = mxcsr[0];
        context.float_save[25] = mxcsr[1];
        context.float_save[0..2].copy_from_slice(&0x37Fu16.to_le_bytes());
        context.float_save[2..4].fill(0);
        context.float_save[160] ^= 0xFF;
    }
}

extern "sysv64" fn use_vectors(_: u64, _: u64, _: u64, _: &mut Context) {
    // SAFETY: the register is restored with the context.
    unsafe { core::arch::asm!("pcmpeqd xmm0, xmm0", options(nostack)) };
}

/// A vector register across an APC that meddles.
fn through(meddler: Meddler, value: u64) -> NtResult<u64> {
    // SAFETY: the address of a function with this signature; see `meddle`.
    unsafe { calls::queue_apc(Handle::CURRENT_THREAD, meddler as usize as u64, [0; 3]) }?;
    let back: u64;
    let mut status: u64 = nr::NtTestAlert.into();
    // SAFETY: the register is this function's for the time; the kernel destroys rax, rcx and r11.
    unsafe {
        core::arch::asm!(
            "movq xmm0, {value}",
            "syscall",
            "movq {back}, xmm0",
            value = in(reg) value,
            back = out(reg) back,
            inlateout("rax") status,
            out("rcx") _, out("r11") _,
        );
    }
    let _ = status;
    Ok(back)
}

fn vector_registers(test: &mut Test) -> NtResult {
    let thread = thread::spawn(|| -> NtResult<[u64; 2]> {
        Ok([through(use_vectors, 0x1234_5678)?, through(hostile_vectors, 0x1100)?])
    })?;
    let found = thread.join()?;
    test.equal("kept, then changed where the APC changed it", found, Ok([0x1234_5678, 0x11FF]));
    Ok(())
}

extern "sysv64" fn bad_stack(to: u64, _: u64, _: u64, context: &mut Context) {
    context.rsp = to;
}

/// Goes on with another stack pointer, and uses it.
fn push_on(stack: u64) -> NtResult {
    let meddler: Meddler = bad_stack;
    // SAFETY: as for `meddle`; the process does not survive it, and nothing else runs in it.
    unsafe {
        calls::queue_apc(Handle::CURRENT_THREAD, meddler as usize as u64, [stack, 0, 0])?;
        core::arch::asm!("syscall", "push rax", "ud2", in("rax") u64::from(nr::NtTestAlert), options(noreturn));
    }
}

extern "sysv64" fn single_step(_: u64, _: u64, _: u64, context: &mut Context) {
    context.eflags |= 0x100;
}

/// What a child does that does not survive it.
pub fn child(what: &str) -> NtResult {
    match what {
        "stack-hole" => push_on(0x10),
        "stack-kernel" => push_on(0xFFFF_FFFF_8000_0000),
        "stack-not-canonical" => push_on(0x0100_0000_0000_0000),
        "single-step" => meddle(single_step, 0),
        "jump" => meddle(jump, 0x1234_5000),
        "no-stack-for-apc" | "stack-wraps" => {
            apc::queue_to_self(crate::alerts::nothing, [0; 3])?;
            let stack: u64 = if what == "stack-wraps" { 8 } else { 0x2000_0000_0000 };
            // SAFETY: the process does not survive it, and nothing else runs in it.
            unsafe {
                core::arch::asm!("mov rsp, {}", "syscall", "ud2", in(reg) stack, in("rax") u64::from(nr::NtTestAlert), options(noreturn));
            }
        }
        _ => Err(STATUS_INVALID_PARAMETER),
    }
}

fn children(test: &mut Test) -> NtResult {
    for (what, expected) in [
        ("stack-hole", STATUS_ACCESS_VIOLATION),
        ("stack-kernel", STATUS_ACCESS_VIOLATION),
        ("stack-not-canonical", STATUS_ACCESS_VIOLATION),
        ("single-step", STATUS_SINGLE_STEP),
        ("jump", STATUS_ACCESS_VIOLATION),
        ("no-stack-for-apc", STATUS_STACK_OVERFLOW),
        ("stack-wraps", STATUS_STACK_OVERFLOW),
    ] {
        let mut command = Command::new(env::image());
        command.argument(crate::CHILD).argument(what);
        test.equal(what, command.spawn()?.wait()?, expected);
    }
    Ok(())
}

fn no_dispatcher(test: &mut Test) -> NtResult {
    let process = OwnedHandle::new(calls::create_process(PROCESS_ALL_ACCESS, 0)?);
    let suspended = THREAD_CREATE_FLAGS_CREATE_SUSPENDED;
    // SAFETY: the thread is in another process, and never runs.
    let thread =
        unsafe { calls::create_thread(process.raw(), THREAD_ALL_ACCESS, 0x10_0000, 0, suspended, 0) }?;
    let thread = OwnedHandle::new(thread);
    // SAFETY: there is no code, and no thread that would run it.
    let queued = unsafe { calls::queue_apc(thread.raw(), 0x10_0000, [0; 3]) };
    test.refused("a process whose runtime has not started", queued, STATUS_NOT_SUPPORTED);
    let set = |process: Handle, address: u64| {
        let value = address.as_bytes();
        let input = libnt::abi::arg::In::at(value.as_ptr() as u64);
        // SAFETY: every address here is refused, or is another process's business.
        unsafe { libnt::sys::NtSetInformationProcess(process.into(), PROCESS_APC_DISPATCHER, input, 8) }
    };
    test.equal("its dispatcher is its own", set(process.raw(), 0x10_0000), STATUS_ACCESS_DENIED);
    for address in [0, USER_MAX, 0x8000_0000_0000, 0xFFFF_8000_0000_0000] {
        let found = set(Handle::CURRENT_PROCESS, address);
        test.equal(format_args!("a dispatcher at {address:#x}"), found, STATUS_INVALID_PARAMETER);
    }
    calls::terminate_process(process.raw(), STATUS_CANCELLED)?;
    wait::one(process.raw(), None)?;
    Ok(())
}

fn bad_routine(test: &mut Test) -> NtResult {
    for address in [0, USER_MAX, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, u64::MAX] {
        // SAFETY: no such code; the kernel refuses.
        let queued = unsafe { calls::queue_apc(Handle::CURRENT_THREAD, address, [0; 3]) };
        test.refused(format_args!("a routine at {address:#x}"), queued, STATUS_INVALID_PARAMETER);
    }
    Ok(())
}
