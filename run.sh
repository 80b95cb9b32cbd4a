#!/usr/bin/env bash
# The one door to Antares: ./run.sh builds the system and boots it; ./run.sh help explains the rest.
#
# This script does what comes before any Rust code can run: it looks for everything that is needed, names
# what is missing in one line, installs it, chooses a Rust toolchain and builds the host tool (boot/host),
# which does the rest. What it chose reaches the tool in ANTARES_* variables.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -u -o pipefail
export ANTARES_CWD="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
export ANTARES_ROOT="$PWD"

# Settings of other projects that would reach into the build.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET_DIR RUSTC_BOOTSTRAP RUSTC
export -n CARGO_TARGET_DIR 2>/dev/null; unset CARGO_TARGET_DIR

MIN_RUST=88 # Rust 1.88, as rust-version in Cargo.toml
TARGET=x86_64-unknown-none
LIMINE_URL=https://github.com/limine-bootloader/limine
LIMINE_TAG=v8.2.0-binary
LIMINE_SUMS='7bf99f9ffdbce1443bd7f148f01bee47d4a587f58fb170e42dab29790e6d831a  BOOTX64.EFI
3b889bf946b1f248c93efa90fd1718aad79f867e8184f9167a0b9875a0c41191  limine-bios-cd.bin
8382e36ff9d51e52e9160842f834a346028edf9e0319b1c728d290e3044a44a7  limine-bios.sys
1801a9034420fb1b17bdcdedee11f29c946169abac103b161e7bfd01d98caf29  limine-uefi-cd.bin'

say() { printf 'antares: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

help() {
    cat <<'TEXT'
Antares: Windows NT's mechanisms as a microkernel system. Everything goes through this script.

  ./run.sh [OPTIONS]         build what changed and boot it, the system console on this terminal
                             leave: type `shutdown` in the shell, or press Ctrl-A and then X
  ./run.sh kd                the debug console of the running system (from another terminal)
  ./run.sh kd 'COMMAND'...   the same for a script: type each command, print what it prints
  ./run.sh exec [--kd 'COMMAND']... 'COMMAND'...
                             boot without a window, run the commands, shut down; exits with the
                             status of the last one (`./run.sh exec --help` has all of it)
  ./run.sh trace --out FILE 'COMMAND'...
                             the same, and ALPC traffic meanwhile goes to FILE: .html for a browser, .json for
                             Perfetto, .pcapng for Wireshark, .jsonl (`./run.sh trace --help` has all of it)
  ./run.sh new NAME          a new program in apps/NAME from a template; the next ./run.sh has it
  ./run.sh test [FILTER]     unit tests and system tests; the last line is `N passed, N failed`
  ./run.sh bench [--json]    guest instructions per operation, beside Linux
  ./run.sh bench --profile [NAME] [--json]
                             which functions the instructions of an operation are in (alpc_rt_32)
  ./run.sh build             compile kernel, servers and apps (target/, build/boot/)
  ./run.sh iso               the same and make build/antares.iso (BIOS and UEFI)
  ./run.sh doctor            what was found on this machine and what was chosen
  ./run.sh clean             remove target/ and build/
  ./run.sh help              this page

Options of ./run.sh, exec, and (where they mean something) test and bench:
  --boot bios|uefi|direct    how to start it: the Limine ISO under SeaBIOS (the default) or under UEFI,
                             or QEMU's -kernel with the loader in boot/direct (the default without Limine)
  --smp N   --mem MiB        processors (2) and memory (512)
  --cmdline 'TEXT'           the kernel command line
  --kvm                      use KVM even if the processor does not seem to have it
  --gui                      with QEMU's window (the framebuffer shows the console too)
  --yes                      install missing packages without asking

Environment: LIMINE_DIR (a folder with Limine 8.2's binary files).
Documentation: README.md, docs/boot.md.
TEXT
}

# ---- What this machine has -------------------------------------------------------------------------

# version_ok PROGRAM: does `PROGRAM -V` say 1.88 or newer?
version_ok() {
    local text minor
    text=$("$1" -V 2>/dev/null) || return 1
    minor=${text#* 1.}; minor=${minor%%.*}
    [[ "$minor" =~ ^[0-9]+$ ]] && [ "$minor" -ge "$MIN_RUST" ]
}

cc_works() { have cc && echo 'int main(void){return 0;}' | cc -x c -o /dev/null - >/dev/null 2>&1; }

limine_ok() { [ -n "$1" ] && [ -d "$1" ] && (cd "$1" && echo "$LIMINE_SUMS" | sha256sum --check --status 2>/dev/null); }

CACHE_LIMINE="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/antares/limine"
LIMINE=''
find_limine() {
    if [ -n "${LIMINE_DIR:-}" ]; then
        if limine_ok "$LIMINE_DIR"; then LIMINE=$LIMINE_DIR
        else say "LIMINE_DIR=$LIMINE_DIR does not hold the files of Limine $LIMINE_TAG (sha256 differs); looking elsewhere"; fi
    fi
    [ -n "$LIMINE" ] || { limine_ok "$CACHE_LIMINE" && LIMINE=$CACHE_LIMINE; }
    [ -n "$LIMINE" ]
}

fetch_limine() {
    have git || return 1
    say "fetching Limine $LIMINE_TAG (once, 4 MB) into $CACHE_LIMINE"
    local temp="$CACHE_LIMINE.new.$$"
    mkdir -p "$(dirname "$CACHE_LIMINE")" || return 1
    GIT_TERMINAL_PROMPT=0 timeout 120 git -c advice.detachedHead=false clone --quiet --depth=1 --branch="$LIMINE_TAG" "$LIMINE_URL" "$temp" >&2
    if limine_ok "$temp"; then
        rm -rf "$temp/.git" "$CACHE_LIMINE" && mv "$temp" "$CACHE_LIMINE" && LIMINE=$CACHE_LIMINE
    else
        rm -rf "$temp"; return 1
    fi
}

OVMF_CODE='' OVMF_VARS=''
find_ovmf() {
    local pair
    for pair in /usr/share/OVMF/OVMF_CODE_4M.fd:/usr/share/OVMF/OVMF_VARS_4M.fd /usr/share/OVMF/OVMF_CODE.fd:/usr/share/OVMF/OVMF_VARS.fd \
        /usr/share/edk2/x64/OVMF_CODE.4m.fd:/usr/share/edk2/x64/OVMF_VARS.4m.fd /usr/share/edk2/ovmf/OVMF_CODE.fd:/usr/share/edk2/ovmf/OVMF_VARS.fd; do
        if [ -e "${pair%%:*}" ] && [ -e "${pair#*:}" ]; then OVMF_CODE=${pair%%:*} OVMF_VARS=${pair#*:}; return 0; fi
    done
    return 1
}

# The host toolchain: an ordinary cargo and rustc, 1.88 or newer. Empty HOST_RUSTC: cargo finds its own.
HOST_CARGO='' HOST_RUSTC=''
find_host_rust() {
    local cargo
    HOST_CARGO='' HOST_RUSTC=''
    for cargo in "$(command -v cargo)" "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo" /usr/bin/cargo /usr/bin/cargo-1.[89]? /usr/bin/cargo-1.[1-9]??; do
        [ -x "$cargo" ] && version_ok "$cargo" || continue
        case "$cargo" in
        */cargo-1.*) HOST_RUSTC=${cargo/cargo-1/rustc-1} ;;
        /usr/bin/cargo) HOST_RUSTC=/usr/bin/rustc ;;
        *) HOST_RUSTC='' ;;
        esac
        [ -z "$HOST_RUSTC" ] || version_ok "$HOST_RUSTC" || continue
        HOST_CARGO=$cargo
        return 0
    done
    return 1
}

sysroot_of() { "$1" --print sysroot 2>/dev/null; }

# The guest toolchain. Way 1: a toolchain with the target installed, way 2: a rustc with the sources of
# `core` beside it, which builds them itself (-Zbuild-std).
GUEST_WAY='' GUEST_CARGO='' GUEST_RUSTC='' GUEST_LINKER=''
find_guest_rust() {
    local rustc rustup
    GUEST_WAY=''
    [ -n "$HOST_CARGO" ] || return 1
    rustc=${HOST_RUSTC:-$(dirname "$HOST_CARGO")/rustc}
    [ -x "$rustc" ] || rustc=$(command -v rustc)
    # A rustup toolchain's own files come before its proxy: the same program, started faster.
    if [ -n "$rustc" ] && version_ok "$rustc" && [ -d "$(sysroot_of "$rustc")/lib/rustlib/$TARGET/lib" ]; then
        GUEST_WAY=1 GUEST_CARGO=$HOST_CARGO GUEST_RUSTC=$HOST_RUSTC GUEST_LINKER=''
        return 0
    fi
    rustup=$(find_rustup)
    if [ -n "$rustup" ] && [ -n "$rustc" ] && version_ok "$rustc" && [ ! -e build/no-rustup-target ]; then
        say "fetching Rust's $TARGET target with rustup (once, about 15 MB)"
        if timeout 180 "$rustup" target add "$TARGET" >&2 2>&1 && [ -d "$(sysroot_of "$rustc")/lib/rustlib/$TARGET/lib" ]; then
            GUEST_WAY=1 GUEST_CARGO=$HOST_CARGO GUEST_RUSTC=$HOST_RUSTC GUEST_LINKER=''
            return 0
        fi
        mkdir -p build && : >build/no-rustup-target
        say "rustup cannot fetch the target here; using a distribution's Rust with the sources of core instead"
    fi
    for rustc in "$(command -v rustc)" /usr/bin/rustc /usr/bin/rustc-1.[89]? /usr/bin/rustc-1.[1-9]??; do
        [ -x "$rustc" ] && version_ok "$rustc" || continue
        [ -e "$(sysroot_of "$rustc")/lib/rustlib/src/rust/library/core/Cargo.toml" ] || continue
        find_linker || continue
        GUEST_WAY=2 GUEST_CARGO=$HOST_CARGO GUEST_RUSTC=$rustc
        return 0
    done
    return 1
}

find_rustup() {
    local rustup
    for rustup in "$(command -v rustup)" "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/rustup"; do
        if [ -x "$rustup" ]; then echo "$rustup"; return 0; fi
    done
    return 1
}

find_linker() {
    local linker
    GUEST_LINKER=''
    for linker in "${RUSTUP_HOME:-${HOME:-/root}/.rustup}"/toolchains/*/lib/rustlib/*/bin/rust-lld "$(command -v rust-lld)" \
        "$(command -v ld.lld)" /usr/bin/ld.lld-[0-9]* "$(command -v ld)"; do
        if [ -x "$linker" ]; then GUEST_LINKER=$linker; return 0; fi
    done
    return 1
}

# ---- What is missing, and getting it ---------------------------------------------------------------

MISSING=() # what a person calls it
PACKAGES=() # what apt calls it

# check NEED...: fill MISSING and PACKAGES for a list of needs.
check() {
    local need
    MISSING=() PACKAGES=()
    for need in "$@"; do
        case "$need" in
        qemu) have qemu-system-x86_64 || lack 'QEMU' qemu-system-x86 ;;
        gui) [ -e /usr/lib/x86_64-linux-gnu/qemu/ui-gtk.so ] || ! have dpkg || lack "QEMU's window" qemu-system-gui ;;
        tshark) have tshark || lack 'tshark (reads traces in tests)' tshark ;;
        chromium) have chromium || have chromium-browser || have google-chrome || lack 'Chromium (shows pages in tests)' chromium ;;
        xorriso) have xorriso || lack 'xorriso (makes the ISO)' xorriso ;;
        limine) find_limine || have git || ! can_install || lack 'git (fetches the Limine boot loader)' git ;;
        ovmf) find_ovmf || lack 'OVMF (UEFI for QEMU)' ovmf ;;
        cc) cc_works || lack 'a C compiler with its library (links the host tool)' gcc libc6-dev ;;
        certs) [ -e /etc/ssl/certs/ca-certificates.crt ] || ! have apt-get || lack 'TLS certificates' ca-certificates ;;
        rust) find_host_rust && find_guest_rust || lack 'Rust 1.88 or newer that can build for x86_64-unknown-none' RUST ;;
        esac
    done
    [ ${#MISSING[@]} -eq 0 ]
}
# Without root, git is not worth an error: direct boot does without Limine.
can_install() { have apt-get && { [ "$(id -u)" = 0 ] || have sudo; }; }
lack() { MISSING+=("$1"); shift; PACKAGES+=("$@"); }

# apt_version PACKAGE: the minor number of the Rust that apt would install, or nothing.
apt_rust_minor() {
    local version
    version=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *//p')
    version=${version#*:}
    case "$version" in 1.*) version=${version#1.}; echo "${version%%.*}" ;; esac
}

# rust_packages: which packages give this machine a Rust that can build the guest.
rust_packages() {
    local minor n
    minor=$(apt_rust_minor rustc-web)
    if [ "${minor:-0}" -ge "$MIN_RUST" ]; then
        echo rustc-web rust-web-src
        [ -n "$HOST_CARGO" ] || echo cargo-web
        return 0
    fi
    n=$(apt-cache search --names-only '^rustc-1\.[0-9]+$' 2>/dev/null | sed -n 's/^rustc-1\.\([0-9]*\) .*/\1/p' | sort -n | tail -1)
    if [ "${n:-0}" -ge "$MIN_RUST" ]; then echo "rustc-1.$n" "cargo-1.$n" "rust-1.$n-src"; return 0; fi
    minor=$(apt_rust_minor rustc)
    if [ "${minor:-0}" -ge "$MIN_RUST" ]; then echo rustc cargo rust-src; return 0; fi
    if [ -z "$(find_rustup)" ] && [ -n "$(apt-cache policy rustup 2>/dev/null | sed -n 's/^ *Candidate: *[0-9].*/yes/p')" ]; then echo rustup; return 0; fi
    return 1
}

sentence() { local text=$1; shift; while [ $# -gt 0 ]; do text+=", $1"; shift; done; echo "$text"; }

install() {
    local sudo=() packages=() package rust answer
    say "missing: $(sentence "${MISSING[@]}")"
    have apt-get || die "this is not Debian or Ubuntu, so install these with your own package manager and run this again (Rust: https://rustup.rs)"
    if [ "$(id -u)" != 0 ]; then
        have sudo || die "installing needs root, and there is no sudo: as root, run ./run.sh doctor --yes, then this again"
        sudo=(sudo)
        if [ -t 0 ] && [ -t 2 ]; then
            if [ "$YES" = 0 ]; then
                read -r -p "antares: install them with sudo apt-get? [Y/n] " answer || answer=n
                case "$answer" in '' | y | Y | yes) ;; *) die "nothing was installed" ;; esac
            fi
        else
            sudo=(sudo -n)
        fi
    fi
    mkdir -p build
    say "updating the package lists (apt-get update; log: build/apt.log)"
    "${sudo[@]}" apt-get update >build/apt.log 2>&1 || say "apt-get update failed (see build/apt.log); going on with the lists this machine has"
    for package in "${PACKAGES[@]}"; do
        if [ "$package" = RUST ]; then
            rust=$(rust_packages) || die "this distribution has no Rust 1.$MIN_RUST: install rustup (https://rustup.rs: curl https://sh.rustup.rs | sh), then run this again"
            read -r -a rust <<<"$(echo $rust)"
            packages+=("${rust[@]}")
        else
            packages+=("$package")
        fi
    done
    say "installing: ${packages[*]} (some minutes if Rust is among them)"
    if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" >>build/apt.log 2>&1; then
        tail -5 build/apt.log >&2
        die "apt-get could not install them (build/apt.log has it all): sudo apt-get install ${packages[*]}"
    fi
    hash -r
    case " ${packages[*]} " in
    *' rustup '*) say "installing Rust with rustup"; rustup default stable >>build/apt.log 2>&1 || die "rustup could not install Rust (build/apt.log)" ;;
    esac
    rm -f build/no-rustup-target
    check "${NEEDS[@]}" || die "still missing after installing: $(sentence "${MISSING[@]}") (build/apt.log tells what apt did)"
}

NEEDS=()
prepare() {
    NEEDS=("$@")
    check "${NEEDS[@]}" || install
    case " ${NEEDS[*]} " in
    *' limine '*)
        if [ -z "$LIMINE" ] && { [ -e build/no-limine ] || ! fetch_limine; }; then
            mkdir -p build && : >build/no-limine
            local again='LIMINE_DIR=FOLDER names a copy; rm build/no-limine tries the network again'
            case "$BOOT" in
            bios | uefi) die "Limine cannot be had here, and --boot $BOOT needs it; --boot direct does without ($again)" ;;
            esac
            say "Limine cannot be had here, so no ISO: direct boot starts the same kernel ($again)"
        fi
        ;;
    esac
}

doctor() {
    local missing=()
    check "${NEEDS[@]}" || missing=("${MISSING[@]}")
    find_ovmf
    find_limine
    row() { printf '%-12s %s\n' "$1" "$2"; }
    row system "$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME"), $(nproc) processors, $(awk '/MemTotal/ {printf "%d MiB", $2 / 1024}' /proc/meminfo)"
    row qemu "$(have qemu-system-x86_64 && qemu-system-x86_64 --version | head -1 || echo missing)"
    row accelerator "$(accel_words)"
    row 'C compiler' "$(cc_works && cc --version | head -1 || echo missing)"
    row 'host rust' "${HOST_CARGO:-missing}${HOST_CARGO:+ ($("$HOST_CARGO" -V)${HOST_RUSTC:+, $("$HOST_RUSTC" -V)})}"
    case "$GUEST_WAY" in
    1) row 'guest rust' "way 1: the toolchain's own $TARGET target" ;;
    2) row 'guest rust' "way 2: $GUEST_RUSTC ($("$GUEST_RUSTC" -V)) builds core from its sources" ;;
    *) row 'guest rust' missing ;;
    esac
    row linker "${GUEST_LINKER:-$([ "$GUEST_WAY" = 1 ] && echo "the toolchain's rust-lld" || echo missing)}"
    row xorriso "$(have xorriso && xorriso --version 2>/dev/null | sed -n 's/^xorriso version *: *//p' || echo missing)"
    row limine "${LIMINE:-not here yet: fetched from $LIMINE_URL when an ISO is made}"
    row uefi "${OVMF_CODE:-not installed (package ovmf; only --boot uefi and test need it)}"
    row 'boots by' "$([ -n "$LIMINE" ] && echo 'the Limine ISO under SeaBIOS' || echo 'direct boot, until Limine is here')"
    if [ ${#missing[@]} -gt 0 ]; then
        row missing "$(sentence "${missing[@]}")"
        say "./run.sh installs what is missing"
        return 1
    fi
    echo 'all is there'
}

accel_words() {
    if ! grep -qwE 'vmx|svm' /proc/cpuinfo; then echo 'TCG (emulation): the processor shows no vmx or svm'
    elif [ ! -w /dev/kvm ]; then echo 'TCG (emulation): /dev/kvm is not writable for this user'
    else echo 'KVM for ./run.sh; exec, test and bench use TCG, so that they do the same everywhere'; fi
}

# ---- The command line ------------------------------------------------------------------------------

YES=0 BOOT='' COMMAND='' GUI=0
ARGS=()
previous=''
for arg in "$@"; do
    if [ "$arg" = --yes ] && [ "$previous" != --kd ]; then YES=1; previous=''; continue; fi
    case "$previous" in
    --boot) BOOT=$arg ;;
    esac
    case "$arg" in
    --boot=*) BOOT=${arg#--boot=} ;;
    --gui) GUI=1 ;;
    esac
    # The first word that is no option is the subcommand; options with a value take one word more.
    case "$previous" in
    --boot | --smp | --mem | --cmdline | --timeout | --keep-logs | --kd | --out | --filter | --payload | --records) ;;
    *) case "$arg" in
        -h | --help) [ -n "$COMMAND" ] || COMMAND=help ;;
        -*) ;;
        *) [ -n "$COMMAND" ] || COMMAND=$arg ;;
        esac ;;
    esac
    previous=$arg
    ARGS+=("$arg")
done

case "${COMMAND:-boot}" in
help) help; exit 0 ;;
clean) rm -rf target build; exit 0 ;;
doctor)
    NEEDS=(certs cc rust qemu xorriso limine)
    if [ "$YES" = 1 ]; then check "${NEEDS[@]}" || install; fi
    doctor; exit ;;
kd | new) NEEDS=(certs cc rust) ;;
build) NEEDS=(certs cc rust) ;;
iso) NEEDS=(certs cc rust xorriso limine) ;;
test) NEEDS=(certs cc rust qemu xorriso limine ovmf tshark chromium) ;;
bench) NEEDS=(certs cc rust qemu) ;;
boot | exec | trace)
    NEEDS=(certs cc rust qemu)
    case "$BOOT" in
    direct) ;;
    uefi) NEEDS+=(xorriso limine ovmf) ;;
    *) NEEDS+=(xorriso limine) ;;
    esac
    [ "$GUI" = 0 ] || NEEDS+=(gui)
    ;;
*) say "there is no \`$COMMAND\` here; ./run.sh help lists what there is"; exit 2 ;;
esac

case " ${ARGS[*]-} " in
*' --help '* | *' -h '*) NEEDS=(certs cc rust) ;;
esac
prepare "${NEEDS[@]}"

export ANTARES_LIMINE="$LIMINE" ANTARES_OVMF_CODE="$OVMF_CODE" ANTARES_OVMF_VARS="$OVMF_VARS"
export ANTARES_HOST_CARGO="$HOST_CARGO" ANTARES_HOST_RUSTC="$HOST_RUSTC"
export ANTARES_GUEST_WAY="$GUEST_WAY" ANTARES_GUEST_CARGO="$GUEST_CARGO" ANTARES_GUEST_RUSTC="$GUEST_RUSTC" ANTARES_GUEST_LINKER="$GUEST_LINKER"

TOOL=target/tools/debug/antares
[ -x "$TOOL" ] || say "building the host tool (once, under a minute)"
[ -z "$HOST_RUSTC" ] || export RUSTC="$HOST_RUSTC"
"$HOST_CARGO" build --quiet --package antares-host --target-dir target/tools ||
    die "cargo cannot build the host tool (boot/host); its messages above say why (no network: cargo needs crates.io once)"
unset RUSTC
exec "$TOOL" ${ARGS[@]+"${ARGS[@]}"}
