//! The session manager, as programs see it.

use crate::event::Event;
use crate::handle::OwnedHandle;
use crate::{env, rpc};
use abi::arg::Handle;
use abi::status::{NtResult, STATUS_INVALID_MESSAGE, STATUS_OBJECT_NAME_NOT_FOUND};
use alloc::vec::Vec;
use proto::smss;

/// The session object that this program was given (null for none).
pub fn handle() -> Handle {
    env::standard().session
}

/// The handle a core server hands out to clients: `objmgr`'s root directory, the root object of `console` or `kd`.
/// Waits while the server is being restarted.
pub fn get_server(name: &str) -> NtResult<OwnedHandle> {
    let call = smss::GetServer { name: name.into() };
    let ((), handle) = rpc::call_on(handle(), call, None)?;
    handle.ok_or(STATUS_OBJECT_NAME_NOT_FOUND)
}

/// Registers this server's root object; clients get it with `client_access`. For servers that smss starts.
pub fn register_server(root: Handle, client_access: u32) -> NtResult {
    rpc::call_on(handle(), smss::RegisterServer { client_access }, Some(rpc::Attach::same(root))).map(drop)
}

/// An event that is set once objmgr was restarted and names must be given again.
pub fn watch_names() -> NtResult<Event> {
    let ((), handle) = rpc::call_on(handle(), smss::WatchNames {}, None)?;
    handle.map(Event::from_handle).ok_or(STATUS_INVALID_MESSAGE)
}

/// Ends a core server, which is then started again.
pub fn restart(name: &str) -> NtResult {
    rpc::call_on(handle(), smss::Restart { name: name.into() }, None).map(drop)
}

/// What smss supervises.
pub fn servers() -> NtResult<Vec<smss::ServerInfo>> {
    rpc::call_on(handle(), smss::ListServers {}, None).map(|(list, _)| list)
}

/// Ends the system (`abi::io::SHUTDOWN_...`).
pub fn shutdown(action: u32) -> NtResult {
    rpc::call_on(handle(), smss::Shutdown { action }, None).map(drop)
}

/// Reports the first prompt.
pub fn boot_mark(tsc: u64) -> NtResult {
    rpc::call_on(handle(), smss::BootMark { tsc }, None).map(drop)
}

/// The time-stamp counter at the first prompt, if there was one.
pub fn query_boot_mark() -> NtResult<Option<u64>> {
    rpc::call_on(handle(), smss::QueryBootMark {}, None).map(|(tsc, _)| (tsc != 0).then_some(tsc))
}
