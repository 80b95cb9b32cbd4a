//! Links the kernel at its fixed place in the upper half (`linker.ld`).

fn main() {
    println!("cargo:rerun-if-changed=linker.ld");
    println!("cargo:rustc-link-arg-bins=-T{}/linker.ld", env!("CARGO_MANIFEST_DIR"));
}
