//! The measurements that need two processors.

use crate::me;
use crate::shared::{Server, inherited, measure, read_all, stay_on, tsc, word, write_all};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io::{Error, Result};

/// Round trips of each pair.
const RUNS: u64 = 10_000;
const SIZE: usize = 32;

/// Starts the second processor, which the kernel was told to leave alone at first (`maxcpus=1`).
///
/// The kernel waits for it in a loop that gives the processor to other processes but never executes PAUSE. Under `-icount` QEMU runs the
/// processors in turn, and QEMU 7.2 leaves the first only when that halts or pauses, so a process that pauses all the time lets the
/// second come up.
pub fn start_second_processor() -> Result<()> {
    let folder = "/sys";
    std::fs::create_dir_all(folder)?;
    rustix::mount::mount(
        folder,
        folder,
        "sysfs",
        rustix::mount::MountFlags::empty(),
        None::<&std::ffi::CStr>,
    )?;
    let _pausing = Server(me().arg("--pause").spawn()?);
    std::fs::write("/sys/devices/system/cpu/cpu1/online", "1")
}

/// Lets the other processor run, again and again.
pub fn pause() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

fn pipes() -> Result<[(OwnedFd, OwnedFd); 2]> {
    Ok([rustix::pipe::pipe()?, rustix::pipe::pipe()?])
}

/// A 32-byte round trip over pipes with the server on the other processor.
pub fn pipe_other_cpu() -> Result<u64> {
    let [(there_out, there_in), (back_out, back_in)] = pipes()?;
    stay_on(1)?;
    let child = me().args(["--serve", "echo", &word(&there_out), &word(&back_in), "32"]).spawn()?;
    let _server = Server(child);
    stay_on(0)?;
    let mut buffer = [0x5A; SIZE];
    measure(5_000, || {
        write_all(there_in.as_fd(), &buffer)?;
        read_all(back_out.as_fd(), &mut buffer)
    })
}

/// All instructions of the machine while so many pairs, each on its own processor, make [`RUNS`] round trips each; per round trip
/// of one pair.
pub fn pipe_pairs(count: usize) -> Result<u64> {
    let [(ready_out, ready_in), (go_out, go_in)] = pipes()?;
    let mut pairs = Vec::new();
    for processor in 0..count {
        let child =
            me().args(["--pair", &processor.to_string(), &word(&ready_in), &word(&go_out)]).spawn()?;
        pairs.push(Server(child));
    }
    let said = |byte: &mut [u8]| (0..count).try_for_each(|_| read_all(ready_out.as_fd(), byte));
    said(&mut [0])?;
    let start = tsc();
    write_all(go_in.as_fd(), &vec![b'g'; count])?;
    said(&mut [0])?;
    Ok((tsc() - start) / RUNS)
}

/// A client with its server, both on the processor named: says when it is warm, waits for the start, says when it is done.
pub fn pair(words: &[&str]) -> Result<()> {
    let processor = words.first().and_then(|word| word.parse().ok());
    let (say, go) = (inherited(words.get(1))?, inherited(words.get(2))?);
    stay_on(processor.ok_or_else(|| Error::other("no processor"))?)?;
    let [(there_out, there_in), (back_out, back_in)] = pipes()?;
    let child = me().args(["--serve", "echo", &word(&there_out), &word(&back_in), "32"]).spawn()?;
    let _server = Server(child);
    let mut buffer = [0x5A; SIZE];
    let mut round_trip = || {
        // The processors take turns here (see `start_second_processor`).
        std::hint::spin_loop();
        write_all(there_in.as_fd(), &buffer)?;
        read_all(back_out.as_fd(), &mut buffer)
    };
    (0..500).try_for_each(|_| round_trip())?;
    signal(say)?;
    read_all(go, &mut [0])?;
    (0..RUNS).try_for_each(|_| round_trip())?;
    signal(say)
}

fn signal(say: BorrowedFd<'_>) -> Result<()> {
    write_all(say, b"x")
}
