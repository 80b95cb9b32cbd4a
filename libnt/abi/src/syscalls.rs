//! The system-call table: every call, declared once.
//!
//! A call is `number Name(Argument: Type, ...) [STATUS "when", ...];`. Argument types carry direction, pointed-to
//! type and, for handles, the object type and access that are needed ([`Req`]); the kernel checks those at the
//! handle table, once. The macro [`for_each_syscall`] passes the whole table to a callback macro: the kernel makes
//! its dispatch from it, libnt its stubs, tools their names, the fuzzer its arguments.
//!
//! Calling convention: `eax` = number; arguments in rdi, rsi, rdx, r10, r8, r9, r12, r13, r14, r15, rbx; `syscall`;
//! status in `eax`. rcx and r11 are destroyed, every other register is kept.
//!
//! Errors that every call can return and no entry repeats: STATUS_ACCESS_VIOLATION (a pointer that is not a user
//! address or faults), STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH and STATUS_ACCESS_DENIED (handles),
//! STATUS_QUOTA_EXCEEDED and STATUS_INSUFFICIENT_RESOURCES (memory), STATUS_NOT_IMPLEMENTED (declared only).
//! An unknown number is STATUS_INVALID_SYSTEM_SERVICE.

use crate::arg::{Dir, SyscallArg};
use crate::status::NtStatus;

/// Passes the table to `$callback!`.
#[macro_export]
macro_rules! for_each_syscall {
    ($callback:ident) => {
        $callback! {
            /// Number of the processor the caller runs on (returned in place of a status). The null system call.
            0 NtGetCurrentProcessorNumber() [];
            /// Closes a handle.
            1 NtClose(Handle: Handle) [STATUS_HANDLE_NOT_CLOSABLE "the handle is protected"];
            /// Makes another handle to an object, in any process.
            2 NtDuplicateObject(SourceProcessHandle: Req<{ty::PROCESS}, PROCESS_DUP_HANDLE>, SourceHandle: Handle, TargetProcessHandle: Handle, TargetHandle: Out<Handle>, DesiredAccess: u32, HandleAttributes: u32, Options: u32)
                [STATUS_ACCESS_DENIED "more access than the source grants", STATUS_PROCESS_IS_TERMINATING "the target process is ending"];
            /// Queries a handle or its object; classes OBJECT_BASIC_INFORMATION, OBJECT_TYPE_INFORMATION, OBJECT_HANDLE_FLAG_INFORMATION, OBJECT_ID_INFORMATION.
            3 NtQueryObject(Handle: Handle, ObjectInformationClass: u32, ObjectInformation: Out<u8>, ObjectInformationLength: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "buffer too small"];
            /// Sets a handle's inherit and protect flags (class OBJECT_HANDLE_FLAG_INFORMATION).
            4 NtSetInformationObject(Handle: Handle, ObjectInformationClass: u32, ObjectInformation: In<u8>, ObjectInformationLength: u32)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length"];
            /// Tells whether two handles are to the same object.
            5 NtCompareObjects(FirstObjectHandle: Handle, SecondObjectHandle: Handle) [STATUS_NOT_SAME_OBJECT "they are not"];
            /// Waits until an object is signalled. Processes, threads, events, interrupts, I/O completion objects and waitable
            /// ports can be waited on. Alertable: an alert or a user APC ends the wait.
            6 NtWaitForSingleObject(Handle: Req<{ty::ANY}, SYNCHRONIZE>, Alertable: bool, Timeout: In<i64>)
                [STATUS_TIMEOUT "the time-out passed", STATUS_ALERTED "alertable, and the thread was alerted", STATUS_USER_APC "alertable, and user APCs were run", STATUS_OBJECT_TYPE_MISMATCH "the object cannot be waited on"];
            /// Waits for any or all of up to 64 objects; for any, the status is STATUS_WAIT_0 plus the index.
            7 NtWaitForMultipleObjects(Count: u32, Handles: In<Handle>, WaitType: u32, Alertable: bool, Timeout: In<i64>)
                [STATUS_TIMEOUT "the time-out passed", STATUS_ALERTED "alertable, and the thread was alerted", STATUS_USER_APC "alertable, and user APCs were run", STATUS_INVALID_PARAMETER "0 or more than 64 handles, or an unknown wait type", STATUS_INVALID_PARAMETER_MIX "wait for all with the same object twice", STATUS_OBJECT_TYPE_MISMATCH "an object cannot be waited on"];
            /// Sleeps. Negative: relative, in 100 ns; positive: until that system time.
            8 NtDelayExecution(Alertable: bool, DelayInterval: In<i64>)
                [STATUS_ALERTED "alertable, and the thread was alerted", STATUS_USER_APC "alertable, and user APCs were run"];
            /// Gives the processor to another ready thread of the same priority.
            9 NtYieldExecution() [STATUS_NO_YIELD_PERFORMED "none was ready"];
            /// Takes the caller's alert, if there is one; else runs its user APCs before it returns.
            10 NtTestAlert() [STATUS_ALERTED "the thread was alerted"];
            /// Alerts a thread: ends its alertable wait with STATUS_ALERTED, or else the next one.
            11 NtAlertThread(ThreadHandle: Req<{ty::THREAD}, THREAD_ALERT>) [STATUS_THREAD_IS_TERMINATING "it is ending"];
            /// Alerts a thread and takes one suspension back.
            12 NtAlertResumeThread(ThreadHandle: Req<{ty::THREAD}, THREAD_SUSPEND_RESUME>, PreviousSuspendCount: Out<u32>)
                [STATUS_THREAD_IS_TERMINATING "it is ending"];
            /// Queues a user APC: the thread calls the routine with the three arguments in its next alertable wait, or before it
            /// starts. The process must have an APC dispatcher (libnt's, from its start on).
            13 NtQueueApcThread(ThreadHandle: Req<{ty::THREAD}, THREAD_SET_CONTEXT>, ApcRoutine: u64, ApcArgument1: u64, ApcArgument2: u64, ApcArgument3: u64)
                [STATUS_UNSUCCESSFUL "it is ending", STATUS_INVALID_PARAMETER "the routine is no user address", STATUS_NOT_SUPPORTED "its process has no APC dispatcher", STATUS_QUOTA_EXCEEDED "over 1024 APCs, or over the caller's quota"];
            /// Goes on with other registers; returns only on an error. TestAlert: the rest of the user APCs run first.
            14 NtContinue(ThreadContext: In<Context>, TestAlert: bool)
                [STATUS_INVALID_PARAMETER "not CONTEXT_AMD64, or the instruction pointer is no user address"];

            /// Creates an event.
            16 NtCreateEvent(EventHandle: Out<Handle>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>, EventType: u32, InitialState: bool)
                [STATUS_INVALID_PARAMETER "unknown event type or bad object attributes"];
            /// Signals an event.
            17 NtSetEvent(EventHandle: Req<{ty::EVENT}, EVENT_MODIFY_STATE>, PreviousState: Out<i32>) [];
            /// Resets an event.
            18 NtResetEvent(EventHandle: Req<{ty::EVENT}, EVENT_MODIFY_STATE>, PreviousState: Out<i32>) [];
            /// Resets an event, without telling its former state.
            19 NtClearEvent(EventHandle: Req<{ty::EVENT}, EVENT_MODIFY_STATE>) [];
            /// Signals an event for those who wait now, then resets it.
            20 NtPulseEvent(EventHandle: Req<{ty::EVENT}, EVENT_MODIFY_STATE>, PreviousState: Out<i32>) [];
            /// Queries an event (class 0).
            21 NtQueryEvent(EventHandle: Req<{ty::EVENT}, EVENT_QUERY_STATE>, EventInformationClass: u32, EventInformation: Out<u8>, EventInformationLength: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length"];

            /// Creates an I/O completion object, of whose threads Count run at a time (0: as many as there are processors).
            24 NtCreateIoCompletion(IoCompletionHandle: Out<Handle>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>, Count: u32) [];
            /// Opens an I/O completion object by name (declared only).
            25 NtOpenIoCompletion(IoCompletionHandle: Out<Handle>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>) [];
            /// Posts a packet.
            26 NtSetIoCompletion(IoCompletionHandle: Req<{ty::IO_COMPLETION}, IO_COMPLETION_MODIFY_STATE>, KeyContext: u64, ApcContext: u64, IoStatus: u32, IoStatusInformation: u64)
                [STATUS_QUOTA_EXCEEDED "16384 packets are queued, or over the caller's quota"];
            /// Waits for a packet and removes it. The caller is a thread of the object from then on.
            27 NtRemoveIoCompletion(IoCompletionHandle: Req<{ty::IO_COMPLETION}, IO_COMPLETION_MODIFY_STATE>, KeyContext: Out<u64>, ApcContext: Out<u64>, IoStatusBlock: Out<IoStatusBlock>, Timeout: In<i64>)
                [STATUS_TIMEOUT "the time-out passed", STATUS_ABANDONED "the last handle was closed"];
            /// Waits for a packet and removes it, with as many more as there are, up to Count (256 at most are taken).
            28 NtRemoveIoCompletionEx(IoCompletionHandle: Req<{ty::IO_COMPLETION}, IO_COMPLETION_MODIFY_STATE>, IoCompletionInformation: Out<FileIoCompletionInformation>, Count: u32, NumEntriesRemoved: Out<u32>, Timeout: In<i64>, Alertable: bool)
                [STATUS_TIMEOUT "the time-out passed", STATUS_ALERTED "alertable, and the thread was alerted", STATUS_USER_APC "alertable, and user APCs were run", STATUS_ABANDONED "the last handle was closed", STATUS_INVALID_PARAMETER "Count is 0"];
            /// Queries an I/O completion object (class 0: its depth).
            29 NtQueryIoCompletion(IoCompletionHandle: Req<{ty::IO_COMPLETION}, IO_COMPLETION_QUERY_STATE>, IoCompletionInformationClass: u32, IoCompletionInformation: Out<u8>, IoCompletionInformationLength: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length"];

            /// Creates a process with an empty address space and no thread. Flags: PROCESS_CREATE_FLAGS_INHERIT_HANDLES. The
            /// section, debug and exception port arguments must be null.
            32 NtCreateProcessEx(ProcessHandle: Out<Handle>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>, ParentProcess: Req<{ty::PROCESS}, PROCESS_CREATE_PROCESS>, Flags: u32, SectionHandle: Handle, DebugPort: Handle, ExceptionPort: Handle, JobMemberLevel: u32)
                [STATUS_INVALID_PARAMETER "unknown flags or a handle that must be null", STATUS_QUOTA_EXCEEDED "too many processes for the quota block", STATUS_PROCESS_IS_TERMINATING "the parent is ending"];
            /// Ends a process: all its threads, then its handles and memory. A null handle ends the other threads of the caller's process.
            33 NtTerminateProcess(ProcessHandle: Handle, ExitStatus: u32) [STATUS_PROCESS_IS_TERMINATING "it is ending already"];
            /// Opens a process by id.
            34 NtOpenProcess(ProcessHandle: Out<Handle>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>, ClientId: In<ClientId>)
                [STATUS_INVALID_CID "no such process", STATUS_INVALID_PARAMETER "no client id"];
            /// Queries a process; classes PROCESS_BASIC_INFORMATION, PROCESS_TIMES, PROCESS_HANDLE_COUNT, PROCESS_IMAGE_FILE_NAME, PROCESS_QUOTA_LIMITS.
            35 NtQueryInformationProcess(ProcessHandle: Req<{ty::PROCESS}, PROCESS_QUERY_LIMITED_INFORMATION>, ProcessInformationClass: u32, ProcessInformation: Out<u8>, ProcessInformationLength: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length"];
            /// Sets what a process is: PROCESS_IMAGE_FILE_NAME, PROCESS_BASE_PRIORITY, PROCESS_QUOTA_LIMITS (the input is a
            /// u64 RESOURCE_QUOTA handle followed by QuotaLimits), PROCESS_ACCESS_TOKEN (needs SeAssignPrimaryTokenPrivilege).
            36 NtSetInformationProcess(ProcessHandle: Req<{ty::PROCESS}, PROCESS_SET_INFORMATION>, ProcessInformationClass: u32, ProcessInformation: In<u8>, ProcessInformationLength: u32)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length", STATUS_INVALID_PARAMETER "bad value", STATUS_PRIVILEGE_NOT_HELD "a token without SeAssignPrimaryTokenPrivilege", STATUS_BAD_TOKEN_TYPE "an impersonation token", STATUS_TOKEN_ALREADY_IN_USE "another process has that token", STATUS_NOT_SUPPORTED "a token, and the process has had a thread"];

            /// Creates a thread with a stack and a TEB in the target process. StackSize 0 means 64 KiB; the attribute list must be null.
            40 NtCreateThreadEx(ThreadHandle: Out<Handle>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>, ProcessHandle: Req<{ty::PROCESS}, PROCESS_CREATE_THREAD>, StartRoutine: u64, Argument: u64, CreateFlags: u32, ZeroBits: u64, StackSize: u64, MaximumStackSize: u64, AttributeList: u64)
                [STATUS_INVALID_PARAMETER "unknown flags, a start address outside user space, or a stack over 64 MiB", STATUS_PROCESS_IS_TERMINATING "the process is ending"];
            /// Ends a thread; a null handle is the caller. A process ends with its last thread.
            41 NtTerminateThread(ThreadHandle: Handle, ExitStatus: u32) [];
            /// Opens a thread by process and thread id.
            42 NtOpenThread(ThreadHandle: Out<Handle>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>, ClientId: In<ClientId>)
                [STATUS_INVALID_CID "no such thread", STATUS_INVALID_PARAMETER "no client id"];
            /// Suspends a thread once more.
            43 NtSuspendThread(ThreadHandle: Req<{ty::THREAD}, THREAD_SUSPEND_RESUME>, PreviousSuspendCount: Out<u32>)
                [STATUS_SUSPEND_COUNT_EXCEEDED "127 times already", STATUS_THREAD_IS_TERMINATING "it is ending"];
            /// Takes one suspension back.
            44 NtResumeThread(ThreadHandle: Req<{ty::THREAD}, THREAD_SUSPEND_RESUME>, PreviousSuspendCount: Out<u32>) [];
            /// Queries a thread; classes THREAD_BASIC_INFORMATION, THREAD_TIMES.
            45 NtQueryInformationThread(ThreadHandle: Req<{ty::THREAD}, THREAD_QUERY_LIMITED_INFORMATION>, ThreadInformationClass: u32, ThreadInformation: Out<u8>, ThreadInformationLength: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length"];
            /// Sets what a thread is: THREAD_PRIORITY (1 to 15; the core servers: to 31), THREAD_AFFINITY_MASK, THREAD_NAME_INFORMATION, THREAD_IMPERSONATION_TOKEN
            /// (a handle with TOKEN_IMPERSONATE, or 0; needs THREAD_SET_THREAD_TOKEN instead of THREAD_SET_INFORMATION).
            46 NtSetInformationThread(ThreadHandle: Req<{ty::THREAD}, THREAD_SET_INFORMATION>, ThreadInformationClass: u32, ThreadInformation: In<u8>, ThreadInformationLength: u32)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length", STATUS_INVALID_PARAMETER "bad value", STATUS_BAD_TOKEN_TYPE "a primary token"];

            /// Reserves and commits memory (demand-zero). W^X holds.
            48 NtAllocateVirtualMemory(ProcessHandle: Req<{ty::PROCESS}, PROCESS_VM_OPERATION>, BaseAddress: InOut<u64>, ZeroBits: u64, RegionSize: InOut<u64>, AllocationType: u32, Protect: u32)
                [STATUS_INVALID_PARAMETER "bad size or type", STATUS_INVALID_PAGE_PROTECTION "unknown or writable and executable", STATUS_CONFLICTING_ADDRESSES "range taken or outside user space", STATUS_NO_MEMORY "no address space or memory left"];
            /// Decommits or releases memory.
            49 NtFreeVirtualMemory(ProcessHandle: Req<{ty::PROCESS}, PROCESS_VM_OPERATION>, BaseAddress: InOut<u64>, RegionSize: InOut<u64>, FreeType: u32)
                [STATUS_INVALID_PARAMETER "bad type", STATUS_UNABLE_TO_FREE_VM "not a private region", STATUS_CONFLICTING_ADDRESSES "range not within one region"];
            /// Changes the protection of committed pages.
            50 NtProtectVirtualMemory(ProcessHandle: Req<{ty::PROCESS}, PROCESS_VM_OPERATION>, BaseAddress: InOut<u64>, RegionSize: InOut<u64>, NewProtect: u32, OldProtect: Out<u32>)
                [STATUS_INVALID_PAGE_PROTECTION "unknown or writable and executable", STATUS_CONFLICTING_ADDRESSES "range not within one region", STATUS_NOT_COMMITTED "a page is not committed", STATUS_SECTION_PROTECTION "more than the section grants"];
            /// Describes the memory at an address (class MEMORY_BASIC_INFORMATION).
            51 NtQueryVirtualMemory(ProcessHandle: Req<{ty::PROCESS}, PROCESS_QUERY_LIMITED_INFORMATION>, BaseAddress: u64, MemoryInformationClass: u32, MemoryInformation: Out<u8>, MemoryInformationLength: u64, ReturnLength: Out<u64>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "buffer too small", STATUS_INVALID_PARAMETER "not a user address"];
            /// Reads another process's memory.
            52 NtReadVirtualMemory(ProcessHandle: Req<{ty::PROCESS}, PROCESS_VM_READ>, BaseAddress: u64, Buffer: Out<u8>, NumberOfBytesToRead: u64, NumberOfBytesRead: Out<u64>)
                [STATUS_PARTIAL_COPY "not all could be read"];
            /// Writes another process's memory.
            53 NtWriteVirtualMemory(ProcessHandle: Req<{ty::PROCESS}, PROCESS_VM_WRITE>, BaseAddress: u64, Buffer: In<u8>, NumberOfBytesToWrite: u64, NumberOfBytesWritten: Out<u64>)
                [STATUS_PARTIAL_COPY "not all could be written"];
            /// Creates a section of zeroed memory, or with SEC_PHYSICAL a window on device memory (FileHandle is the resource, MaximumSize the size, from the resource's base).
            54 NtCreateSection(SectionHandle: Out<Handle>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>, MaximumSize: In<u64>, SectionPageProtection: u32, AllocationAttributes: u32, FileHandle: Handle)
                [STATUS_INVALID_PARAMETER "size 0 or unknown attributes", STATUS_INVALID_PAGE_PROTECTION "unknown protection", STATUS_SECTION_TOO_BIG "over the quota's pages"];
            /// Maps a view of a section. PAGE_WRITECOPY gives private copies of written pages.
            55 NtMapViewOfSection(SectionHandle: Req<{ty::SECTION}, 0>, ProcessHandle: Req<{ty::PROCESS}, PROCESS_VM_OPERATION>, BaseAddress: InOut<u64>, ZeroBits: u64, CommitSize: u64, SectionOffset: InOut<u64>, ViewSize: InOut<u64>, InheritDisposition: u32, AllocationType: u32, Win32Protect: u32)
                [STATUS_INVALID_VIEW_SIZE "outside the section", STATUS_CONFLICTING_ADDRESSES "range taken", STATUS_SECTION_PROTECTION "more than the section allows", STATUS_INVALID_PAGE_PROTECTION "unknown or writable and executable", STATUS_MAPPED_ALIGNMENT "offset or address not page-aligned"];
            /// Unmaps the view that an address lies in.
            56 NtUnmapViewOfSection(ProcessHandle: Req<{ty::PROCESS}, PROCESS_VM_OPERATION>, BaseAddress: u64) [STATUS_NOT_MAPPED_VIEW "no view there"];
            /// Queries a section (class SECTION_BASIC_INFORMATION).
            57 NtQuerySection(SectionHandle: Req<{ty::SECTION}, SECTION_QUERY>, SectionInformationClass: u32, SectionInformation: Out<u8>, SectionInformationLength: u64, ReturnLength: Out<u64>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length"];

            /// Creates a connection port (unnamed; the object manager gives names).
            64 NtAlpcCreatePort(PortHandle: Out<Handle>, ObjectAttributes: In<ObjectAttributes>, PortAttributes: In<AlpcPortAttributes>)
                [STATUS_INVALID_PARAMETER "bad attributes or flags"];
            /// Connects to a port: by name in libnt only; the kernel refuses names (STATUS_OBJECT_PATH_SYNTAX_BAD). Use NtAlpcConnectPortEx.
            65 NtAlpcConnectPort(PortHandle: Out<Handle>, PortName: In<UnicodeString>, ObjectAttributes: In<ObjectAttributes>, PortAttributes: In<AlpcPortAttributes>, Flags: u32, RequiredServerSid: u64, ConnectionMessage: InOut<PortMessage>, BufferLength: InOut<u64>, OutMessageAttributes: InOut<AlpcMessageAttributes>, InMessageAttributes: InOut<AlpcMessageAttributes>, Timeout: In<i64>)
                [STATUS_OBJECT_PATH_SYNTAX_BAD "always: libnt resolves the name and calls NtAlpcConnectPortEx"];
            /// Connects to the port that ConnectionPortObjectAttributes.RootDirectory is a handle to (PORT_CONNECT needed).
            66 NtAlpcConnectPortEx(PortHandle: Out<Handle>, ConnectionPortObjectAttributes: In<ObjectAttributes>, ClientPortObjectAttributes: In<ObjectAttributes>, PortAttributes: In<AlpcPortAttributes>, Flags: u32, ServerSecurityRequirements: u64, ConnectionMessage: InOut<PortMessage>, BufferLength: InOut<u64>, OutMessageAttributes: InOut<AlpcMessageAttributes>, InMessageAttributes: InOut<AlpcMessageAttributes>, Timeout: In<i64>)
                [STATUS_PORT_CONNECTION_REFUSED "the server refused or closed its port", STATUS_TIMEOUT "the time-out passed", STATUS_ALERTED "alertable, and the thread was alerted", STATUS_USER_APC "alertable, and user APCs were run", STATUS_INVALID_PORT_HANDLE "not a connection port", STATUS_PORT_MESSAGE_TOO_LONG "the connection message is too long", STATUS_BUFFER_TOO_SMALL "the answer does not fit the buffer", STATUS_SERVER_SID_MISMATCH "the server is not who is required", STATUS_INVALID_SECURITY_DESCR "malformed requirements", STATUS_INVALID_SID "malformed requirements", STATUS_INVALID_ACL "malformed requirements", STATUS_BAD_IMPERSONATION_LEVEL "an unknown level, or more than the caller has of its own client"];
            /// Accepts or refuses a connection request, named by ConnectionRequest.MessageId.
            67 NtAlpcAcceptConnectPort(PortHandle: Out<Handle>, ConnectionPortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, ObjectAttributes: In<ObjectAttributes>, PortAttributes: In<AlpcPortAttributes>, PortContext: u64, ConnectionRequest: In<PortMessage>, ConnectionMessageAttributes: InOut<AlpcMessageAttributes>, AcceptConnection: bool)
                [STATUS_INVALID_MESSAGE "no such request", STATUS_REQUEST_CANCELED "the client is gone", STATUS_INVALID_PORT_HANDLE "not a connection port"];
            /// Sends a message, receives one, or both. See docs/alpc.md.
            68 NtAlpcSendWaitReceivePort(PortHandle: Handle, Flags: u32, SendMessage: In<PortMessage>, SendMessageAttributes: InOut<AlpcMessageAttributes>, ReceiveMessage: Out<PortMessage>, BufferLength: InOut<u64>, ReceiveMessageAttributes: InOut<AlpcMessageAttributes>, Timeout: In<i64>)
                [STATUS_TIMEOUT "the time-out passed", STATUS_ALERTED "alertable, and the thread was alerted", STATUS_USER_APC "alertable, and user APCs were run", STATUS_PORT_DISCONNECTED "the other side is gone", STATUS_PORT_MESSAGE_TOO_LONG "longer than the port's maximum", STATUS_BUFFER_TOO_SMALL "the receive buffer is too small; the message stays queued", STATUS_MESSAGE_NOT_FOUND "a reply to no pending request, or to one whose sender has gone", STATUS_REPLY_MESSAGE_MISMATCH "a reply or call back to a thread that does not wait for it", STATUS_LPC_REPLY_LOST "the request was given back without an answer", STATUS_QUOTA_EXCEEDED "too many messages that nobody has received or answered", STATUS_LPC_REQUESTS_NOT_ALLOWED "LPC mode on a port that does not allow it", STATUS_LPC_RECEIVE_BUFFER_EXPECTED "a synchronous request without receive buffer", STATUS_LPC_INVALID_CONNECTION_USAGE "a request sent on a connection port", STATUS_PORT_CONNECTION_REFUSED "receiving on a port whose connection was refused"];
            /// Ends a connection; the peer's calls then return STATUS_PORT_DISCONNECTED.
            69 NtAlpcDisconnectPort(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32) [STATUS_INVALID_PORT_HANDLE "a connection port"];
            /// Cancels the message that MessageContext names, or (ALPC_CANCELFLG_FLUSH) all of the port with its MessageContext.
            70 NtAlpcCancelMessage(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, MessageContext: In<AlpcContextAttr>)
                [STATUS_MESSAGE_NOT_FOUND "no such message of this port, or id 0", STATUS_MESSAGE_RETRIEVED "it had been received", STATUS_CONTEXT_MISMATCH "another MessageContext", STATUS_INVALID_PARAMETER "unknown flags"];
            /// Queries a port (classes ALPC_BASIC_INFORMATION, ALPC_CONNECTED_SID_INFORMATION, ALPC_SERVER_INFORMATION, ALPC_SERVER_SESSION_INFORMATION).
            71 NtAlpcQueryInformation(PortHandle: Req<{ty::PORT}, 0>, PortInformationClass: u32, PortInformation: InOut<u8>, Length: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length", STATUS_BUFFER_TOO_SMALL "the SID does not fit", STATUS_PORT_DISCONNECTED "nobody is at the other side"];
            /// Sets port information; class 2 has the port post to an I/O completion object, class 5 gives it a message zone, classes
            /// 6, 7, 8 and 10 are about its completion list.
            72 NtAlpcSetInformation(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, PortInformationClass: u32, PortInformation: In<u8>, Length: u32)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "wrong length", STATUS_PORT_ALREADY_SET "class 2, and the port posts to an I/O completion object already; class 5, and it has a zone", STATUS_ACCESS_VIOLATION "a zone that the caller may not write", STATUS_NOT_MAPPED_VIEW "a zone in private memory", STATUS_PORT_NOT_SET "a completion list, and the port posts nowhere", STATUS_PORT_ALREADY_HAS_COMPLETION_LIST "class 6, and it has one", STATUS_INVALID_PARAMETER "bad values, or no completion list or zone", STATUS_PORT_CLOSED "the last handle was closed meanwhile"];
            /// Queries a message: classes 0 and 1, its sender's SID and the state of its sender's token, and class 3, a handle that it
            /// brought, of one that was received and is still to be answered or given back; class 2, how a direct message ended that
            /// was sent on the port.
            73 NtAlpcQueryInformationMessage(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, PortMessage: In<PortMessage>, MessageInformationClass: u32, MessageInformation: InOut<u8>, Length: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_MESSAGE_NOT_FOUND "no such message was received through this port, or it was answered; class 2: none was sent", STATUS_INVALID_PARAMETER "class 3: the message has not so many handles", STATUS_INFO_LENGTH_MISMATCH "wrong length", STATUS_BUFFER_TOO_SMALL "ReturnLength says how much is needed", STATUS_BAD_IMPERSONATION_LEVEL "the sender is anonymous"];
            /// Makes a port section: of SectionSize bytes of new memory, or of what SectionHandle (SECTION_MAP_READ) refers to.
            74 NtAlpcCreatePortSection(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, SectionHandle: Handle, SectionSize: u64, AlpcSectionHandle: Out<u64>, ActualSectionSize: Out<u64>)
                [STATUS_INVALID_PARAMETER "unknown flags, no size, or ALPC_PORTSECTION_SECURE with a section handle", STATUS_SECTION_TOO_BIG "larger than the port's MaxSectionSize, or than the section", STATUS_QUOTA_EXCEEDED "more than the port's MaxTotalSectionSize"];
            /// Deletes a port section: its handle. What is mapped stays.
            75 NtAlpcDeletePortSection(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, SectionHandle: u64)
                [STATUS_INVALID_HANDLE "no such section of this port", STATUS_INVALID_PARAMETER "flags"];
            /// Maps a part of a port section that no other view has been made of. Fills ViewBase and ViewSize.
            76 NtAlpcCreateSectionView(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, ViewAttributes: InOut<AlpcDataViewAttr>)
                [STATUS_INVALID_HANDLE "no such section of this port", STATUS_INVALID_PARAMETER "flags, or ViewBase is not 0", STATUS_INVALID_VIEW_SIZE "0, larger than the section, or than the port's MaxViewSize", STATUS_NO_MEMORY "no part of that size is free"];
            /// Unmaps a view that the caller made or received through this port.
            77 NtAlpcDeleteSectionView(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, ViewBase: u64)
                [STATUS_NOT_MAPPED_VIEW "no such view", STATUS_INVALID_PARAMETER "flags"];
            /// Sets memory aside for a message of MessageSize bytes, header included; sent with ResourceId as MessageId it goes through.
            78 NtAlpcCreateResourceReserve(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, MessageSize: u64, ResourceId: Out<u32>)
                [STATUS_INVALID_PARAMETER "flags, or no room for a header", STATUS_PORT_MESSAGE_TOO_LONG "longer than a message of this port", STATUS_INVALID_PORT_HANDLE "a connection port", STATUS_PORT_DISCONNECTED "no connection"];
            /// Deletes a resource reserve.
            79 NtAlpcDeleteResourceReserve(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, ResourceId: u32)
                [STATUS_INVALID_PARAMETER "flags, or no such reserve of this port"];
            /// Creates a security context.
            80 NtAlpcCreateSecurityContext(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, SecurityAttribute: InOut<AlpcSecurityAttr>)
                [STATUS_CANNOT_IMPERSONATE "the port has no ALPC_PORFLG_ALLOW_IMPERSONATION", STATUS_INVALID_PARAMETER "a connection port, or unknown flags", STATUS_BAD_IMPERSONATION_LEVEL "an unknown level, or more than the caller has of its own client"];
            /// Deletes a security context of this port. Messages that carry it keep it.
            81 NtAlpcDeleteSecurityContext(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, ContextHandle: u64) [];
            /// Revokes a security context of this port or of the one at the other side: nothing can be sent with it any more,
            /// nor impersonated.
            82 NtAlpcRevokeSecurityContext(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Flags: u32, ContextHandle: u64)
                [STATUS_INVALID_PORT_HANDLE "a connection port"];
            /// The caller's thread acts as the sender of a message that it still owes an answer. Flags: ALPC_IMPERSONATEFLG_, and
            /// the least level that will do.
            83 NtAlpcImpersonateClientOfPort(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Message: In<PortMessage>, Flags: u64)
                [STATUS_MESSAGE_NOT_FOUND "no such message was received through this port, or it was answered", STATUS_CANNOT_IMPERSONATE "the sender's port or message does not allow it, or its security context was revoked", STATUS_BAD_IMPERSONATION_LEVEL "the sender allows less than is required", STATUS_PRIVILEGE_NOT_HELD "the caller may not have the level that is required", STATUS_NO_IMPERSONATION_TOKEN "the sender has gone", STATUS_INVALID_PARAMETER "unknown flags"];
            /// Opens the process that sent a message.
            84 NtAlpcOpenSenderProcess(ProcessHandle: Out<Handle>, PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, PortMessage: In<PortMessage>, Flags: u32, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>)
                [STATUS_MESSAGE_NOT_FOUND "no such message was received through this port, or it was answered", STATUS_INVALID_CID "the sender has gone", STATUS_INVALID_PARAMETER "flags"];
            /// Opens the thread that sent a message.
            85 NtAlpcOpenSenderThread(ThreadHandle: Out<Handle>, PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, PortMessage: In<PortMessage>, Flags: u32, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>)
                [STATUS_MESSAGE_NOT_FOUND "no such message was received through this port, or it was answered", STATUS_INVALID_CID "the sender has gone", STATUS_INVALID_PARAMETER "flags"];
            /// Impersonates the container of a message's sender: there are none.
            86 NtAlpcImpersonateClientContainerOfPort(PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Message: In<PortMessage>, Flags: u32)
                [STATUS_MESSAGE_NOT_FOUND "no such message was received through this port, or it was answered", STATUS_INVALID_PARAMETER "flags"];

            /// Antares: mints a handle for something the caller owns. Requests sent on the handle reach the port with Context
            /// and the handle's granted access in the CONTEXT attribute; its last close sends LPC_OBJECT_CLOSED.
            96 NtxCreateServerObject(ObjectHandle: Out<Handle>, PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Context: u64, ServerType: u32, GrantedAccess: u32, HandleAttributes: u32)
                [STATUS_INVALID_PORT_HANDLE "not a connection port"];
            /// Antares, for name servers: makes a handle that does not keep the object open. When the last other handle is
            /// closed, the port gets LPC_NAME_RELEASED with Context; duplicating it then fails with STATUS_OBJECT_NAME_NOT_FOUND.
            /// Name labels the object in traces and listings. It can be used with NtDuplicateObject, NtQueryObject,
            /// NtCompareObjects and NtClose only.
            97 NtxCreateNameHandle(NameHandle: Out<Handle>, ObjectHandle: Handle, PortHandle: Req<{ty::PORT}, PORT_ALL_ACCESS>, Context: u64, Name: In<u8>, NameLength: u32)
                [STATUS_INVALID_PORT_HANDLE "not a connection port", STATUS_INVALID_PARAMETER "a name over 256 bytes", STATUS_ACCESS_DENIED "the caller is no core server", STATUS_OBJECT_NAME_COLLISION "the object has a name handle"];

            /// Queries the system; classes in [`crate::info`].
            112 NtQuerySystemInformation(SystemInformationClass: u32, SystemInformation: InOut<u8>, SystemInformationLength: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_INFO_CLASS "unknown class", STATUS_INFO_LENGTH_MISMATCH "buffer too small"];
            /// System time: 100 ns since 1601 (UTC, from the real-time clock at boot).
            113 NtQuerySystemTime(SystemTime: Out<i64>) [];
            /// Time-stamp counter since boot and its frequency.
            114 NtQueryPerformanceCounter(PerformanceCounter: Out<i64>, PerformanceFrequency: Out<i64>) [];
            /// Ends the system. The handle is a RESOURCE_POWER resource.
            115 NtShutdownSystem(PowerResource: Req<{ty::RESOURCE}, RESOURCE_USE>, Action: u32) [STATUS_INVALID_PARAMETER "unknown action"];
            /// Controls tracing. The handle is a RESOURCE_DEBUG resource.
            116 NtTraceControl(DebugResource: Req<{ty::RESOURCE}, RESOURCE_USE>, FunctionCode: u32, InBuffer: In<u8>, InBufferLength: u32, OutBuffer: Out<u8>, OutBufferLength: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_PARAMETER "unknown function or wrong lengths"];
            /// Reads memory and state of the kernel and of any process, and stops the system, for debuggers. The handle is a
            /// RESOURCE_DEBUG resource. Commands and structures: `abi::kd`.
            117 NtSystemDebugControl(DebugResource: Req<{ty::RESOURCE}, RESOURCE_USE>, Command: u32, InputBuffer: In<u8>, InputBufferLength: u32, OutputBuffer: Out<u8>, OutputBufferLength: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_PARAMETER "unknown command, or no such processor or port", STATUS_INFO_LENGTH_MISMATCH "wrong lengths", STATUS_INVALID_CID "no such process or thread", STATUS_UNSUCCESSFUL "break-point: there is no serial line, or the system is being stopped already"];
            /// Writes a line (UTF-8 here) to the kernel log. Used before the console runs and by smss.
            118 NtDisplayString(String: In<u8>, Length: u32) [STATUS_INVALID_PARAMETER "over 1024 bytes"];
            /// Antares: takes bytes out of the kernel log (crash reports, NtDisplayString). From the first call on the kernel no
            /// longer writes to the serial line itself, and signals Event when there is more. The handle is a RESOURCE_DEBUG
            /// resource. ReturnLength 0: nothing is there.
            119 NtxReadKernelLog(DebugResource: Req<{ty::RESOURCE}, RESOURCE_USE>, Event: Handle, Buffer: Out<u8>, Length: u32, ReturnLength: Out<u32>) [];

            /// Antares: derives a narrower resource from one with RESOURCE_DERIVE (kinds in [`crate::io`]).
            128 NtxCreateResource(ResourceHandle: Out<Handle>, Parent: Req<{ty::RESOURCE}, RESOURCE_DERIVE>, Kind: u32, Base: u64, Length: u64)
                [STATUS_INVALID_PARAMETER "not within the parent, or physical memory that is RAM"];
            /// Antares: reads Count units of Width (1, 2, 4) bytes from one I/O port of a RESOURCE_IO_PORTS resource.
            129 NtxReadIoPort(Resource: Req<{ty::RESOURCE}, RESOURCE_USE>, Port: u32, Width: u32, Buffer: Out<u8>, Count: u32)
                [STATUS_INVALID_PARAMETER "port outside the resource, unknown width, over 4096 bytes"];
            /// Antares: writes Count units of Width (1, 2, 4) bytes to one I/O port of a RESOURCE_IO_PORTS resource.
            130 NtxWriteIoPort(Resource: Req<{ty::RESOURCE}, RESOURCE_USE>, Port: u32, Width: u32, Buffer: In<u8>, Count: u32)
                [STATUS_INVALID_PARAMETER "port outside the resource, unknown width, over 4096 bytes"];
            /// Antares: connects a global system interrupt of a RESOURCE_IRQ resource to a waitable object (a synchronization
            /// object: a wait takes the signal). The line stays masked from delivery to NtxAcknowledgeInterrupt. Flags: bit 0 level, bit 1 active low.
            131 NtxCreateInterrupt(InterruptHandle: Out<Handle>, Resource: Req<{ty::RESOURCE}, RESOURCE_USE>, GlobalInterrupt: u32, Flags: u32)
                [STATUS_INVALID_PARAMETER "not within the resource", STATUS_CONFLICTING_ADDRESSES "connected already"];
            /// Antares: lets the interrupt come again.
            132 NtxAcknowledgeInterrupt(InterruptHandle: Req<{ty::INTERRUPT}, INTERRUPT_ACKNOWLEDGE>) [];

            /// Opens a process's primary token.
            160 NtOpenProcessToken(ProcessHandle: Req<{ty::PROCESS}, PROCESS_QUERY_LIMITED_INFORMATION>, DesiredAccess: u32, TokenHandle: Out<Handle>)
                [STATUS_ACCESS_DENIED "another user's token, or one of higher integrity"];
            /// The same with OBJ_INHERIT or OBJ_PROTECT_CLOSE for the handle.
            161 NtOpenProcessTokenEx(ProcessHandle: Req<{ty::PROCESS}, PROCESS_QUERY_LIMITED_INFORMATION>, DesiredAccess: u32, HandleAttributes: u32, TokenHandle: Out<Handle>)
                [STATUS_ACCESS_DENIED "another user's token, or one of higher integrity"];
            /// Opens the token that a thread impersonates. OpenAsSelf: as the process, not as whom the caller impersonates.
            162 NtOpenThreadToken(ThreadHandle: Req<{ty::THREAD}, THREAD_QUERY_LIMITED_INFORMATION>, DesiredAccess: u32, OpenAsSelf: bool, TokenHandle: Out<Handle>)
                [STATUS_NO_TOKEN "the thread does not impersonate", STATUS_CANT_OPEN_ANONYMOUS "it impersonates at SecurityAnonymous", STATUS_ACCESS_DENIED "another user's token, or one of higher integrity", STATUS_BAD_IMPERSONATION_LEVEL "the caller impersonates below SecurityImpersonation"];
            /// The same with OBJ_INHERIT or OBJ_PROTECT_CLOSE for the handle.
            163 NtOpenThreadTokenEx(ThreadHandle: Req<{ty::THREAD}, THREAD_QUERY_LIMITED_INFORMATION>, DesiredAccess: u32, OpenAsSelf: bool, HandleAttributes: u32, TokenHandle: Out<Handle>)
                [STATUS_NO_TOKEN "the thread does not impersonate", STATUS_CANT_OPEN_ANONYMOUS "it impersonates at SecurityAnonymous", STATUS_ACCESS_DENIED "another user's token, or one of higher integrity", STATUS_BAD_IMPERSONATION_LEVEL "the caller impersonates below SecurityImpersonation"];
            /// Makes another token of the same holder. The level comes from ObjectAttributes.SecurityQualityOfService (else
            /// SecurityAnonymous); DesiredAccess 0 grants what the source grants.
            164 NtDuplicateToken(ExistingTokenHandle: Req<{ty::TOKEN}, TOKEN_DUPLICATE>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>, EffectiveOnly: bool, TokenType: u32, NewTokenHandle: Out<Handle>)
                [STATUS_BAD_IMPERSONATION_LEVEL "more than the source's level, an unknown level, or a primary token from below SecurityImpersonation", STATUS_BAD_TOKEN_TYPE "unknown type"];
            /// Queries a token; also the pseudo handles -4 (process), -5 (thread), -6 (effective). The source needs TOKEN_QUERY_SOURCE.
            165 NtQueryInformationToken(TokenHandle: Req<{ty::TOKEN}, TOKEN_QUERY>, TokenInformationClass: u32, TokenInformation: Out<u8>, TokenInformationLength: u32, ReturnLength: Out<u32>)
                [STATUS_INVALID_INFO_CLASS "unknown class, or the level of a primary token", STATUS_BUFFER_TOO_SMALL "ReturnLength says how much is needed", STATUS_NO_TOKEN "pseudo handle -5, and the thread does not impersonate"];
            /// Enables, disables or removes privileges; all are disabled with DisableAllPrivileges. NewState is TOKEN_PRIVILEGES, as
            /// is PreviousState (optional, BufferLength bytes).
            166 NtAdjustPrivilegesToken(TokenHandle: Req<{ty::TOKEN}, TOKEN_ADJUST_PRIVILEGES>, DisableAllPrivileges: bool, NewState: In<u32>, BufferLength: u32, PreviousState: Out<u32>, ReturnLength: Out<u32>)
                [STATUS_NOT_ALL_ASSIGNED "the token does not have them all; the others were adjusted", STATUS_INVALID_PARAMETER "no new state, or too many privileges", STATUS_BUFFER_TOO_SMALL "the previous state does not fit; nothing was adjusted"];
            /// A LUID that nobody else has.
            167 NtAllocateLocallyUniqueId(Luid: Out<Luid>) [];
            /// Antares: NtCreateToken with owner, primary group and default DACL in one structure, because a system call has at
            /// most eleven arguments. Needs SeCreateTokenPrivilege. User is TOKEN_USER, Groups TOKEN_GROUPS, Privileges TOKEN_PRIVILEGES.
            168 NtxCreateToken(TokenHandle: Out<Handle>, DesiredAccess: u32, ObjectAttributes: In<ObjectAttributes>, TokenType: u32, AuthenticationId: In<Luid>, ExpirationTime: In<i64>, User: In<SidAndAttributes>, Groups: In<TokenGroups>, Privileges: In<u32>, Defaults: In<TokenDefaults>, Source: In<TokenSource>)
                [STATUS_PRIVILEGE_NOT_HELD "SeCreateTokenPrivilege is not enabled", STATUS_INVALID_SID "a malformed SID", STATUS_INVALID_OWNER "the owner is neither the user nor a group that may own", STATUS_INVALID_PRIMARY_GROUP "not one of the groups", STATUS_NO_SUCH_PRIVILEGE "unknown privilege", STATUS_INVALID_PARAMETER "unknown attributes, more than 128 groups, or a group with SE_GROUP_INTEGRITY that is no label", STATUS_NOT_IMPLEMENTED "a default DACL", STATUS_BAD_TOKEN_TYPE "unknown type", STATUS_BAD_IMPERSONATION_LEVEL "unknown level"];
        }
    };
}

/// One argument of a system call.
#[derive(Clone, Copy, Debug)]
pub struct ArgInfo {
    /// NT's parameter name.
    pub name: &'static str,
    /// Type as declared.
    pub type_name: &'static str,
    /// Direction.
    pub dir: Dir,
    /// Bytes behind the pointer.
    pub size: usize,
    /// For handles: object type needed (0 any).
    pub object_type: u8,
    /// For handles: access needed.
    pub access: u32,
}

/// One system call.
#[derive(Clone, Copy, Debug)]
pub struct SyscallInfo {
    /// Number.
    pub number: u32,
    /// NT's name.
    pub name: &'static str,
    /// What it does.
    pub what: &'static [&'static str],
    /// Arguments in order.
    pub args: &'static [ArgInfo],
    /// Statuses of its own, and when.
    pub errors: &'static [(NtStatus, &'static str)],
}

const fn arg_info<T: SyscallArg>(name: &'static str, type_name: &'static str) -> ArgInfo {
    ArgInfo { name, type_name, dir: T::DIR, size: T::SIZE, object_type: T::TYPE, access: T::ACCESS }
}

macro_rules! describe {
    ($($(#[doc = $doc:literal])* $number:literal $name:ident ( $($arg:ident : $t:ty),* ) [ $($err:ident $why:literal),* ];)*) => {
        /// Numbers by name.
        #[allow(non_upper_case_globals, missing_docs)]
        pub mod nr {
            $(pub const $name: u32 = $number;)*
        }

        mod table {
            use super::*;
            use crate::alpc::*;
            use crate::arg::{Handle, In, InOut, Out, Req};
            use crate::completion::*;
            use crate::context::Context;
            use crate::ob::*;
            use crate::se::*;
            use crate::status::*;

            pub(super) static SYSCALLS: &[SyscallInfo] = &[$(SyscallInfo {
                number: $number,
                name: stringify!($name),
                what: &[$($doc),*],
                args: &[$(arg_info::<$t>(stringify!($arg), stringify!($t))),*],
                errors: &[$(($err, $why)),*],
            }),*];
        }
    };
}
for_each_syscall!(describe);

/// Every declared system call, in order of number.
pub fn syscalls() -> &'static [SyscallInfo] {
    table::SYSCALLS
}

/// One past the highest number.
pub const SYSCALL_LIMIT: u32 = 169;

/// Name of a system call.
pub fn syscall_name(number: u32) -> Option<&'static str> {
    let table = syscalls();
    table.binary_search_by_key(&number, |call| call.number).ok().map(|i| table[i].name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ascending_and_below_the_limit() {
        let table = syscalls();
        assert!(table.windows(2).all(|w| w[0].number < w[1].number));
        assert_eq!(table.last().unwrap().number + 1, SYSCALL_LIMIT);
        assert_eq!(syscall_name(nr::NtClose), Some("NtClose"));
        assert_eq!(syscall_name(15), None);
    }

    #[test]
    fn no_call_has_more_arguments_than_registers() {
        assert!(syscalls().iter().all(|call| call.args.len() <= 11));
    }

    #[test]
    fn arguments_know_their_direction_and_rights() {
        let set = syscalls().iter().find(|c| c.name == "NtSetEvent").unwrap();
        assert_eq!(set.args[0].dir, Dir::Handle);
        assert_eq!(set.args[0].access, crate::ob::EVENT_MODIFY_STATE);
        assert_eq!(set.args[1].dir, Dir::Out);
        assert_eq!(set.args[1].size, 4);
    }
}
