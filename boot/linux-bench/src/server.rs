//! What answers: each role reads requests from inherited descriptors until it is killed.

use crate::Outcome;
use crate::shared::{BATCH, Mapping, SOCKET, inherited, read_all, write_all};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::thread::futex;
use std::io::{Error, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering;

/// Serves as `kind` with the descriptors and numbers in `words`.
pub fn run(kind: &str, words: &[&str]) -> Outcome {
    match kind {
        "echo" => {
            let size = words.get(2).and_then(|word| word.parse().ok()).unwrap_or(32);
            echo(inherited(words.first())?, inherited(words.get(1))?, size)
        }
        "futex" => futex_wait_wake(inherited(words.first())?),
        "fd" => descriptors(inherited(words.first())?, false),
        "memfd" => descriptors(inherited(words.first())?, true),
        "listen" => listen(inherited(words.first())?),
        "drain" => drain(inherited(words.first())?),
        other => Err(Error::other(format!("no server {other}"))),
    }
}

/// Reads `size` bytes, writes them back.
fn echo(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: usize) -> Outcome {
    let mut buffer = vec![0; size];
    loop {
        read_all(from, &mut buffer)?;
        write_all(to, &buffer)?;
    }
}

/// Waits for word 0 to be 1, makes it 0 and wakes the client on word 1.
fn futex_wait_wake(file: BorrowedFd<'_>) -> Outcome {
    let memory = Mapping::new(file)?;
    let (request, reply) = (memory.word(0), memory.word(64));
    loop {
        while request.load(Ordering::Acquire) == 0 {
            let _ = futex::wait(request, futex::Flags::empty(), 0, None);
        }
        request.store(0, Ordering::Relaxed);
        reply.store(1, Ordering::Release);
        futex::wake(reply, futex::Flags::empty(), 1)?;
    }
}

/// Receives 32 bytes with a descriptor, closes that (after mapping and reading it), answers.
fn descriptors(socket: BorrowedFd<'_>, maps: bool) -> Outcome {
    let mut buffer = [0; 32];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::empty(),
        )?;
        if received.bytes == 0 {
            return Ok(());
        }
        let mut passed: Option<OwnedFd> = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut rights) = message {
                passed = rights.next();
            }
        }
        let passed = passed.ok_or_else(|| Error::other("no descriptor came"))?;
        if maps {
            std::hint::black_box(Mapping::new(rustix::fd::AsFd::as_fd(&passed))?.touch());
        }
        drop(passed);
        write_all(socket, &buffer)?;
    }
}

/// Accepts connections and closes them.
fn listen(ready: BorrowedFd<'_>) -> Outcome {
    let listener = UnixListener::bind(SOCKET)?;
    write_all(ready, b"r")?;
    loop {
        drop(listener.accept()?);
    }
}

/// Takes datagrams; the last of a batch is answered.
fn drain(socket: BorrowedFd<'_>) -> Outcome {
    let mut buffer = [0; 32];
    loop {
        for _ in 0..BATCH {
            read_all(socket, &mut buffer)?;
        }
        write_all(socket, &buffer)?;
    }
}
