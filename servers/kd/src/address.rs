//! Addresses as they are typed: hexadecimal, or a symbol with an offset.

use crate::execute::System;
use crate::symbols::{KERNEL, Symbols};
use alloc::format;
use alloc::string::String;

/// A hexadecimal number, with or without `0x`, with WinDbg's backquote between its halves.
pub fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X")).unwrap_or(text);
    let mut value = 0u64;
    let mut any = false;
    for c in digits.chars().filter(|c| *c != '`') {
        value = value.checked_mul(16)?.checked_add(c.to_digit(16)?.into())?;
        any = true;
    }
    any.then_some(value)
}

/// What `MODULE!NAME`, `MODULE!NAME+OFFSET` or a number means. A name without a module is looked for in the kernel and in
/// `image`. The error is what to tell the person.
pub fn evaluate<S: System>(
    text: &str,
    image: &str,
    symbols: &mut Symbols,
    system: &mut S,
) -> Result<u64, String> {
    if let Some(number) = hexadecimal(text) {
        return Ok(number);
    }
    let (name, offset) = match text.rsplit_once('+') {
        Some((name, offset)) => match hexadecimal(offset) {
            Some(offset) => (name, offset),
            None => return Err(format!("'{offset}' is not an offset (hexadecimal)")),
        },
        None => (text, 0),
    };
    let (modules, name) = match name.split_once('!') {
        Some((module, name)) => ([module, ""], name),
        None => ([KERNEL, image], name),
    };
    for module in modules.into_iter().filter(|module| !module.is_empty()) {
        let found =
            symbols.module(module, system).map_err(|status| format!("symbols of {module}: {status}"))?;
        if let Some(symbol) = found.and_then(|module| module.find(name)) {
            return Ok(symbol.address.wrapping_add(offset));
        }
    }
    Err(format!("'{text}' is neither an address (hexadecimal) nor a symbol; x MODULE!*PART* looks for one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(hexadecimal("fffff800`00001000"), Some(0xFFFF_F800_0000_1000));
        assert_eq!(hexadecimal("0x10"), Some(16));
        assert_eq!(hexadecimal("`"), None);
        assert_eq!(hexadecimal(""), None);
        assert_eq!(hexadecimal("0x"), None);
        assert_eq!(hexadecimal("10000000000000000"), None);
        assert_eq!(hexadecimal("nt"), None);
    }
}
