//! The measured loops, one processor. The server of each is this program again.

use crate::me;
use crate::shared::{BATCH, Mapping, SOCKET, Server, measure, memory_file, read_all, word, write_all};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, socketpair,
};
use rustix::thread::futex as word_wait;
use std::io::{IoSlice, Result};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;

/// Runs of a short operation.
const RUNS: u64 = 5_000;
/// Runs of an operation that moves or makes much.
const FEW: u64 = 200;

/// Starts a server in a role.
fn serve(kind: &str, words: &[String]) -> Result<Server> {
    me().arg("--serve").arg(kind).args(words).spawn().map(Server)
}

fn sockets(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None)?)
}

fn runs_for(size: usize) -> u64 {
    if size > 4096 { FEW } else { RUNS }
}

/// A system call that does nothing.
pub fn getppid() -> Result<u64> {
    measure(20_000, || {
        std::hint::black_box(rustix::process::getppid());
        Ok(())
    })
}

fn round_trips(to: BorrowedFd<'_>, from: BorrowedFd<'_>, size: usize) -> Result<u64> {
    let mut buffer = vec![0x5A; size];
    measure(runs_for(size), || {
        write_all(to, &buffer)?;
        read_all(from, &mut buffer)
    })
}

/// A round trip over two pipes.
pub fn pipe(size: usize) -> Result<u64> {
    let (there_out, there_in) = rustix::pipe::pipe()?;
    let (back_out, back_in) = rustix::pipe::pipe()?;
    let _server = serve("echo", &[word(&there_out), word(&back_in), size.to_string()])?;
    round_trips(there_in.as_fd(), back_out.as_fd(), size)
}

fn socket_round_trip(kind: SocketType, size: usize) -> Result<u64> {
    let (mine, other) = sockets(kind)?;
    let _server = serve("echo", &[word(&other), word(&other), size.to_string()])?;
    round_trips(mine.as_fd(), mine.as_fd(), size)
}

/// A round trip over an AF_UNIX SOCK_SEQPACKET socket.
pub fn seqpacket(size: usize) -> Result<u64> {
    socket_round_trip(SocketType::SEQPACKET, size)
}

/// A round trip over an AF_UNIX SOCK_STREAM socket.
pub fn stream(size: usize) -> Result<u64> {
    socket_round_trip(SocketType::STREAM, size)
}

/// Two threads of control that wake each other by futexes in shared memory; no data moves.
pub fn futex() -> Result<u64> {
    let file = memory_file()?;
    let memory = Mapping::new(file.as_fd())?;
    let _server = serve("futex", &[word(&file)])?;
    let (request, reply) = (memory.word(0), memory.word(64));
    measure(RUNS, || {
        request.store(1, Ordering::Release);
        word_wait::wake(request, word_wait::Flags::empty(), 1)?;
        while reply.load(Ordering::Acquire) == 0 {
            let _ = word_wait::wait(reply, word_wait::Flags::empty(), 0, None);
        }
        reply.store(0, Ordering::Relaxed);
        Ok(())
    })
}

/// A round trip whose request carries a descriptor.
fn pass(passed: &OwnedFd, kind: &str, runs: u64) -> Result<u64> {
    let (mine, other) = sockets(SocketType::SEQPACKET)?;
    let _server = serve(kind, &[word(&other)])?;
    let mut buffer = [0x5A; 32];
    measure(runs, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let rights = [passed.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&rights));
        rustix::net::sendmsg(&mine, &[IoSlice::new(&buffer)], &mut ancillary, SendFlags::empty())?;
        read_all(mine.as_fd(), &mut buffer)
    })
}

/// A descriptor passed by SCM_RIGHTS, which the server closes.
pub fn fd_pass() -> Result<u64> {
    let (passed, _other_end) = rustix::pipe::pipe()?;
    pass(&passed, "fd", RUNS)
}

/// 64 KiB handed over as a memory file, which the server maps, reads a word per page of, unmaps and closes.
pub fn memfd_share() -> Result<u64> {
    let file = memory_file()?;
    let memory = Mapping::new(file.as_fd())?;
    memory.word(0).store(1, Ordering::Relaxed);
    memory.touch();
    pass(&file, "memfd", 1_000)
}

/// connect, accept and both closes of an AF_UNIX stream socket.
pub fn connect_close() -> Result<u64> {
    let (ready_out, ready_in) = rustix::pipe::pipe()?;
    let _server = serve("listen", &[word(&ready_in)])?;
    read_all(ready_out.as_fd(), &mut [0])?;
    measure(1_000, || UnixStream::connect(SOCKET).map(drop))
}

/// 32 bytes each way as AF_UNIX datagrams, [`BATCH`] sent before the server reads them; per datagram.
pub fn datagram_batch() -> Result<u64> {
    let (mine, other) = sockets(SocketType::DGRAM)?;
    let _server = serve("drain", &[word(&other)])?;
    let mut buffer = [0x5A; 32];
    let batch = measure(200, || {
        for _ in 0..BATCH {
            write_all(mine.as_fd(), &buffer)?;
        }
        read_all(mine.as_fd(), &mut buffer)
    })?;
    Ok(batch / BATCH as u64)
}

/// A process from its start to its end: fork, exec, exit, wait.
pub fn fork_exec_exit() -> Result<u64> {
    measure(100, || me().arg("--exit").status().map(drop))
}
