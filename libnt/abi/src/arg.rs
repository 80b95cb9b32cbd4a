//! Types of system-call arguments: handles, handles with required rights, and user pointers that carry
//! their direction.
//!
//! A system call's arguments are machine words. Each argument type here says how a word is to be read and
//! describes itself ([`SyscallArg`]), so that the one table in [`crate::syscalls`] yields the kernel's
//! dispatch, libnt's stubs, the reference page, the fuzzer and the names in traces. The pointer types give
//! no access to memory: the kernel copies through its user-copy module, ring 3 makes them from references.

use core::fmt;
use core::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A handle value as ring 3 sees it: a multiple of 4, or a pseudo handle (-1 process, -2 thread). 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Handle(pub u64);

impl Handle {
    /// No handle.
    pub const NULL: Handle = Handle(0);
    /// NtCurrentProcess().
    pub const CURRENT_PROCESS: Handle = Handle(u64::MAX);
    /// NtCurrentThread().
    pub const CURRENT_THREAD: Handle = Handle(u64::MAX - 1);

    /// NtCurrentProcessToken(): for queries only.
    pub const CURRENT_PROCESS_TOKEN: Handle = Handle(u64::MAX - 3);
    /// NtCurrentThreadToken(): for queries only.
    pub const CURRENT_THREAD_TOKEN: Handle = Handle(u64::MAX - 4);
    /// NtCurrentThreadEffectiveToken(): the thread's token, or else the process's; for queries only.
    pub const CURRENT_EFFECTIVE_TOKEN: Handle = Handle(u64::MAX - 5);

    /// True for [`Handle::NULL`].
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Which way the memory behind an argument is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dir {
    /// The word itself is the value.
    Value,
    /// The word is a handle.
    Handle,
    /// The kernel reads from the pointer.
    In,
    /// The kernel writes to the pointer.
    Out,
    /// The kernel reads from, then writes to the pointer.
    InOut,
}

/// What an argument type says of itself.
pub trait SyscallArg: Copy {
    /// Direction of the memory behind it.
    const DIR: Dir;
    /// Size in bytes of what is pointed to; 0 for values, and for buffers whose length is another argument.
    const SIZE: usize;
    /// For handles: the object type that is needed (see [`crate::ob::ObjectType`]; 0 is any).
    const TYPE: u8 = 0;
    /// For handles: the granted access that is needed.
    const ACCESS: u32 = 0;
    /// Reads the argument from its machine word.
    fn from_word(word: u64) -> Self;
    /// Makes the argument's machine word.
    fn to_word(self) -> u64;
}

macro_rules! value_args {
    ($($t:ty),*) => {$(
        impl SyscallArg for $t {
            const DIR: Dir = Dir::Value;
            const SIZE: usize = 0;
            fn from_word(word: u64) -> Self { word as $t }
            fn to_word(self) -> u64 { self as u64 }
        }
    )*};
}
value_args!(u8, u16, u32, u64, i32, i64, usize);

impl SyscallArg for bool {
    const DIR: Dir = Dir::Value;
    const SIZE: usize = 0;
    fn from_word(word: u64) -> Self {
        word as u8 != 0
    }
    fn to_word(self) -> u64 {
        u64::from(self)
    }
}

impl SyscallArg for Handle {
    const DIR: Dir = Dir::Handle;
    const SIZE: usize = 0;
    fn from_word(word: u64) -> Self {
        Handle(word)
    }
    fn to_word(self) -> u64 {
        self.0
    }
}

/// A handle argument that must be to an object of type `TYPE` with all bits of `ACCESS` granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Req<const TYPE: u8, const ACCESS: u32>(pub Handle);

impl<const TYPE: u8, const ACCESS: u32> SyscallArg for Req<TYPE, ACCESS> {
    const DIR: Dir = Dir::Handle;
    const SIZE: usize = 0;
    const TYPE: u8 = TYPE;
    const ACCESS: u32 = ACCESS;
    fn from_word(word: u64) -> Self {
        Req(Handle(word))
    }
    fn to_word(self) -> u64 {
        self.0.0
    }
}

impl<const TYPE: u8, const ACCESS: u32> From<Handle> for Req<TYPE, ACCESS> {
    fn from(handle: Handle) -> Self {
        Req(handle)
    }
}

macro_rules! pointer_arg {
    ($(#[$doc:meta])* $name:ident, $dir:expr, $bound:path) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub struct $name<T>(u64, PhantomData<*const T>);

        impl<T> $name<T> {
            /// The null pointer: the optional argument is absent.
            pub const NULL: Self = Self(0, PhantomData);
            /// Makes the argument from an address in the caller's address space.
            pub const fn at(address: u64) -> Self {
                Self(address, PhantomData)
            }
            /// The address.
            pub const fn address(self) -> u64 {
                self.0
            }
            /// True when the optional argument is absent.
            pub const fn is_null(self) -> bool {
                self.0 == 0
            }
            /// The same address seen as a pointer to another type.
            pub const fn cast<U>(self) -> $name<U> {
                $name(self.0, PhantomData)
            }
        }
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T> Copy for $name<T> {}
        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        impl<T: $bound> SyscallArg for $name<T> {
            const DIR: Dir = $dir;
            const SIZE: usize = size_of::<T>();
            fn from_word(word: u64) -> Self {
                Self(word, PhantomData)
            }
            fn to_word(self) -> u64 {
                self.0
            }
        }
    };
}

/// Types that may be copied between the kernel and ring 3: any bytes are valid, and there is no padding.
pub trait Pod: FromBytes + IntoBytes + Immutable + KnownLayout + Copy {}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy> Pod for T {}

pointer_arg!(
    /// A pointer the kernel reads one `T` from (or a buffer, for `T = u8` with a length argument).
    In, Dir::In, Pod
);
pointer_arg!(
    /// A pointer the kernel writes one `T` to (or a buffer, for `T = u8` with a length argument).
    Out, Dir::Out, Pod
);
pointer_arg!(
    /// A pointer the kernel reads from and writes to.
    InOut, Dir::InOut, Pod
);

impl<T> From<&T> for In<T> {
    fn from(value: &T) -> Self {
        Self::at(core::ptr::from_ref(value) as u64)
    }
}
impl<T> From<Option<&T>> for In<T> {
    fn from(value: Option<&T>) -> Self {
        value.map_or(Self::NULL, Self::from)
    }
}
impl<T> From<&mut T> for Out<T> {
    fn from(value: &mut T) -> Self {
        Self::at(core::ptr::from_mut(value) as u64)
    }
}
impl<T> From<Option<&mut T>> for Out<T> {
    fn from(value: Option<&mut T>) -> Self {
        value.map_or(Self::NULL, Self::from)
    }
}
impl<T> From<&mut T> for InOut<T> {
    fn from(value: &mut T) -> Self {
        Self::at(core::ptr::from_mut(value) as u64)
    }
}
impl<T> From<Option<&mut T>> for InOut<T> {
    fn from(value: Option<&mut T>) -> Self {
        value.map_or(Self::NULL, Self::from)
    }
}
