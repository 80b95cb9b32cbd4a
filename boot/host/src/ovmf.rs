//! UEFI variables that keep the firmware off the serial lines.
//!
//! OVMF makes both serial ports consoles and paints its screens on them, unless the variables `ConOut` and `ConIn` already say which
//! consoles there are. [`quiet`] writes these two into a copy of the empty variable store, naming the screen and the keyboard. The
//! serial lines then carry nothing but what the kernel says. A store of a shape not known here is left as it is: the firmware is noisy
//! then, nothing more.

/// The GUID at the head of a firmware volume with variables, `EFI_SYSTEM_NV_DATA_FV_GUID`.
const VOLUME: [u8; 16] =
    [0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50];
/// `gEfiAuthenticatedVariableGuid`, which says how a variable's header looks.
const AUTHENTICATED: [u8; 16] =
    [0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92];
/// `EFI_GLOBAL_VARIABLE`.
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// Non-volatile, for boot services and the running system.
const ATTRIBUTES: u32 = 7;
const STORE_HEADER: usize = 28;

/// `PciRoot(0)/Pci(1,0)/AcpiAdr(0x80010100)`: the VGA device of a Q35 machine.
const SCREEN: &[u8] = &[
    0x02, 0x01, 0x0c, 0x00, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0, // ACPI PNP0A03, 0
    0x01, 0x01, 0x06, 0x00, 0x00, 0x01, // PCI function 0, device 1
    0x02, 0x03, 0x08, 0x00, 0x00, 0x01, 0x01, 0x80, // ACPI _ADR
    0x7f, 0xff, 0x04, 0x00, // end
];
/// `PciRoot(0)/Pci(31,0)/Acpi(PNP0303,0)`: the PS/2 keyboard.
const KEYBOARD: &[u8] = &[
    0x02, 0x01, 0x0c, 0x00, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0, // ACPI PNP0A03, 0
    0x01, 0x01, 0x06, 0x00, 0x00, 0x1f, // PCI function 0, device 31
    0x02, 0x01, 0x0c, 0x00, 0xd0, 0x41, 0x03, 0x03, 0, 0, 0, 0, // ACPI PNP0303, 0
    0x7f, 0xff, 0x04, 0x00, // end
];

/// Writes the console variables into an empty store; tells whether it could.
pub fn quiet(store: &mut [u8]) -> bool {
    let Some(mut at) = first_variable(store) else { return false };
    for (name, value) in [("ConOut", SCREEN), ("ConIn", KEYBOARD), ("ErrOut", SCREEN)] {
        let bytes = variable(name, value);
        let Some(room) = store.get_mut(at..at + bytes.len()) else { return false };
        if room.iter().any(|&byte| byte != 0xff) {
            return false;
        }
        room.copy_from_slice(&bytes);
        at += bytes.len().next_multiple_of(4);
    }
    true
}

/// Where the first variable of an authenticated store belongs.
fn first_variable(store: &[u8]) -> Option<usize> {
    if store.get(16..32)? != VOLUME {
        return None;
    }
    let header = usize::from(u16::from_le_bytes(store.get(48..50)?.try_into().ok()?));
    (store.get(header..header + 16)? == AUTHENTICATED).then_some((header + STORE_HEADER).next_multiple_of(4))
}

/// A variable with its `AUTHENTICATED_VARIABLE_HEADER`.
fn variable(name: &str, value: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = vec![0xaa, 0x55, 0x3f, 0x00]; // start, state VAR_ADDED, reserved
    bytes.extend(ATTRIBUTES.to_le_bytes());
    bytes.extend([0; 8 + 16 + 4]); // monotonic count, time stamp, key index
    bytes.extend(size(name.len()));
    bytes.extend(size(value.len()));
    bytes.extend(GLOBAL);
    bytes.extend(name);
    bytes.extend(value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Vec<u8> {
        let mut store = vec![0xff; 4096];
        store[16..32].copy_from_slice(&VOLUME);
        store[48..50].copy_from_slice(&72u16.to_le_bytes());
        store[72..88].copy_from_slice(&AUTHENTICATED);
        store
    }

    #[test]
    fn variables_go_into_an_empty_store() {
        let mut store = empty();
        assert!(quiet(&mut store));
        assert_eq!(store[100..104], [0xaa, 0x55, 0x3f, 0x00]);
        let second = 100 + variable("ConOut", SCREEN).len().next_multiple_of(4);
        assert_eq!(store[second..second + 2], [0xaa, 0x55]);
        assert!(!quiet(&mut store), "a store in use is left alone");
    }

    #[test]
    fn other_stores_are_left_alone() {
        let mut store = empty();
        store[72] ^= 1;
        let before = store.clone();
        assert!(!quiet(&mut store));
        assert_eq!(store, before);
        assert!(!quiet(&mut [0xff; 10]));
    }
}
