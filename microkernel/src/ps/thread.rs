//! The thread object: kernel stack, user stack and TEB, extended processor state, and its end.

use crate::alpc::landing::Landing;
use crate::alpc::route::Route;
use crate::alpc::view::Region;
use crate::arch::idt::TrapFrame;
use crate::arch::{apic, cpu, fpu, percpu, switch};
use crate::ke::alert::{self, Apcs};
use crate::ke::event::Signal;
use crate::ke::sched::{self, ThreadPointer, USER_SELECTORS};
use crate::kref::Ref;
use crate::mm::kstack::{KernelStack, STACK_SIZE};
use crate::ob::Header;
use crate::ps::ids::Id;
use crate::ps::process::Process;
use crate::quota::{Charge, Kind};
use crate::se::impersonation;
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::alpc::ClientId;
use abi::info::WAIT_REASON_SUSPENDED;
use abi::mm::*;
use abi::ob::ObjectType;
use abi::ps::Teb;
use abi::status::*;
use alloc::alloc::{Layout, alloc, dealloc};
use antares_core::alpc::Sender;
use antares_core::dispatch::NEVER;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use zerocopy::IntoBytes;

/// [`Thread::flags`]: the thread is to end.
pub const FLAG_END: u32 = 1;
/// [`Thread::flags`]: the suspend count is not zero.
pub const FLAG_SUSPENDED: u32 = 2;
/// [`Thread::flags`]: user APCs are to be delivered.
pub const FLAG_APC: u32 = 4;
/// [`Thread::flags`]: NtContinue was given registers to go on with.
pub const FLAG_CONTINUE: u32 = 8;
/// [`Thread::flags`]: it has not been in user mode.
pub const FLAG_NEW: u32 = 16;

/// Bytes of a user stack unless asked otherwise.
pub const DEFAULT_STACK: u64 = 0x1_0000;
/// Largest user stack.
pub const MAX_STACK: u64 = 64 << 20;
const MAX_SUSPEND: u32 = 127;
/// Bytes of the guard below a user stack.
const USER_GUARD: u64 = PAGE_SIZE;

/// Threads alive.
pub static ALIVE: AtomicU32 = AtomicU32::new(0);

/// What a thread waits for in ALPC, or waited for last, for listings.
#[derive(Default)]
#[repr(C, align(8))]
pub struct AlpcWait {
    /// Port id.
    pub port: AtomicU32,
    /// Message id, when it waits for a reply.
    pub message: AtomicU32,
    /// It has taken a call back in its life: one may be unanswered when it ends.
    pub called_back: AtomicBool,
}

impl AlpcWait {
    /// The thread is about to wait for this.
    #[inline(always)]
    pub fn set(&self, port: u32, message: u32) {
        self.port.store(port, Ordering::Relaxed);
        self.message.store(message, Ordering::Relaxed);
    }
}

/// See the module head.
pub struct Thread {
    /// Object header.
    pub header: Header,
    id: Id,
    /// Its process.
    pub process: Ref<Process>,
    /// Its ids as the sender of messages.
    pub sender: Sender,
    /// Number in the dispatcher.
    pub index: u32,
    stack: KernelStack,
    /// Where the frame of its system calls and traps from user mode lies: at the top of that stack.
    pub frame: u64,
    /// Kernel stack pointer with which it goes on after the call of the fast path in [`crate::arch::entry`].
    pub resume_rsp: u64,
    /// Kernel stack pointer while it does not run.
    pub saved_rsp: AtomicU64,
    /// TEB address, user GS base.
    pub teb: u64,
    /// Lowest address of the user stack's region (its guard).
    stack_region: u64,
    /// Start address.
    pub start: u64,
    fpu: AtomicPtr<u8>,
    /// FLAG_ bits looked at before user mode.
    pub flags: AtomicU32,
    /// Suspend count. Held while [`Thread::resume`] and the flag change, so that the three agree.
    suspend: Lock<u32, { rank::PROCESS }>,
    resume: Signal,
    exit_status: AtomicU32,
    /// Signalled when it has ended.
    pub ended: Signal,
    /// System time at creation.
    pub created: i64,
    /// What it waits for in ALPC.
    pub alpc_wait: AlpcWait,
    /// Where a message is put while it waits for one.
    pub landing: Landing,
    /// What the request shows whose answer it waits for again when it has answered a call back.
    pub shown: Lock<Option<Ref<Region>>, { rank::LEAF }>,
    /// What its last message went through.
    pub route: Route,
    /// The last WORK_ON_BEHALF ticket that it received.
    pub ticket_received: AtomicU64,
    /// Whom it impersonates.
    pub impersonation: impersonation::Slot,
    /// User APCs.
    pub apcs: Apcs,
    /// Last park ticket taken; only the thread itself counts it up.
    pub ticket: AtomicU32,
    /// Processor time in ticks, up to the last switch away.
    pub run_ticks: AtomicU64,
    /// Name, for tools.
    pub name: Lock<heapless::String<32>, { rank::LEAF }>,
    _charges: [Charge; 2],
}

fn fpu_layout() -> Layout {
    // The area's size is a few kilobytes and its alignment 64: whole frames.
    Layout::from_size_align(fpu::area_size().max(2048), fpu::AREA_ALIGNMENT)
        .unwrap_or(Layout::new::<[u64; 512]>())
}

impl Thread {
    /// A thread of `process` that will start at `start` with `argument`. It does not run before [`Thread::launch`].
    pub fn new(
        process: &Ref<Process>,
        start: u64,
        argument: u64,
        stack_size: u64,
    ) -> Result<Ref<Self>, NtStatus> {
        let quota = process.quota();
        // The kernel stack, and extended state if it comes to that.
        let memory = STACK_SIZE + PAGE_SIZE;
        let charges = [Charge::new(&quota, Kind::Threads, 1)?, Charge::new(&quota, Kind::Pool, memory)?];
        let header = Header::new(ObjectType::Thread, &quota)?;
        let id = Id::new()?;
        let stack = KernelStack::new()?;
        let (ended, resume) = (Signal::new(false, false)?, Signal::new(false, false)?);
        let size = if stack_size == 0 { DEFAULT_STACK } else { stack_size.next_multiple_of(PAGE_SIZE) };
        let space = &process.space;
        let (region, _) = space.allocate(0, size + USER_GUARD, MEM_RESERVE | MEM_TOP_DOWN, PAGE_READWRITE)?;
        let mut user = UserMemory { process, region, teb: 0 };
        space.allocate(region + USER_GUARD, size, MEM_COMMIT, PAGE_READWRITE)?;
        let (teb, _) =
            space.allocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN, PAGE_READWRITE)?;
        user.teb = teb;
        let top = region + USER_GUARD + size;
        let block = Teb {
            exception_list: 0,
            stack_base: top,
            stack_limit: region + USER_GUARD,
            tib_reserved: [0; 3],
            self_address: teb,
            environment_pointer: 0,
            client_id: ClientId {
                unique_process: u64::from(process.id()),
                unique_thread: u64::from(id.number()),
            },
            reserved: [0; 2],
            peb: 0,
            last_error: 0,
            reserved2: 0,
            slots: [0; 64],
        };
        space.write(teb, block.as_bytes())?;
        let frame = TrapFrame {
            rip: start,
            rsp: top - 8,
            rdi: argument,
            rcx: argument,
            rflags: 0x202,
            cs: u64::from(USER_SELECTORS.0),
            ss: u64::from(USER_SELECTORS.1),
            ..TrapFrame::default()
        };
        // SAFETY: the stack is new and nobody runs on it.
        let saved = unsafe { switch::prepare(stack.top(), frame) };
        let priority = process.base_priority.load(Ordering::Relaxed).clamp(1, 31) as u8;
        let index = sched::lock()
            .add_thread(ThreadPointer(core::ptr::null()), priority, u64::MAX)
            .map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let sender = Sender { process: process.id(), thread: id.number() };
        let thread = Ref::try_new(Self {
            header,
            id,
            process: process.clone(),
            sender,
            index,
            frame: stack.top() - size_of::<TrapFrame>() as u64,
            // The return address lies below the frame.
            resume_rsp: stack.top() - size_of::<TrapFrame>() as u64 - 8,
            stack,
            saved_rsp: AtomicU64::new(saved),
            teb,
            stack_region: region,
            start,
            fpu: AtomicPtr::new(core::ptr::null_mut()),
            flags: AtomicU32::new(FLAG_NEW),
            suspend: Lock::new(0),
            resume,
            exit_status: AtomicU32::new(STATUS_PENDING.0),
            ended,
            created: crate::system_time(),
            alpc_wait: AlpcWait::default(),
            landing: Landing::new(),
            shown: Lock::new(None),
            route: Route::new(),
            ticket_received: AtomicU64::new(0),
            impersonation: impersonation::Slot::new(),
            apcs: Apcs::new(),
            ticket: AtomicU32::new(0),
            run_ticks: AtomicU64::new(0),
            name: Lock::new(heapless::String::new()),
            _charges: charges,
        });
        let thread = match thread {
            Ok(thread) => thread,
            Err(status) => {
                sched::lock().remove_thread(index);
                return Err(status);
            }
        };
        sched::lock().set_payload(index, ThreadPointer(&raw const *thread));
        if let Err(status) = process.add_thread(&thread) {
            sched::lock().remove_thread(index);
            return Err(status);
        }
        // The thread has them now.
        core::mem::forget(user);
        thread.id.name_thread(&thread);
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Ok(thread)
    }

    /// Lets it run. The dispatcher keeps a reference until it has ended.
    pub fn launch(this: &Ref<Self>) {
        // Taken back by `exit_current_thread`.
        let _ = Ref::into_raw(this.clone());
        sched::lock().make_ready(this.index);
    }

    /// Thread id.
    pub fn id(&self) -> u32 {
        self.id.number()
    }

    /// Top of the kernel stack.
    pub fn stack_top(&self) -> u64 {
        self.stack.top()
    }

    /// Extended state, if the thread has used any.
    pub fn fpu_area(&self) -> Option<*mut u8> {
        let area = self.fpu.load(Ordering::Relaxed);
        (!area.is_null()).then_some(area)
    }

    /// The current thread touched the FPU for the first time: gives it a clean state of its own.
    pub fn start_fpu(&self) -> Result<(), NtStatus> {
        if self.fpu_area().is_none() {
            let layout = fpu_layout();
            // SAFETY: the layout is not zero-sized.
            let area = unsafe { alloc(layout) };
            if area.is_null() {
                return Err(STATUS_INSUFFICIENT_RESOURCES);
            }
            // SAFETY: fresh memory of this size, initialised here.
            let bytes = unsafe {
                area.write_bytes(0, layout.size());
                core::slice::from_raw_parts_mut(area, layout.size())
            };
            fpu::init_area(bytes);
            self.fpu.store(area, Ordering::Relaxed);
        }
        fpu::clear_ts();
        percpu::this().fpu_trap.store(false, Ordering::Relaxed);
        // SAFETY: the area holds a clean state.
        unsafe { fpu::restore(self.fpu.load(Ordering::Relaxed)) };
        Ok(())
    }

    /// Copies the current thread's x87 and SSE state out, if it has used any.
    pub fn save_float(&self, to: &mut [u8; fpu::LEGACY_SIZE]) -> bool {
        let used = self.fpu_area().is_some();
        if used {
            // Whoever has an area has the FPU while it runs.
            fpu::save_legacy(to);
        }
        used
    }

    /// Gives the current thread this x87 and SSE state.
    pub fn load_float(&self, from: &[u8; fpu::LEGACY_SIZE]) -> Result<(), NtStatus> {
        if self.fpu_area().is_none() {
            self.start_fpu()?;
        }
        fpu::load_legacy(from);
        Ok(())
    }

    /// True for an address in the guard below this thread's user stack.
    pub fn is_stack_guard(&self, address: u64) -> bool {
        (self.stack_region..self.stack_region + USER_GUARD).contains(&address)
    }

    /// Exit status, or STATUS_PENDING.
    pub fn exit_status(&self) -> u32 {
        if self.ended.is_set() { self.exit_status.load(Ordering::Relaxed) } else { STATUS_PENDING.0 }
    }

    /// Makes it end: at once if it blocks or runs in user mode, else when it leaves the kernel.
    pub fn request_end(&self, exit_status: u32) {
        // The first status counts, and is there before the thread can see that it is to end.
        let pending = STATUS_PENDING.0;
        let _ = self.exit_status.compare_exchange(pending, exit_status, Ordering::AcqRel, Ordering::Acquire);
        self.flags.fetch_or(FLAG_END, Ordering::AcqRel);
        let running_on = sched::with_thread(self, |d| d.terminate(self.index));
        self.interrupt(running_on.flatten());
    }

    /// Makes a processor look at its thread's flags.
    fn interrupt(&self, running_on: Option<u32>) {
        if let Some(index) = running_on.filter(|index| *index != percpu::this().index) {
            let target = percpu::of(index).apic_id.load(Ordering::Relaxed);
            apic::send_ipi(target, apic::RESCHEDULE);
        }
    }

    /// NtSuspendThread. Returns the former count.
    pub fn suspend(&self) -> Result<u32, NtStatus> {
        let mut count = self.suspend.lock();
        if self.flags.load(Ordering::Relaxed) & FLAG_END != 0 {
            return Err(STATUS_THREAD_IS_TERMINATING);
        }
        if *count == MAX_SUSPEND {
            return Err(STATUS_SUSPEND_COUNT_EXCEEDED);
        }
        *count += 1;
        if *count == 1 {
            self.resume.clear();
            self.flags.fetch_or(FLAG_SUSPENDED, Ordering::AcqRel);
            drop(count);
            self.interrupt(sched::with_thread(self, |d| d.running_on(self.index)).flatten());
            return Ok(0);
        }
        Ok(*count - 1)
    }

    /// NtResumeThread. Returns the former count.
    pub fn resume(&self) -> u32 {
        let mut count = self.suspend.lock();
        let old = *count;
        if old > 0 {
            *count -= 1;
        }
        if old == 1 {
            self.flags.fetch_and(!FLAG_SUSPENDED, Ordering::AcqRel);
            self.resume.set();
        }
        old
    }

    /// The flags are not zero, and the (current) thread is about to enter user mode, perhaps with another frame.
    pub fn handle_flags(&self, frame: &mut TrapFrame) {
        let flags = self.flags.load(Ordering::Acquire);
        if flags & FLAG_END != 0 {
            exit_current_thread();
        }
        if flags & FLAG_SUSPENDED != 0 {
            sched::wait(&[self.resume.index()], false, NEVER, WAIT_REASON_SUSPENDED);
            return;
        }
        alert::before_user(self, frame);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(area) = self.fpu_area() {
            // SAFETY: made by `start_fpu` with this layout.
            unsafe { dealloc(area, fpu_layout()) };
        }
    }
}

/// A thread's stack and TEB while it is being made: freed unless the thread takes them over.
struct UserMemory<'a> {
    process: &'a Process,
    region: u64,
    teb: u64,
}

impl Drop for UserMemory<'_> {
    fn drop(&mut self) {
        let _ = self.process.space.free(self.region, 0, MEM_RELEASE);
        if self.teb != 0 {
            let _ = self.process.space.free(self.teb, 0, MEM_RELEASE);
        }
    }
}

/// Ends the current thread; if it is the last of its process, that too.
pub fn exit_current_thread() -> ! {
    let thread = sched::current_ref();
    // SAFETY: takes back the reference that `launch` gave up; the clone above keeps the thread alive meanwhile.
    let own = unsafe { Ref::from_raw(&raw const *thread) };
    thread.flags.fetch_or(FLAG_END, Ordering::AcqRel);
    let status = match thread.exit_status.load(Ordering::Relaxed) {
        pending if pending == STATUS_PENDING.0 => 0,
        status => status,
    };
    thread.exit_status.store(status, Ordering::Relaxed);
    if !thread.process.is_ending() {
        let space = &thread.process.space;
        // A program may have freed them itself.
        let _ = space.free(thread.stack_region, 0, MEM_RELEASE);
        let _ = space.free(thread.teb, 0, MEM_RELEASE);
    }
    if thread.alpc_wait.called_back.load(Ordering::Relaxed) {
        crate::alpc::port::thread_gone(thread.id());
    }
    thread.apcs.close();
    thread.id.forget();
    thread.impersonation.set(None);
    thread.route.forget();
    ALIVE.fetch_sub(1, Ordering::Relaxed);
    thread.process.past_ticks.fetch_add(thread.run_ticks.load(Ordering::Relaxed), Ordering::Relaxed);
    if thread.process.remove_thread(&thread, status) {
        thread.process.take_down(true);
    }
    crate::ob::run_deferred();
    sched::lock().leave_queue(thread.index);
    thread.ended.set();
    cpu::cli();
    drop(thread);
    sched::exit_current(own)
}
