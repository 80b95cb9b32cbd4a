//! Message zones: memory of this process in which payloads lie that wait to be received on a port.

use super::{ConnectionPort, Port};
use crate::section::View;
use crate::sys::calls;
use abi::alpc::{ALPC_MESSAGE_ZONE_INFORMATION, AlpcPortMessageZoneInformation};
use abi::arg::Handle;
use abi::status::{NtResult, STATUS_INVALID_PARAMETER};
use zerocopy::IntoBytes;

fn set(port: Handle, view: Option<&View>) -> NtResult {
    let information = match view {
        Some(view) => AlpcPortMessageZoneInformation {
            buffer: view.base(),
            size: view.size().try_into().map_err(|_| STATUS_INVALID_PARAMETER)?,
            reserved: 0,
        },
        None => AlpcPortMessageZoneInformation::default(),
    };
    calls::set_port(port, ALPC_MESSAGE_ZONE_INFORMATION, information.as_bytes())
}

macro_rules! zones {
    ($($port:ty),*) => {$(
        impl $port {
            /// Payloads of messages that are sent to the port lie in a view from now on while they wait to be received, as far
            /// as there is room; or in the kernel's pool again (`None`). The kernel keeps the memory, whatever becomes of
            /// the view.
            ///
            /// # Errors
            /// STATUS_PORT_ALREADY_SET: the port has a zone. STATUS_INVALID_PARAMETER: it has none to be taken away, or the
            /// view is smaller than a page or larger than 1 MiB. STATUS_ACCESS_VIOLATION: it is read-only.
            pub fn set_message_zone(&self, view: Option<&View>) -> NtResult {
                set(self.handle(), view)
            }
        }
    )*};
}

zones!(Port, ConnectionPort);
