//! System calls: the dispatch made from the table in [`abi::syscalls`], and the handlers, one module per family.
//!
//! A handler has NT's name and the declared argument types, and returns the status. Handlers touch user memory only
//! through [`user`], look handles up once, and hold no lock while they copy.

pub mod alert;
pub mod alpc;
pub mod alpc_completion;
pub mod alpc_control;
pub mod alpc_section;
pub mod alpc_security;
pub mod completion;
pub mod info;
pub mod io;
pub mod memory;
pub mod objects;
pub mod process;
pub mod system;
pub mod thread;
pub mod token;
pub mod user;
pub mod wait;

use crate::arch::idt::TrapFrame;
use crate::arch::percpu;
use crate::ke::sched;
use crate::kref::Ref;
use crate::ob::handles::{Entry, Target};
use crate::ob::{HandleRef, Object};
use abi::arg::{Handle, Out, SyscallArg};
use abi::status::*;
use abi::{NtStatus, for_each_syscall};

/// What a handler returns: a status either way.
pub type SysResult = Result<NtStatus, NtStatus>;

/// The common success.
pub const OK: SysResult = Ok(STATUS_SUCCESS);

#[inline(always)]
fn argument(frame: &TrapFrame, at: usize) -> u64 {
    match at {
        0 => frame.rdi,
        1 => frame.rsi,
        2 => frame.rdx,
        3 => frame.r10,
        4 => frame.r8,
        5 => frame.r9,
        6 => frame.r12,
        7 => frame.r13,
        8 => frame.r14,
        9 => frame.r15,
        _ => frame.rbx,
    }
}

macro_rules! make_dispatch {
    ($($(#[$doc:meta])* $number:literal $name:ident ( $($arg:ident : $t:ty),* ) [ $($err:ident $why:literal),* ];)*) => {
        #[expect(unused_assignments, reason = "the counter's last value")]
        fn call(frame: &TrapFrame) -> SysResult {
            use abi::alpc::*;
            use abi::arg::{In, InOut, Req};
            use abi::completion::*;
            use abi::context::Context;
            use abi::ob::*;
            use abi::se::*;
            use self::alert::*;
            use self::alpc::*;
            use self::alpc_control::*;
            use self::alpc_section::*;
            use self::completion::*;
            use self::alpc_security::*;
            use self::info::*;
            use self::io::*;
            use self::memory::*;
            use self::objects::*;
            use self::process::*;
            use self::system::*;
            use self::thread::*;
            use self::token::*;
            use self::wait::*;
            match frame.rax as u32 {
                $($number => {
                    #[allow(unused_mut, unused_variables)]
                    let mut at = 0;
                    $name($({
                        let word = argument(frame, at);
                        at += 1;
                        <$t as SyscallArg>::from_word(word)
                    }),*)
                })*
                _ => Err(STATUS_INVALID_SYSTEM_SERVICE),
            }
        }
    };
}
for_each_syscall!(make_dispatch);

/// Does the system call that a frame asks for.
#[inline(always)]
pub fn dispatch(frame: &TrapFrame) -> NtStatus {
    percpu::this().count_call(frame.rax as u32);
    let (Ok(status) | Err(status)) = call(frame);
    if status == STATUS_NOT_IMPLEMENTED {
        crate::trace::not_implemented(frame.rax as u32);
    }
    status
}

/// Puts a new object's first handle into the caller's table and tells the caller its value.
pub fn new_handle(object: Object, desired_access: u32, attributes: u32, to: Out<Handle>) -> SysResult {
    let (all, ..) = object.access_masks();
    let access = object.map_access(desired_access, all);
    if access & !all != 0 {
        // A handle that is made and dropped closes the object as its type wants.
        drop(HandleRef::new(object, all));
        return Err(STATUS_ACCESS_DENIED);
    }
    insert_handle(object, access, attributes, to)
}

/// As [`new_handle`], with the access decided.
pub fn insert_handle(object: Object, access: u32, attributes: u32, to: Out<Handle>) -> SysResult {
    let process = &sched::current().process;
    let open = HandleRef::new(object, access).ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?;
    let attributes = attributes & (abi::ob::OBJ_INHERIT | abi::ob::OBJ_PROTECT_CLOSE);
    let entry = Entry { target: Target::Open(open), access, attributes };
    let handle = process.handles.insert(entry, process.quota().handle_limit())?;
    if let Err(status) = user::write(to, &handle) {
        drop(process.handles.take(handle));
        return Err(status);
    }
    OK
}

/// The process a handle argument names: a pseudo handle or an entry that grants `access`.
pub fn process_of(handle: Handle, access: u32) -> Result<Ref<crate::ps::process::Process>, NtStatus> {
    let current = sched::current();
    if handle == Handle::CURRENT_PROCESS {
        return Ok(current.process.clone());
    }
    current.process.handles.get(handle, access).map(|(process, _)| process)
}

/// The thread a handle argument names.
pub fn thread_of(handle: Handle, access: u32) -> Result<Ref<crate::ps::thread::Thread>, NtStatus> {
    if handle == Handle::CURRENT_THREAD {
        return Ok(sched::current_ref());
    }
    sched::current().process.handles.get(handle, access).map(|(thread, _)| thread)
}
