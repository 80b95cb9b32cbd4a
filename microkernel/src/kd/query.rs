//! NtSystemDebugControl's commands that read: memory, processors, processes, threads, ports.

use crate::arch::idt::TrapFrame;
use crate::arch::percpu;
use crate::arch::{cpu, idt};
use crate::boot;
use crate::kd::memory::{self, KERNEL_START};
use crate::ke::sched;
use crate::kref::Ref;
use crate::mm;
use crate::mm::kstack::STACK_SIZE;
use crate::ps::ids;
use crate::ps::thread::Thread;
use crate::sys::user;
use abi::NtStatus;
use abi::arg::{In, Out};
use abi::kd::*;
use abi::status::*;
use antares_core::alpc::Role;
use antares_core::dispatch::NONE;
use core::sync::atomic::Ordering;

/// Bytes copied with a lock held and between two preemption points.
const PIECE: usize = 512;

/// Where the answer goes.
#[derive(Clone, Copy)]
pub struct Output {
    /// The caller's buffer.
    pub buffer: Out<u8>,
    /// Its length.
    pub length: u32,
}

impl Output {
    fn one<T: abi::arg::Pod>(self, value: &T) -> Result<u32, NtStatus> {
        user::answer(value, self.buffer, u64::from(self.length), true)?;
        Ok(size_of::<T>() as u32)
    }
}

/// SYSDBG_READ_VIRTUAL. Returns how many bytes could be read.
pub fn read_virtual(request: &SysdbgRead, output: Output) -> Result<u32, NtStatus> {
    if request.address >= KERNEL_START {
        return copy(request, output, |at, to| memory::read(mm::kernel_root(), at, to));
    }
    let process = match request.target {
        0 => sched::current().process.clone(),
        id => ids::process(u64::from(id)).ok_or(STATUS_INVALID_CID)?,
    };
    copy(request, output, |at, to| process.space.peek(at, to))
}

/// SYSDBG_READ_PHYSICAL. Returns how many bytes could be read.
pub fn read_physical(request: &SysdbgRead, output: Output) -> Result<u32, NtStatus> {
    copy(request, output, memory::read_physical)
}

fn copy(
    request: &SysdbgRead,
    output: Output,
    read: impl Fn(u64, &mut [u8]) -> usize,
) -> Result<u32, NtStatus> {
    if request.buffer != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if request.request > output.length || request.request > SYSDBG_MAX_READ {
        return Err(STATUS_INFO_LENGTH_MISMATCH);
    }
    let mut piece = [0; PIECE];
    let mut done = 0;
    while done < request.request {
        let count = (request.request - done).min(PIECE as u32) as usize;
        let Some(at) = request.address.checked_add(u64::from(done)) else { break };
        let got = read(at, &mut piece[..count]);
        user::write_bytes(output.buffer.address().wrapping_add(u64::from(done)), &piece[..got])?;
        done += got as u32;
        if got < count {
            break;
        }
        sched::preemption_point();
    }
    Ok(done)
}

/// SYSDBG_QUERY_MODULE_INFORMATION. Returns the bytes written.
pub fn modules(output: Output) -> Result<u32, NtStatus> {
    let boot = boot::info();
    let (image_base, image_size) = mm::kernel_image();
    let kernel = boot.kernel_file.map(|file| ("nt", file, image_base, image_size));
    let others = boot.modules.iter().map(|module| (module.name, module.bytes, 0, 0));
    let mut used = 0;
    for (name, file, image_base, image_size) in kernel.into_iter().chain(others) {
        let mut text = [0; 48];
        let length = name.len().min(text.len());
        text[..length].copy_from_slice(&name.as_bytes()[..length]);
        let module = SysdbgModule {
            file: file.as_ptr() as u64,
            file_size: file.len() as u64,
            image_base,
            image_size,
            name: text,
        };
        let size = size_of::<SysdbgModule>() as u32;
        if output.length - used < size {
            return Err(STATUS_INFO_LENGTH_MISMATCH);
        }
        user::write(Out::at(output.buffer.address().wrapping_add(u64::from(used))), &module)?;
        used += size;
    }
    Ok(used)
}

/// SYSDBG_READ_CONTROL_SPACE.
pub fn processor(request: &SysdbgRead, output: Output) -> Result<u32, NtStatus> {
    let index = request.target;
    if index >= percpu::count() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let block = percpu::of(index);
    let current = {
        let d = sched::lock();
        match d.current(index) {
            NONE => 0,
            // SAFETY: a thread with a dispatcher record is alive while the dispatcher's lock is held.
            thread => unsafe { &*d.payload(thread).0 }.id(),
        }
    };
    let (idt_base, idt_limit) = idt::address();
    output.one(&SysdbgProcessor {
        self_address: core::ptr::from_ref(block) as u64,
        apic_id: block.apic_id.load(Ordering::Relaxed),
        current_thread: current,
        kernel_stack: block.kernel_frame.load(Ordering::Relaxed) + size_of::<TrapFrame>() as u64,
        page_table: block.page_table.load(Ordering::Relaxed),
        timer: block.armed.load(Ordering::Relaxed),
        interrupts: block.interrupts.load(Ordering::Relaxed),
        page_faults: block.page_faults.load(Ordering::Relaxed),
        alpc_fast: block.alpc_fast.load(Ordering::Relaxed),
        idle_ticks: block.idle_ticks.load(Ordering::Relaxed),
        idt_base,
        idt_limit,
        reschedule: block.reschedule.load(Ordering::Relaxed).into(),
        cr0: cpu::read_cr0(),
        cr4: cpu::read_cr4(),
        efer: cpu::rdmsr(cpu::msr::EFER),
    })
}

/// SYSDBG_QUERY_PROCESS.
pub fn process(id: In<u64>, output: Output) -> Result<u32, NtStatus> {
    let process = ids::process(user::read(id)?).ok_or(STATUS_INVALID_CID)?;
    output.one(&SysdbgProcess {
        object: core::ptr::from_ref(&*process) as u64,
        directory_base: process.space.directory_base(),
        token: core::ptr::from_ref(&*process.token()) as u64,
        pointer_count: Ref::count(&process) as u64,
        handle_count: process.header.handle_count(),
        exit_status: process.exit_status(),
        critical: process.critical.load(Ordering::Relaxed).into(),
        ending: process.is_ending().into(),
    })
}

/// SYSDBG_QUERY_THREAD.
pub fn thread(id: In<u64>, output: Output) -> Result<u32, NtStatus> {
    let thread = ids::thread(user::read(id)?).ok_or(STATUS_INVALID_CID)?;
    let mut objects = [NONE; SYSDBG_WAIT_OBJECTS];
    let facts = sched::with_thread(&thread, |d| {
        let wait = d.wait_facts(thread.index);
        for (at, object) in objects.iter_mut().enumerate() {
            *object = d.waits_for(thread.index, at).unwrap_or(NONE);
        }
        (d.info(thread.index), wait)
    });
    let mut waits = [SysdbgWait::default(); SYSDBG_WAIT_OBJECTS];
    for (wait, object) in waits.iter_mut().zip(objects).filter(|(_, object)| *object != NONE) {
        *wait = handle_to(&thread, object).unwrap_or_default();
    }
    let top = thread.stack_top();
    output.one(&SysdbgThread {
        object: core::ptr::from_ref(&*thread) as u64,
        teb: thread.teb,
        stack_base: top,
        stack_limit: top - STACK_SIZE,
        kernel_stack: thread.saved_rsp.load(Ordering::Relaxed),
        affinity: facts.map_or(0, |(info, _)| info.affinity),
        deadline: facts.map_or(u64::MAX, |(_, wait)| wait.deadline),
        process: thread.process.id(),
        processor: facts.map_or(0, |(info, _)| info.cpu),
        state: facts.map_or(4, |(info, _)| info.state as u32),
        wait_reason: facts.map_or(0, |(info, _)| u32::from(info.reason)),
        priority: facts.map_or(0, |(info, _)| u32::from(info.priority)),
        impersonates: thread.impersonation.is_active().into(),
        wait_count: facts.map_or(0, |(_, wait)| wait.objects),
        wait_all: facts.is_some_and(|(_, wait)| wait.all).into(),
        waits,
    })
}

/// The first handle in the thread's process whose object has this dispatcher object.
fn handle_to(thread: &Thread, wanted: u32) -> Option<SysdbgWait> {
    let handles = &thread.process.handles;
    let mut from = 0;
    while let Some((handle, next)) = handles.next(from) {
        from = next;
        // A handle that is closed meanwhile is not the one.
        let found = handles.with(handle, |entry| {
            let object = entry.target.object();
            Ok((object.waitable() == Some(wanted)).then(|| SysdbgWait {
                handle: handle.0,
                object_id: object.header().id,
                object_type: object.header().kind as u32,
                detail: object.detail(),
            }))
        });
        if let Ok(Some(wait)) = found {
            return Some(wait);
        }
    }
    None
}

/// SYSDBG_QUERY_PORT.
pub fn port(id: In<u64>, output: Output) -> Result<u32, NtStatus> {
    let id = u32::try_from(user::read(id)?).map_err(|_| STATUS_INVALID_PARAMETER)?;
    let port = crate::alpc::port::find(id).ok_or(STATUS_INVALID_PARAMETER)?;
    let (facts, reserves) = {
        let group = port.group.lock();
        (group.facts(port.role), group.reserve_count(port.role))
    };
    let (sections, views) = port.views.counts();
    let (completion_port, completion_list) =
        port.completion.lock().as_ref().map_or((0, false), |tie| (tie.object_id(), tie.list().is_some()));
    let security = match (&port.security, port.role) {
        (None, _) | (_, Role::Connection) => 0,
        (Some(security), _) => 1 + u32::from(security.is_dynamic()),
    };
    output.one(&SysdbgPort {
        object: core::ptr::from_ref(&*port) as u64,
        context: facts.context,
        completion_port,
        completion_list: completion_list.into(),
        large_queue: facts.large,
        canceled_queue: facts.canceled,
        max_message_length: port.max_length() as u32,
        reserves,
        sections,
        views,
        security,
    })
}
