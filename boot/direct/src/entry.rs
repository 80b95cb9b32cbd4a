//! From Multiboot's 32-bit entry into 64-bit Rust, and from there into the kernel.

use crate::{boot, machine};
use core::arch::global_asm;
use core::panic::PanicInfo;
use direct_boot::HHDM;

// Multiboot's header. Flag 16 says that the address fields are valid, which makes QEMU load the file by
// them and not look at its ELF headers (it refuses 64-bit ones). The linker script sees to it that they
// agree.
global_asm!(
    ".section .multiboot, \"a\"",
    ".balign 4",
    "multiboot_header:",
    ".long 0x1BADB002",
    ".long 0x00010003", // page-aligned modules, memory map, address fields
    ".long -(0x1BADB002 + 0x00010003)",
    ".long multiboot_header",
    ".long __image_start",
    ".long __load_end",
    ".long __image_end",
    ".long _start",
);

// The GDT that the protocol asks for, for the loader and the kernel.
global_asm!(
    ".section .data.gdt, \"aw\"",
    ".balign 8",
    ".global boot_gdt",
    "boot_gdt:",
    ".quad 0",
    ".quad 0x00009b000000ffff", // 0x08: 16-bit code
    ".quad 0x000093000000ffff", // 0x10: 16-bit data
    ".quad 0x00cf9b000000ffff", // 0x18: 32-bit code
    ".quad 0x00cf93000000ffff", // 0x20: 32-bit data
    ".quad 0x00af9b000000ffff", // 0x28: 64-bit code
    ".quad 0x00af93000000ffff", // 0x30: 64-bit data
    "low_gdtr:",
    ".word 55",
    ".long boot_gdt",
    ".balign 8",
    "high_gdtr:",
    ".word 55",
    ".quad boot_gdt + {hhdm}",
    hhdm = const HHDM,
);

// The first page tables (4 GiB, each byte at its own address) and the loader's stack.
global_asm!(
    ".section .bss.boot, \"aw\", @nobits",
    ".balign 4096",
    "boot_pml4: .skip 4096",
    "boot_pdpt: .skip 4096",
    "boot_pds: .skip 4 * 4096",
    "boot_stack: .skip 0x80000", // unoptimised code copies memory maps freely
    "boot_stack_end:",
);

global_asm!(
    ".section .text.entry, \"ax\"",
    ".code32",
    ".global _start",
    "_start:",
    "cli",
    "cld",
    "mov esp, offset boot_stack_end",
    "mov edi, eax", // Multiboot's magic number
    "mov esi, ebx", // Multiboot's information
    // A processor with 64-bit mode and no-execute pages?
    "mov eax, 0x80000000",
    "cpuid",
    "cmp eax, 0x80000001",
    "jb 8f",
    "mov eax, 0x80000001",
    "cpuid",
    "and edx, (1 << 29) | (1 << 20)",
    "cmp edx, (1 << 29) | (1 << 20)",
    "jne 8f",
    // 2048 entries for 2 MiB each.
    "mov ebx, offset boot_pds",
    "mov eax, 0x83",
    "2:",
    "mov dword ptr [ebx], eax",
    "add ebx, 8",
    "add eax, 0x200000",
    "jnc 2b",
    "mov eax, offset boot_pds + 3",
    "mov ebx, offset boot_pdpt",
    "mov ecx, 4",
    "3:",
    "mov dword ptr [ebx], eax",
    "add eax, 4096",
    "add ebx, 8",
    "loop 3b",
    "mov eax, offset boot_pdpt + 3",
    "mov dword ptr [boot_pml4], eax",
    "lgdt [low_gdtr]",
    "mov eax, offset boot_pml4",
    "mov ebp, offset start64",
    "jmp long_mode",
    // Not such a processor: say so, and stop.
    "8:",
    "mov esi, offset no_64_bit",
    "mov edx, 0x3f8",
    "4:",
    "lodsb",
    "test al, al",
    "jz 5f",
    "out dx, al",
    "jmp 4b",
    "5:",
    "hlt",
    "jmp 5b",
    // Enters 64-bit mode with the page tables at eax and goes on at ebp. Uses eax, ecx, edx and no memory.
    ".global long_mode",
    "long_mode:",
    "mov cr3, eax",
    "mov eax, 0x20", // PAE
    "mov cr4, eax",
    "mov ecx, 0x277", // PAT: WB WT UC- UC WP WC UC- UC
    "mov eax, 0x00070406",
    "mov edx, 0x00070105",
    "wrmsr",
    "mov ecx, 0xc0000080", // EFER
    "rdmsr",
    "or eax, 0x900", // LME, NXE
    "wrmsr",
    "mov eax, 0x80010011", // PG, WP, ET, PE
    "mov cr0, eax",
    ".byte 0xea", // far jump to 0x28:6
    ".long 6f",
    ".word 0x28",
    ".code64",
    "6:",
    "mov eax, 0x30",
    "mov ds, eax",
    "mov es, eax",
    "mov fs, eax",
    "mov gs, eax",
    "mov ss, eax",
    "mov ebp, ebp",
    "jmp rbp",
    "start64:",
    "mov esp, offset boot_stack_end",
    "mov edi, edi",
    "mov esi, esi",
    "xor ebp, ebp",
    "call {main}",
    "ud2",
    ".section .rodata.entry, \"a\"",
    "no_64_bit: .asciz \"direct boot: this processor has no 64-bit mode with no-execute pages\\r\\n\"",
    main = sym main,
);

// The way out, for every processor.
global_asm!(
    ".section .text.leave, \"ax\"",
    // handoff(entry: rdi, stack: rsi, low entry of the top page table, or 0: rdx)
    ".global handoff",
    "handoff:",
    "cli",
    "cld",
    "mov rsp, rsi",
    "lea rbp, [rip + 2f]",
    "jmp high_half",
    "2:",
    "test rdx, rdx",
    "jz 3f",
    "mov qword ptr [rdx], 0",
    "3:",
    "mov rax, rdi",
    "xor edi, edi",
    "jmp go",
    // Goes on at rbp's place in the HHDM, with the GDT there too. The stack is there already.
    ".global high_half",
    "high_half:",
    "movabs rax, {hhdm}",
    "add rbp, rax",
    "lgdt [rip + high_gdtr]",
    "mov eax, 0x30",
    "mov ds, eax",
    "mov es, eax",
    "mov fs, eax",
    "mov gs, eax",
    "mov ss, eax",
    "push 0x28",
    "push rbp",
    "retfq",
    // Jumps to rax with rdi as the only argument, an empty TLB, a return address of 0 and nothing else.
    ".global go",
    "go:",
    "mov rcx, cr3",
    "mov cr3, rcx",
    "push 2",
    "popfq",
    "push 0",
    "push rax",
    "xor eax, eax",
    "xor ebx, ebx",
    "xor ecx, ecx",
    "xor edx, edx",
    "xor esi, esi",
    "xor ebp, ebp",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "xor r10d, r10d",
    "xor r11d, r11d",
    "xor r12d, r12d",
    "xor r13d, r13d",
    "xor r14d, r14d",
    "xor r15d, r15d",
    "ret",
    hhdm = const HHDM,
);

unsafe extern "C" {
    /// Leaves the loader for the kernel: goes to `entry` on `stack` (16-byte aligned, in the HHDM), having
    /// cleared `low_entry` (in the HHDM; unless 0).
    ///
    /// # Safety
    /// The page tables in force map all three there, and low memory at its own address.
    pub fn handoff(entry: u64, stack: u64, low_entry: u64) -> !;
}

/// Where 64-bit life begins, on the loader's own stack.
extern "C" fn main(magic: u32, info: u32) -> ! {
    let Err(why) = boot::boot(magic, info);
    machine::stop(why)
}

/// A mistake in the loader itself.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(at) => machine::stop(format_args!("internal error at {}:{}", at.file(), at.line())),
        None => machine::stop("internal error"),
    }
}
