//! NTSTATUS values by NT's names, and the type that carries them.
//!
//! Values: `ntstatus.h` (public SDK header). A status is a success when its two severity bits say
//! success or informational (bit 31 clear).

use core::fmt;

/// A 32-bit NTSTATUS code. `Err(NtStatus)` is how libnt and the kernel report failures.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct NtStatus(pub u32);

/// `Ok` or the NTSTATUS that says why not.
pub type NtResult<T = ()> = Result<T, NtStatus>;

impl NtStatus {
    /// NT_SUCCESS: severity success or informational.
    pub const fn is_success(self) -> bool {
        self.0 & 0x8000_0000 == 0
    }

    /// NT_ERROR: severity error.
    pub const fn is_error(self) -> bool {
        self.0 >> 30 == 3
    }

    /// `Ok(self)` for a success-class status (which may be informative, such as STATUS_TIMEOUT).
    pub const fn ok(self) -> NtResult<NtStatus> {
        if self.is_success() { Ok(self) } else { Err(self) }
    }

    /// NT's name of this status, if it is one that Antares uses.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(v, _)| *v == self.0).map(|(_, n)| *n)
    }

    /// The status with NT's name, if it is one that Antares uses.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, n)| *n == name).map(|(v, _)| Self(*v))
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} (0x{:08X})", self.0),
            None => write!(f, "0x{:08X}", self.0),
        }
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for NtStatus {}

macro_rules! statuses {
    ($($value:literal $name:ident $what:literal;)*) => {
        $(
            #[doc = $what]
            pub const $name: NtStatus = NtStatus($value);
        )*
        const NAMES: &[(u32, &str)] = &[$(($value, stringify!($name))),*];
        /// Every status that Antares uses, with its name and meaning.
        pub const ALL: &[(NtStatus, &str, &str)] = &[$(($name, stringify!($name), $what)),*];
    };
}

statuses! {
    0x0000_0000 STATUS_SUCCESS "The call did what was asked; also: the first object of a wait was signalled.";
    0x0000_0080 STATUS_ABANDONED "A wait ended on a mutant whose owner died.";
    0x0000_00C0 STATUS_USER_APC "An alertable wait ended to run a user APC.";
    0x0000_0101 STATUS_ALERTED "An alertable wait ended because the thread was alerted.";
    0x0000_0102 STATUS_TIMEOUT "The time-out passed first. A success-class code.";
    0x0000_0103 STATUS_PENDING "The operation goes on; also the exit status of a running process.";
    0x0000_0105 STATUS_MORE_ENTRIES "More entries are there than fitted.";
    0x0000_0106 STATUS_NOT_ALL_ASSIGNED "Not all privileges were there to be adjusted. A success-class code.";
    0x0000_010B STATUS_NOTIFY_CLEANUP "A notification ended because its handle was closed.";
    0x4000_0024 STATUS_NO_YIELD_PERFORMED "No other thread was ready.";
    0x4000_0000 STATUS_OBJECT_NAME_EXISTS "OBJ_OPENIF opened what was there already.";
    0x4000_0003 STATUS_IMAGE_NOT_AT_BASE "The image was mapped at another address than it prefers.";
    0x4000_002E STATUS_MESSAGE_RETRIEVED "The message was received already.";
    0x8000_0001 STATUS_GUARD_PAGE_VIOLATION "A guard page was touched.";
    0x8000_0003 STATUS_BREAKPOINT "A breakpoint instruction was executed.";
    0x8000_0004 STATUS_SINGLE_STEP "A single step or hardware breakpoint was hit.";
    0x8000_0005 STATUS_BUFFER_OVERFLOW "The data was cut to the buffer's size.";
    0x8000_000D STATUS_PARTIAL_COPY "Not everything was copied.";
    0x8000_001A STATUS_NO_MORE_ENTRIES "The enumeration is at its end.";
    0xC000_0001 STATUS_UNSUCCESSFUL "The operation failed.";
    0xC000_0002 STATUS_NOT_IMPLEMENTED "The call or option is declared but not implemented.";
    0xC000_0003 STATUS_INVALID_INFO_CLASS "The information class is unknown for this object.";
    0xC000_0004 STATUS_INFO_LENGTH_MISMATCH "The buffer's length is not that of the information class.";
    0xC000_0005 STATUS_ACCESS_VIOLATION "Memory was touched that is not there or not allowed.";
    0xC000_0006 STATUS_IN_PAGE_ERROR "A page could not be brought in.";
    0xC000_0008 STATUS_INVALID_HANDLE "The handle names nothing in this process.";
    0xC000_000A STATUS_INVALID_INITIAL_TEB "The initial thread environment is invalid.";
    0xC000_000B STATUS_INVALID_CID "No such process or thread.";
    0xC000_000D STATUS_INVALID_PARAMETER "An argument has a value that is never valid.";
    0xC000_0010 STATUS_INVALID_DEVICE_REQUEST "The object does not know this request.";
    0xC000_0011 STATUS_END_OF_FILE "There is no more input.";
    0xC000_0017 STATUS_NO_MEMORY "No memory is left.";
    0xC000_0018 STATUS_CONFLICTING_ADDRESSES "The address range is taken or outside user space.";
    0xC000_0019 STATUS_NOT_MAPPED_VIEW "No view is mapped at this address.";
    0xC000_001A STATUS_UNABLE_TO_FREE_VM "The range cannot be freed.";
    0xC000_001C STATUS_INVALID_SYSTEM_SERVICE "The system-call number is not in the table.";
    0xC000_001D STATUS_ILLEGAL_INSTRUCTION "An undefined instruction was executed.";
    0xC000_001F STATUS_INVALID_VIEW_SIZE "The view lies outside the section.";
    0xC000_0020 STATUS_INVALID_FILE_FOR_SECTION "The file cannot back this section.";
    0xC000_0022 STATUS_ACCESS_DENIED "The handle or token does not allow this.";
    0xC000_0023 STATUS_BUFFER_TOO_SMALL "The buffer is too small; the needed size was returned.";
    0xC000_0024 STATUS_OBJECT_TYPE_MISMATCH "The handle is to an object of another type.";
    0xC000_0025 STATUS_NONCONTINUABLE_EXCEPTION "An exception that cannot be continued was continued.";
    0xC000_002C STATUS_UNABLE_TO_DELETE_SECTION "The section cannot be deleted.";
    0xC000_002D STATUS_NOT_COMMITTED "The pages are reserved, not committed.";
    0xC000_002E STATUS_INVALID_PORT_ATTRIBUTES "The port attributes are invalid.";
    0xC000_002F STATUS_PORT_MESSAGE_TOO_LONG "The message is longer than the port allows.";
    0xC000_0030 STATUS_INVALID_PARAMETER_MIX "The arguments do not go together.";
    0xC000_0033 STATUS_OBJECT_NAME_INVALID "The object name is malformed.";
    0xC000_0034 STATUS_OBJECT_NAME_NOT_FOUND "No object has this name.";
    0xC000_0035 STATUS_OBJECT_NAME_COLLISION "An object with this name exists.";
    0xC000_0036 STATUS_PORT_DO_NOT_DISTURB "The port refuses messages for now.";
    0xC000_0037 STATUS_PORT_DISCONNECTED "The other side of the port is gone.";
    0xC000_0039 STATUS_OBJECT_PATH_INVALID "The object path goes through something that is not a directory.";
    0xC000_003A STATUS_OBJECT_PATH_NOT_FOUND "A directory on the path does not exist.";
    0xC000_003B STATUS_OBJECT_PATH_SYNTAX_BAD "The object path is malformed.";
    0xC000_0040 STATUS_SECTION_TOO_BIG "The section is larger than allowed.";
    0xC000_0041 STATUS_PORT_CONNECTION_REFUSED "The server refused the connection.";
    0xC000_0042 STATUS_INVALID_PORT_HANDLE "The port is of the wrong kind for this call.";
    0xC000_0044 STATUS_QUOTA_EXCEEDED "The process's quota does not allow it.";
    0xC000_0045 STATUS_INVALID_PAGE_PROTECTION "The page protection is unknown or not allowed.";
    0xC000_0046 STATUS_MUTANT_NOT_OWNED "The mutant is owned by another thread.";
    0xC000_0047 STATUS_SEMAPHORE_LIMIT_EXCEEDED "The semaphore's limit would be passed.";
    0xC000_0048 STATUS_PORT_ALREADY_SET "A completion port is set already.";
    0xC000_004A STATUS_SUSPEND_COUNT_EXCEEDED "The suspend count is at its maximum.";
    0xC000_004B STATUS_THREAD_IS_TERMINATING "The thread is ending.";
    0xC000_004E STATUS_SECTION_PROTECTION "The protection is not one the section allows.";
    0xC000_0058 STATUS_UNKNOWN_REVISION "The revision of a structure is unknown.";
    0xC000_005A STATUS_INVALID_OWNER "The SID may not own objects.";
    0xC000_005B STATUS_INVALID_PRIMARY_GROUP "The SID is none of the token's groups.";
    0xC000_005C STATUS_NO_IMPERSONATION_TOKEN "There is no token to impersonate.";
    0xC000_0060 STATUS_NO_SUCH_PRIVILEGE "There is no such privilege.";
    0xC000_0061 STATUS_PRIVILEGE_NOT_HELD "A privilege is needed that the caller does not hold.";
    0xC000_0077 STATUS_INVALID_ACL "The ACL is malformed.";
    0xC000_0078 STATUS_INVALID_SID "The SID is malformed.";
    0xC000_0079 STATUS_INVALID_SECURITY_DESCR "The security descriptor is malformed.";
    0xC000_007B STATUS_INVALID_IMAGE_FORMAT "The file is not a program for this system.";
    0xC000_007C STATUS_NO_TOKEN "The thread does not impersonate.";
    0xC000_008E STATUS_FLOAT_DIVIDE_BY_ZERO "A floating-point division by zero.";
    0xC000_008F STATUS_FLOAT_INEXACT_RESULT "A floating-point result is not exact.";
    0xC000_0090 STATUS_FLOAT_INVALID_OPERATION "An invalid floating-point operation.";
    0xC000_0091 STATUS_FLOAT_OVERFLOW "A floating-point overflow.";
    0xC000_0093 STATUS_FLOAT_UNDERFLOW "A floating-point underflow.";
    0xC000_0094 STATUS_INTEGER_DIVIDE_BY_ZERO "An integer division by zero or its overflow.";
    0xC000_0095 STATUS_INTEGER_OVERFLOW "An integer overflow trap.";
    0xC000_0096 STATUS_PRIVILEGED_INSTRUCTION "A privileged instruction was executed in user mode.";
    0xC000_009A STATUS_INSUFFICIENT_RESOURCES "The system lacks the memory or table space.";
    0xC000_00A1 STATUS_WORKING_SET_QUOTA "The working-set limit is reached.";
    0xC000_00A5 STATUS_BAD_IMPERSONATION_LEVEL "The impersonation level does not allow it.";
    0xC000_00A6 STATUS_CANT_OPEN_ANONYMOUS "A token at the anonymous level cannot be opened.";
    0xC000_00A8 STATUS_BAD_TOKEN_TYPE "The token is of the wrong type, primary or impersonation.";
    0xC000_00B5 STATUS_IO_TIMEOUT "A device did not answer in time.";
    0xC000_00BB STATUS_NOT_SUPPORTED "The request is not supported.";
    0xC000_00EF STATUS_INVALID_PARAMETER_1 "The first argument is invalid.";
    0xC000_00F0 STATUS_INVALID_PARAMETER_2 "The second argument is invalid.";
    0xC000_00F1 STATUS_INVALID_PARAMETER_3 "The third argument is invalid.";
    0xC000_00F2 STATUS_INVALID_PARAMETER_4 "The fourth argument is invalid.";
    0xC000_00FD STATUS_STACK_OVERFLOW "The thread's stack is used up.";
    0xC000_0109 STATUS_MESSAGE_NOT_FOUND "No such message.";
    0xC000_010A STATUS_PROCESS_IS_TERMINATING "The process is ending.";
    0xC000_010D STATUS_CANNOT_IMPERSONATE "The message does not allow impersonation.";
    0xC000_0120 STATUS_CANCELLED "The operation was cancelled.";
    0xC000_012B STATUS_TOKEN_ALREADY_IN_USE "The token is the primary token of another process.";
    0xC000_013A STATUS_CONTROL_C_EXIT "The program was ended by Ctrl-C.";
    0xC000_0142 STATUS_DLL_INIT_FAILED "The program's start-up failed.";
    0xC000_0194 STATUS_POSSIBLE_DEADLOCK "The wait would never end.";
    0xC000_01AC STATUS_NOT_SAME_OBJECT "The handles are to different objects.";
    0xC000_021F STATUS_REPLY_MESSAGE_MISMATCH "The reply does not match the message waited for.";
    0xC000_0220 STATUS_MAPPED_ALIGNMENT "An offset or address is not aligned as it must be.";
    0xC000_0235 STATUS_HANDLE_NOT_CLOSABLE "The handle is protected from close.";
    0xC000_0253 STATUS_LPC_REPLY_LOST "The reply was lost.";
    0xC000_02A0 STATUS_SERVER_SID_MISMATCH "The server is not who the client requires.";
    0xC000_0353 STATUS_PORT_NOT_SET "No port is set.";
    0xC000_0409 STATUS_STACK_BUFFER_OVERRUN "The program stopped itself (fail fast); Rust panics end so.";
    0xC000_0420 STATUS_ASSERTION_FAILURE "An assertion failed.";
    0xC000_0700 STATUS_PORT_CLOSED "The port is closed.";
    0xC000_0701 STATUS_MESSAGE_LOST "A message was lost.";
    0xC000_0702 STATUS_INVALID_MESSAGE "The message is malformed or not one that can be answered.";
    0xC000_0703 STATUS_REQUEST_CANCELED "The request was cancelled before this answer.";
    0xC000_0705 STATUS_LPC_RECEIVE_BUFFER_EXPECTED "A synchronous request needs a receive buffer.";
    0xC000_0706 STATUS_LPC_INVALID_CONNECTION_USAGE "Nothing can be sent on a connection port but replies.";
    0xC000_0707 STATUS_LPC_REQUESTS_NOT_ALLOWED "The port does not take LPC requests.";
    0xC000_0719 STATUS_CONTEXT_MISMATCH "The message context does not match.";
    0xC000_071A STATUS_PORT_ALREADY_HAS_COMPLETION_LIST "The port has a completion list already.";
    0xC000_0722 STATUS_LPC_HANDLE_COUNT_EXCEEDED "More handles came than the receiver takes.";
}
