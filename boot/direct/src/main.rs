//! Direct boot: a small loader that QEMU starts with `-kernel` and that hands an Antares kernel what the
//! Limine boot loader would. `README.md` beside this crate's manifest says how to call it.
//!
//! Principles: the kernel cannot tell which loader started it, except by asking for the loader's name;
//! where the protocol leaves a choice, the stricter one is made (no identity map is left behind);
//! everything that cannot work ends in one line on COM1 that starts `direct boot:`.
//!
//! | module | one idea |
//! |---|---|
//! | `entry` | from Multiboot's 32-bit entry into 64-bit Rust, and from there into the kernel |
//! | `boot` | the whole story, in order |
//! | `multiboot` | what Multiboot left in memory |
//! | `memory` | physical memory: taking it, reaching it |
//! | `firmware` | ACPI tables, legacy interrupt controllers, the clock |
//! | `responses` | the answers to the kernel's requests |
//! | `smp` | waking the other processors and parking them |
//! | `machine` | ports, registers, COM1 |

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod firmware;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod multiboot;
#[cfg(target_os = "none")]
mod responses;
#[cfg(target_os = "none")]
mod smp;

/// On the host there is nothing to boot.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "direct: build this for x86_64-unknown-none and give it to QEMU's -kernel (boot/direct/README.md)"
    );
}
