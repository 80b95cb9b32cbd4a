//! Typed access to user memory for handlers.

use crate::arch::usercopy;
use abi::NtStatus;
use abi::arg::{In, InOut, Out, Pod};
use abi::ob::{OBJ_VALID_ATTRIBUTES, ObjectAttributes};
use abi::se::{SID_HEAD, Sid};
use abi::status::*;

/// Reads one value.
pub fn read<T: Pod>(from: In<T>) -> Result<T, NtStatus> {
    let mut value = T::new_zeroed();
    if usercopy::from_user(value.as_mut_bytes(), from.address()) {
        Ok(value)
    } else {
        Err(STATUS_ACCESS_VIOLATION)
    }
}

/// Reads one value of an in-out argument.
pub fn read_inout<T: Pod>(from: InOut<T>) -> Result<T, NtStatus> {
    read(In::at(from.address()))
}

/// Writes one value.
pub fn write<T: Pod>(to: Out<T>, value: &T) -> Result<(), NtStatus> {
    write_bytes(to.address(), value.as_bytes())
}

/// Writes one value of an in-out argument.
pub fn write_inout<T: Pod>(to: InOut<T>, value: &T) -> Result<(), NtStatus> {
    write_bytes(to.address(), value.as_bytes())
}

/// Writes one value, if the caller wants it.
pub fn write_opt<T: Pod>(to: Out<T>, value: &T) -> Result<(), NtStatus> {
    if to.is_null() { Ok(()) } else { write(to, value) }
}

/// Writes bytes.
pub fn write_bytes(to: u64, bytes: &[u8]) -> Result<(), NtStatus> {
    if usercopy::to_user(to, bytes) { Ok(()) } else { Err(STATUS_ACCESS_VIOLATION) }
}

/// Reads bytes.
pub fn read_bytes(from: u64, bytes: &mut [u8]) -> Result<(), NtStatus> {
    if usercopy::from_user(bytes, from) { Ok(()) } else { Err(STATUS_ACCESS_VIOLATION) }
}

/// OBJ_ attributes of an optional OBJECT_ATTRIBUTES that must be nameless.
pub fn attributes(from: In<ObjectAttributes>) -> Result<u32, NtStatus> {
    if from.is_null() {
        return Ok(0);
    }
    let value = object_attributes(from)?;
    if !value.root_directory.is_null() {
        return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
    }
    Ok(value.attributes)
}

/// A checked OBJECT_ATTRIBUTES without a name.
pub fn object_attributes(from: In<ObjectAttributes>) -> Result<ObjectAttributes, NtStatus> {
    let value = read(from)?;
    if value.length as usize != size_of::<ObjectAttributes>() || value.attributes & !OBJ_VALID_ATTRIBUTES != 0
    {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if value.object_name != 0 {
        return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
    }
    Ok(value)
}

/// Reads a SID. STATUS_INVALID_SID when it is none.
pub fn sid(from: u64) -> Result<Sid, NtStatus> {
    let mut bytes = [0; size_of::<Sid>()];
    let (head, rest) = bytes.split_at_mut(SID_HEAD);
    read_bytes(from, head)?;
    let head = *head.first_chunk().ok_or(STATUS_INVALID_SID)?;
    let length = Sid::length_of(head).ok_or(STATUS_INVALID_SID)?;
    read_bytes(from.wrapping_add(SID_HEAD as u64), &mut rest[..length - SID_HEAD])?;
    Sid::parse(&bytes[..length]).ok_or(STATUS_INVALID_SID)
}

/// An optional time-out.
pub fn timeout(from: In<i64>) -> Result<Option<i64>, NtStatus> {
    if from.is_null() { Ok(None) } else { read(from).map(Some) }
}

/// Gives the answer to a query of exactly one structure: its length must be the caller's (`exact`), or fit.
pub fn answer<T: Pod>(value: &T, to: Out<u8>, length: u64, exact: bool) -> Result<(), NtStatus> {
    let size = size_of::<T>() as u64;
    if (exact && length != size) || length < size {
        return Err(STATUS_INFO_LENGTH_MISMATCH);
    }
    write_bytes(to.address(), value.as_bytes())
}

/// Reads the input of a set call, whose length must be that of the structure.
pub fn input<T: Pod>(from: In<u8>, length: u32) -> Result<T, NtStatus> {
    if length as usize != size_of::<T>() {
        return Err(STATUS_INFO_LENGTH_MISMATCH);
    }
    read(from.cast())
}

/// Reads a short UTF-8 name.
pub fn name<const N: usize>(from: In<u8>, length: u32) -> Result<heapless::String<N>, NtStatus> {
    if length as usize > N {
        return Err(STATUS_INFO_LENGTH_MISMATCH);
    }
    let mut bytes = [0; N];
    let bytes = &mut bytes[..length as usize];
    read_bytes(from.address(), bytes)?;
    let text = core::str::from_utf8(bytes).map_err(|_| STATUS_INVALID_PARAMETER)?;
    if text.chars().any(char::is_control) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    text.try_into().map_err(|_| STATUS_INVALID_PARAMETER)
}
