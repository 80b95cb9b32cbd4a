//! linux-bench: what Linux needs for the operations that `bench` measures on Antares, in guest instructions.
//!
//! `./run.sh bench` links it statically, makes an initramfs of it and starts it as the first process of Debian's kernel, in the machine that
//! Antares is measured in. The kernel command line ends in `-- one` (what one processor shows) or `-- two`. Each result is a line
//! `BENCH <name> <instructions>`, the mean over many runs after a warm-up. The program starts itself as the other process.
//!
//! Map: this file chooses and reports; [`client`] has the measured loops, [`server`] what answers them, [`pairs`] the two-processor
//! measurements, [`shared`] what both sides agree on.

mod client;
mod pairs;
mod server;
mod shared;

use std::process::{Command, ExitCode};

/// What a part of the program returns.
type Outcome = std::io::Result<()>;
/// A measurement.
type Measurement = fn() -> std::io::Result<u64>;

/// Measured with one processor.
const ONE: [(&str, Measurement); 14] = [
    ("getppid", client::getppid),
    ("pipe_rt_32", || client::pipe(32)),
    ("pipe_rt_1k", || client::pipe(1024)),
    ("pipe_rt_64k", || client::pipe(shared::LARGE)),
    ("seqpacket_rt_32", || client::seqpacket(32)),
    ("stream_rt_32", || client::stream(32)),
    ("stream_rt_1k", || client::stream(1024)),
    ("stream_rt_64k", || client::stream(shared::LARGE)),
    ("futex_rt", client::futex),
    ("fd_pass_rt", client::fd_pass),
    ("memfd_share_64k", client::memfd_share),
    ("connect_close", client::connect_close),
    ("datagram_batch", client::datagram_batch),
    ("fork_exec_exit", client::fork_exec_exit),
];

/// Measured with two processors.
const TWO: [(&str, Measurement); 3] = [
    ("pipe_rt_32_other_cpu", pairs::pipe_other_cpu),
    ("pipe_one_pair", || pairs::pipe_pairs(1)),
    ("pipe_two_pairs", || pairs::pipe_pairs(2)),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["one"] => report(&ONE),
        ["two"] => pairs::start_second_processor().and_then(|()| report(&TWO)),
        ["--exit"] => return ExitCode::SUCCESS,
        ["--pause"] => pairs::pause(),
        ["--serve", kind, rest @ ..] => return status(server::run(kind, rest)),
        ["--pair", rest @ ..] => return status(pairs::pair(rest)),
        other => {
            println!(
                "linux-bench: started with {other:?}; the kernel command line ends in `-- one` or `-- two`"
            );
            Ok(())
        }
    };
    let outcome = status(outcome);
    if std::process::id() == 1 {
        // QEMU is told not to restart, so the machine ends here.
        let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
    }
    outcome
}

fn report(measurements: &[(&str, Measurement)]) -> Outcome {
    for (name, measurement) in measurements {
        let instructions =
            measurement().map_err(|error| std::io::Error::other(format!("{name}: {error}")))?;
        println!("BENCH {name} {instructions}");
    }
    println!("BENCH end 0");
    Ok(())
}

fn status(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("linux-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// This program again, in another role.
fn me() -> Command {
    Command::new("/init")
}
