//! Every way to boot reaches the prompt and runs a program, and the machine goes down in order.

use crate::runner::{Case, Context, Outcome, case, check, good, has_limine, long_case, plain, words};
use antares_host::qemu::{Boot, Machine};
use antares_host::session::Line;

/// The group.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("boot::direct", |test| boots(test, plain())),
        long_case("boot::mem_64", 180, |test| boots(test, Machine { mem: 64, ..plain() })),
        case("boot::mem_8192", |test| boots(test, Machine { mem: 8192, ..plain() })),
        case("boot::smp_1", |test| boots(test, Machine { smp: 1, ..plain() })),
        long_case("boot::smp_4", 180, |test| boots(test, Machine { smp: 4, ..plain() })),
        case("boot::repeats", repeats),
        case("boot::too_little_memory", too_little_memory),
    ];
    if has_limine() {
        cases.push(case("boot::bios", |test| boots(test, Machine { boot: Boot::Bios, ..plain() })));
        cases.push(case("boot::bios_mem_64", |test| {
            boots(test, Machine { boot: Boot::Bios, mem: 64, ..plain() })
        }));
        cases.push(long_case("boot::uefi", 240, uefi));
    } else {
        println!("skip boot::bios, boot::uefi: Limine is not at hand");
    }
    cases
}

fn boots(test: &Context, machine: Machine) -> Outcome {
    let mut session = test.boot(machine)?;
    let text = good(&mut session, "hello")?;
    check(!text.trim().is_empty(), "`hello` printed nothing", &text)?;
    session.shutdown().map_err(words)
}

/// Under UEFI as under BIOS, and the firmware's screen stays off the serial lines.
fn uefi(test: &Context) -> Outcome {
    let mut session = test.boot(Machine { boot: Boot::Uefi, ..plain() })?;
    good(&mut session, "hello")?;
    for line in [Line::Console, Line::Kd] {
        let text = session.transcript(line);
        check(!text.contains("BdsDxe"), "the firmware's messages are on a serial line", text)?;
    }
    session.shutdown().map_err(words)
}

/// Two boots in a row in the same mode show the same first prompt.
fn repeats(test: &Context) -> Outcome {
    for _ in 0..2 {
        boots(test, plain())?;
    }
    Ok(())
}

/// A machine too small says so, and does not just die.
fn too_little_memory(test: &Context) -> Outcome {
    for memory in ["4", "8", "16"] {
        let ran = test.exec(&["--mem", memory, "--timeout", "30", "hello"])?;
        check(
            ran.status == 125,
            "too little memory does not stop the kernel",
            &format!("{memory} MiB: {ran:?}"),
        )?;
        check(
            ran.err.to_lowercase().contains("memory"),
            "the message does not say that memory is short",
            &format!("{memory} MiB: {ran:?}"),
        )?;
    }
    Ok(())
}
