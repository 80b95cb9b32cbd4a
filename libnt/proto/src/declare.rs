//! The macro that declares a protocol.

/// Declares a protocol: `pub Name = number "name" version N { calls }`, where a call is
/// `idempotent|once Name { field: Type, ... } -> ReplyType;`. An `idempotent` call may be sent again after the server
/// died and came back; a `once` call may not.
macro_rules! protocol {
    (
        $(#[$doc:meta])*
        pub $protocol:ident = $number:literal $name:literal version $version:literal;
        $(
            $(#[$call_doc:meta])*
            $repeat:ident $call:ident { $( $(#[$field_doc:meta])* $field:ident : $t:ty ),* $(,)? } -> $reply:ty;
        )*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $protocol;

        $(
            $(#[$call_doc])*
            #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
            #[allow(missing_docs)]
            pub struct $call { $( $(#[$field_doc])* pub $field: $t ),* }

            impl $crate::Call for $call {
                type Protocol = $protocol;
                type Reply = $reply;
                const NAME: &'static str = stringify!($call);
                fn into_request(self) -> Request {
                    Request::$call(self)
                }
                fn from_reply(reply: Reply) -> Option<$reply> {
                    match reply {
                        Reply::$call(value) => Some(value),
                        #[allow(unreachable_patterns)]
                        _ => None,
                    }
                }
            }
        )*

        /// Everything a client can ask.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum Request {
            $(
                #[doc = concat!("[`", stringify!($call), "`]")]
                $call($call),
            )*
        }

        /// Every answer, by call.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum Reply {
            $(
                #[doc = concat!("To [`", stringify!($call), "`].")]
                $call($reply),
            )*
        }

        impl $crate::Protocol for $protocol {
            const NUMBER: u8 = $number;
            const NAME: &'static str = $name;
            const VERSION: u16 = $version;
            type Request = Request;
            type Reply = Reply;
            fn is_idempotent(request: &Request) -> bool {
                match request {
                    $( Request::$call(_) => $crate::declare::protocol!(@repeat $repeat), )*
                }
            }
            fn call_name(request: &Request) -> &'static str {
                match request {
                    $( Request::$call(_) => stringify!($call), )*
                }
            }
        }
    };
    (@repeat idempotent) => { true };
    (@repeat once) => { false };
}
pub(crate) use protocol;
