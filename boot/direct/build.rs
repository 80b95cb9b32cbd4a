//! Hands the linker script to the loader's link step, and only there: on the host the binary is an
//! ordinary program that says how to use it.

fn main() {
    println!("cargo:rerun-if-changed=direct.ld");
    let target_os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if target_os == "none" {
        let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| String::from("."));
        println!("cargo:rustc-link-arg-bins=-T{dir}/direct.ld");
    }
}
