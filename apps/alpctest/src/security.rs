//! Whom messages come from: tokens, impersonation, security contexts, senders, requirements to servers.
//!
//! The server of these tests is this program, which runs as the system. A client of another user is a thread that
//! impersonates that user, or a child with that user's token.

use crate::pair::{self, CONTEXT, LONG, expect, note, text};
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::ob::*;
use libnt::abi::se::*;
use libnt::alpc::security::*;
use libnt::alpc::{ConnectionPort, Message, Port};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::process::{self, Process};
use libnt::sys::calls::{self, Buffer};
use libnt::sys::security as raw;
use libnt::sys::security::NewToken;
use libnt::thread::{self, JoinHandle};
use libnt::token::{self, Token};
use testkit::Test;
use testkit::record::{self, Id};

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("token/inherited", inherited);
    test.case("token/created", created);
    test.case("token/duplicated", duplicated);
    test.case("token/privileges", privileges);
    test.case("token/of-a-thread", of_a_thread);
    test.case("token/of-a-process", of_a_process);
    test.case("security/static", static_tracking);
    test.case("security/dynamic", dynamic_tracking);
    test.case("security/levels", levels);
    test.case("security/not-allowed", not_allowed);
    test.case("security/impersonate-flags", impersonate_flags);
    test.case("security/no-impersonate", no_impersonate);
    test.case("security/chain", chain);
    test.case("security/server-object", server_object);
    test.case("security/connection-request", connection_request);
    test.case("security/untrusted-server", untrusted_server);
    test.case("security/port-attributes", port_attributes);
    test.case("security/contexts", contexts);
    test.case("security/context-revoked", context_revoked);
    test.case("security/attribute-refused", attribute_refused);
    test.case("security/token-attribute", token_attribute);
    test.case("security/message-queries", message_queries);
    test.case("security/connected-sid", connected);
    test.case("security/sender-process", sender_process);
    test.case("security/sender-thread", sender_thread);
    test.case("security/sender-refused", sender_refused);
    test.case("security/container", container);
    test.case("security/required-server", required_server);
    test.case("security/hostile-requirements", hostile_requirements);
}

/// What children do.
pub fn child(role: &str) -> NtResult {
    match role {
        "serve" => serve_untrusted(),
        _ => Err(STATUS_INVALID_PARAMETER),
    }
}

const ANNA: Sid = Sid::new(5, &[21, 7, 7, 7, 1001]);
const BERT: Sid = Sid::new(5, &[21, 7, 7, 7, 1002]);
const ANNAS_LOGON: Luid = Luid::from_u64(0x1_0000_0001);

/// Turns a privilege of this program on while `work` runs.
fn with_privilege<R>(privilege: u32, work: impl FnOnce() -> NtResult<R>) -> NtResult<R> {
    let own = Token::of_process(Handle::CURRENT_PROCESS, TOKEN_ADJUST_PRIVILEGES)?;
    own.set_privilege(privilege, true)?;
    let result = work();
    own.set_privilege(privilege, false)?;
    result
}

const MEMBER: u32 = SE_GROUP_ENABLED | SE_GROUP_ENABLED_BY_DEFAULT;

/// A token of a user who has logged on.
fn logon(user: Sid, token_type: u32, integrity: u32) -> NtResult<Token> {
    let groups = [
        (SID_EVERYONE, SE_GROUP_MANDATORY),
        (SID_USERS, MEMBER),
        (SID_ADMINISTRATORS, 0),
        (Sid::integrity(integrity), SE_GROUP_INTEGRITY),
    ];
    let held =
        |number: u32, attributes| LuidAndAttributes { luid: Luid::from_u64(u64::from(number)), attributes };
    let privileges = [
        held(SE_CHANGE_NOTIFY_PRIVILEGE, SE_PRIVILEGE_ENABLED | SE_PRIVILEGE_ENABLED_BY_DEFAULT),
        held(SE_SHUTDOWN_PRIVILEGE, 0),
    ];
    with_privilege(SE_CREATE_TOKEN_PRIVILEGE, || {
        Token::create(&NewToken {
            user,
            groups: &groups,
            privileges: &privileges,
            primary_group: SID_USERS,
            authentication_id: ANNAS_LOGON,
            token_type,
            level: SECURITY_IMPERSONATION,
            source: TokenSource { source_name: *b"alpctest", ..TokenSource::default() },
        })
    })
}

/// An impersonation token of Anna's.
fn anna() -> NtResult<Token> {
    logon(ANNA, TOKEN_IMPERSONATION, INTEGRITY_MEDIUM)
}

/// Acts as a token's holder while `work` runs.
fn acting_as<R>(token: &Token, work: impl FnOnce() -> NtResult<R>) -> NtResult<R> {
    token::impersonate(token)?;
    let result = work();
    token::revert()?;
    result
}

// ----- tokens --------------------------------------------------------------------------------------------------------

fn inherited(test: &mut Test) -> NtResult {
    let me = token::current();
    test.equal("the user", token::user(me), Ok(SID_LOCAL_SYSTEM));
    test.equal("the integrity level", token::integrity(me), Ok(INTEGRITY_SYSTEM));
    test.equal("the owner", token::owner(me), Ok(SID_ADMINISTRATORS));
    let groups = token::groups(me)?;
    test.check("a group", groups.iter().any(|group| group.sid == SID_EVERYONE));
    let statistics = token::statistics(me)?;
    test.equal("the logon session", statistics.authentication_id.to_u64(), SYSTEM_LUID);
    test.equal("the type", statistics.token_type, TOKEN_PRIMARY);
    test.equal("groups", statistics.group_count as usize, groups.len());
    test.equal("privileges", statistics.privilege_count as usize, PRIVILEGES.len());
    let child = pair::child_of("security/serve").spawn()?;
    let of_child = Token::of_process(child.handle(), TOKEN_QUERY)?;
    test.equal("a child's user", of_child.user(), Ok(SID_LOCAL_SYSTEM));
    let theirs = token::statistics(of_child.handle())?;
    test.check("a child has a copy", theirs.token_id != statistics.token_id);
    test.equal("of the same logon session", theirs.authentication_id, statistics.authentication_id);
    child.wait()?;
    test.refused("the level of a primary token", level_of(me), STATUS_INVALID_INFO_CLASS);
    test.refused("the thread's token", token::user(token::of_thread()), STATUS_NO_TOKEN);
    test.equal("the effective token", token::user(token::effective()), Ok(SID_LOCAL_SYSTEM));
    let mut little = [0; 1];
    let (status, length) = raw::query_token_words(me, TOKEN_USER_CLASS, &mut little);
    test.equal("no room", status, STATUS_BUFFER_TOO_SMALL);
    test.equal("what it takes", length, 16 + SID_LOCAL_SYSTEM.length());
    test.refused("adjusting by a pseudo handle", raw::adjust_privileges(me, &[]), STATUS_INVALID_HANDLE);
    let query =
        duplicate(Token::of_process(Handle::CURRENT_PROCESS, TOKEN_ALL_ACCESS)?.handle(), Some(TOKEN_QUERY))?;
    test.refused("the source without TOKEN_QUERY_SOURCE", source_of(query.raw()), STATUS_ACCESS_DENIED);
    test.equal("the source", source_of(me).map(|source| source.source_name), Ok(*b"*SYSTEM*"));
    Ok(())
}

fn level_of(token: Handle) -> NtResult<u32> {
    raw::query_token_value(token, TOKEN_IMPERSONATION_LEVEL_CLASS)
}

fn source_of(token: Handle) -> NtResult<TokenSource> {
    raw::query_token_value(token, TOKEN_SOURCE_CLASS)
}

fn created(test: &mut Test) -> NtResult {
    let new = NewToken {
        user: ANNA,
        groups: &[(SID_USERS, MEMBER)],
        privileges: &[],
        primary_group: SID_USERS,
        authentication_id: ANNAS_LOGON,
        token_type: TOKEN_PRIMARY,
        level: SECURITY_ANONYMOUS,
        source: TokenSource::default(),
    };
    test.refused("without the privilege", Token::create(&new), STATUS_PRIVILEGE_NOT_HELD);
    with_privilege(SE_CREATE_TOKEN_PRIVILEGE, || {
        let made = Token::create(&new)?;
        test.equal("its user", made.user(), Ok(ANNA));
        test.equal("no label: medium", token::integrity(made.handle()), Ok(INTEGRITY_MEDIUM));
        let bad = NewToken { primary_group: SID_EVERYONE, ..new };
        test.refused("a foreign primary group", Token::create(&bad), STATUS_INVALID_PRIMARY_GROUP);
        let bad = NewToken { groups: &[(SID_USERS, SE_GROUP_INTEGRITY)], ..new };
        test.refused("a label that is none", Token::create(&bad), STATUS_INVALID_PARAMETER);
        let bad = NewToken { groups: &[(SID_USERS, MEMBER); 129], ..new };
        test.refused("too many groups", Token::create(&bad), STATUS_INVALID_PARAMETER);
        let unknown = [LuidAndAttributes { luid: Luid::from_u64(99), attributes: 0 }];
        let bad = NewToken { privileges: &unknown, ..new };
        test.refused("an unknown privilege", Token::create(&bad), STATUS_NO_SUCH_PRIVILEGE);
        let bad = NewToken { token_type: 3, ..new };
        test.refused("an unknown type", Token::create(&bad), STATUS_BAD_TOKEN_TYPE);
        let bad = NewToken { token_type: TOKEN_IMPERSONATION, level: 4, ..new };
        test.refused("an unknown level", Token::create(&bad), STATUS_BAD_IMPERSONATION_LEVEL);
        let many: Vec<(Sid, u32)> = (0..128).map(|rid| (Sid::new(5, &[21, rid]), MEMBER)).collect();
        let large = Token::create(&NewToken { groups: &many, primary_group: ANNA, ..new })?;
        test.equal("128 groups", token::groups(large.handle()).map(|groups| groups.len()), Ok(128));
        Ok(())
    })
}

fn duplicated(test: &mut Test) -> NtResult {
    let anna = anna()?;
    test.equal("the level", level_of(anna.handle()), Ok(SECURITY_IMPERSONATION));
    let low = anna.duplicate_impersonation(SECURITY_IDENTIFICATION)?;
    test.equal("a lower level", level_of(low.handle()), Ok(SECURITY_IDENTIFICATION));
    let first = token::statistics(anna.handle())?;
    let second = token::statistics(low.handle())?;
    test.check("a token of its own", first.token_id != second.token_id);
    test.equal("not modified", first.modified_id, second.modified_id);
    let raised = low.duplicate_impersonation(SECURITY_IMPERSONATION);
    test.refused("a higher level", raised, STATUS_BAD_IMPERSONATION_LEVEL);
    test.refused("a primary token of it", low.duplicate_primary(), STATUS_BAD_IMPERSONATION_LEVEL);
    test.ok("a primary token of the first", anna.duplicate_primary());
    let effective = anna.duplicate(TOKEN_IMPERSONATION, SECURITY_IMPERSONATION, true)?;
    let groups = token::groups(effective.handle())?;
    test.check("effective only: disabled groups go", !groups.iter().any(|g| g.sid == SID_ADMINISTRATORS));
    let held = token::privileges(effective.handle())?.len();
    test.equal("effective only: disabled privileges go", held, 1);
    let narrow = duplicate(anna.handle(), Some(TOKEN_QUERY))?;
    let refused = raw::duplicate_token(narrow.raw(), 0, TOKEN_IMPERSONATION, SECURITY_ANONYMOUS, false);
    test.refused("without TOKEN_DUPLICATE", refused, STATUS_ACCESS_DENIED);
    Ok(())
}

fn privileges(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let before = token::statistics(anna.handle())?.modified_id;
    test.ok("enabling", anna.set_privilege(SE_SHUTDOWN_PRIVILEGE, true));
    let after = token::statistics(anna.handle())?.modified_id;
    test.check("the ModifiedId changes", before != after);
    test.ok("enabling again", anna.set_privilege(SE_SHUTDOWN_PRIVILEGE, true));
    test.equal("the ModifiedId stays", token::statistics(anna.handle())?.modified_id, after);
    let missing = anna.set_privilege(SE_DEBUG_PRIVILEGE, true);
    test.refused("one that is not there", missing, STATUS_NOT_ALL_ASSIGNED);
    let luid = Luid::from_u64(u64::from(SE_SHUTDOWN_PRIVILEGE));
    raw::adjust_privileges(anna.handle(), &[LuidAndAttributes { luid, attributes: SE_PRIVILEGE_REMOVED }])?;
    let gone = anna.set_privilege(SE_SHUTDOWN_PRIVILEGE, true);
    test.refused("one that was removed", gone, STATUS_NOT_ALL_ASSIGNED);
    let too_many = [LuidAndAttributes { luid, attributes: 0 }; 65];
    test.refused("too many", raw::adjust_privileges(anna.handle(), &too_many), STATUS_INVALID_PARAMETER);
    Ok(())
}

fn of_a_thread(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let me = Handle::CURRENT_THREAD;
    test.refused("before", Token::of_thread(me, TOKEN_QUERY, true), STATUS_NO_TOKEN);
    acting_as(&anna, || {
        test.equal("the effective token", token::user(token::effective()), Ok(ANNA));
        test.equal("the thread's token", token::user(token::of_thread()), Ok(ANNA));
        test.equal("the process's token", token::user(token::current()), Ok(SID_LOCAL_SYSTEM));
        let opened = Token::of_thread(me, TOKEN_ALL_ACCESS, false)?;
        test.check("opened, it is the same", libnt::handle::same_object(opened.handle(), anna.handle()));
        let system = Token::of_process(Handle::CURRENT_PROCESS, TOKEN_QUERY);
        test.refused("Anna opening the system's token", system, STATUS_ACCESS_DENIED);
        let process = Process::open(process::current_id(), PROCESS_ALL_ACCESS);
        test.refused("Anna opening the system's process", process, STATUS_ACCESS_DENIED);
        test.ok("what is harmless", Process::open(process::current_id(), PROCESS_QUERY_LIMITED_INFORMATION));
        Ok(())
    })?;
    test.equal("reverted", token::user(token::effective()), Ok(SID_LOCAL_SYSTEM));
    let low = anna.duplicate_impersonation(SECURITY_IDENTIFICATION)?;
    acting_as(&low, || {
        let process = Process::open(process::current_id(), PROCESS_QUERY_LIMITED_INFORMATION);
        test.refused("opening as who is only known", process, STATUS_BAD_IMPERSONATION_LEVEL);
        let opened = Token::of_thread(me, TOKEN_QUERY, false);
        test.refused("nor the own token", opened, STATUS_BAD_IMPERSONATION_LEVEL);
        test.ok("but as oneself", Token::of_thread(me, TOKEN_QUERY, true));
        Ok(())
    })?;
    let nobody = anna.duplicate_impersonation(SECURITY_ANONYMOUS)?;
    acting_as(&nobody, || {
        let opened = Token::of_thread(me, TOKEN_QUERY, true);
        test.refused("an anonymous token", opened, STATUS_CANT_OPEN_ANONYMOUS);
        test.refused("asking who it is", token::user(token::effective()), STATUS_CANT_OPEN_ANONYMOUS);
        Ok(())
    })?;
    let primary = anna.duplicate_primary()?;
    test.refused("a primary token", token::impersonate(&primary), STATUS_BAD_TOKEN_TYPE);
    let narrow = duplicate(anna.handle(), Some(TOKEN_QUERY))?;
    let refused = token::set_thread_token(me, narrow.raw());
    test.refused("without TOKEN_IMPERSONATE", refused, STATUS_ACCESS_DENIED);
    let thread = duplicate(me, Some(THREAD_SET_INFORMATION))?;
    let refused = token::set_thread_token(thread.raw(), anna.handle());
    test.refused("without THREAD_SET_THREAD_TOKEN", refused, STATUS_ACCESS_DENIED);
    // It ends with the thread: the counters tell.
    thread::spawn(move || token::impersonate(&anna))?.join()?
}

fn of_a_process(test: &mut Test) -> NtResult {
    let primary = logon(ANNA, TOKEN_PRIMARY, INTEGRITY_MEDIUM)?;
    let other = primary.duplicate_primary()?;
    let made = OwnedHandle::new(calls::create_process(PROCESS_ALL_ACCESS, 0)?);
    let refused = token::set_process_token(made.raw(), primary.handle());
    test.refused("without the privilege", refused, STATUS_PRIVILEGE_NOT_HELD);
    with_privilege(SE_ASSIGNPRIMARYTOKEN_PRIVILEGE, || {
        test.ok("giving it", token::set_process_token(made.raw(), primary.handle()));
        let second = OwnedHandle::new(calls::create_process(PROCESS_ALL_ACCESS, 0)?);
        let taken = token::set_process_token(second.raw(), primary.handle());
        test.refused("giving it twice", taken, STATUS_TOKEN_ALREADY_IN_USE);
        let impersonation = anna()?;
        let wrong = token::set_process_token(second.raw(), impersonation.handle());
        test.refused("an impersonation token", wrong, STATUS_BAD_TOKEN_TYPE);
        let own = token::set_process_token(Handle::CURRENT_PROCESS, other.handle());
        test.refused("to a process that runs", own, STATUS_NOT_SUPPORTED);
        calls::terminate_process(second.raw(), STATUS_SUCCESS)
    })?;
    let theirs = Token::of_process(made.raw(), TOKEN_QUERY)?;
    test.equal("whose the process is", theirs.user(), Ok(ANNA));
    calls::terminate_process(made.raw(), STATUS_SUCCESS)
}

// ----- impersonation -------------------------------------------------------------------------------------------------

const STATIC: u8 = SECURITY_STATIC_TRACKING;
const DYNAMIC: u8 = SECURITY_DYNAMIC_TRACKING;

/// A server, and a client's port that was made by a thread that acted as `who` (or as its process).
struct Secured {
    server: ConnectionPort,
    accepted: Port,
    client: Port,
}

impl Secured {
    fn new(qos: Option<SecurityQualityOfService>, who: Option<&Token>) -> NtResult<Self> {
        let server = ConnectionPort::create()?;
        let (accepted, client) = Self::connect(&server, qos, who)?;
        Ok(Self { server, accepted, client })
    }

    fn connect(
        server: &ConnectionPort,
        qos: Option<SecurityQualityOfService>,
        who: Option<&Token>,
    ) -> NtResult<(Port, Port)> {
        let attributes = AlpcPortAttributes::default();
        let attributes = qos.map_or(attributes, |qos| attributes.impersonable(qos));
        let connect = || pair::connect_async(server, &attributes, b"");
        let client = match who {
            Some(who) => acting_as(who, connect)?,
            None => connect()?,
        };
        let request = expect(server, LPC_CONNECTION_REQUEST)?;
        let accepted = pair::accept(server, &request, CONTEXT, b"")?;
        pair::poll_port(&client)?;
        Ok((accepted, client))
    }

    /// A request of a thread that acts as `who`, and what the server received.
    fn ask(&self, who: Option<&Token>, with: Ask) -> NtResult<(JoinHandle<NtResult>, Got)> {
        let thread = ask(self.client.handle(), who, with)?;
        Ok((thread, receive(&self.server)?))
    }

    /// Answers a request, whose sender must get the answer.
    fn answer(&self, test: &mut Test, asked: (JoinHandle<NtResult>, Got)) -> NtResult {
        pair::reply(&self.server, asked.1.header.message_id, b"done")?;
        test.equal("the answer", asked.0.join()?, Ok(()));
        Ok(())
    }
}

/// How something is asked.
#[derive(Clone, Copy, Default)]
struct Ask {
    /// Flag bits in the header's type.
    message_type: u16,
    /// A SECURITY attribute.
    attribute: Option<AlpcSecurityAttr>,
}

/// Asks from a thread of its own.
fn ask(port: Handle, who: Option<&Token>, with: Ask) -> NtResult<JoinHandle<NtResult>> {
    let port = duplicate(port, None)?;
    let who = match who {
        Some(who) => Some(duplicate(who.handle(), None)?),
        None => None,
    };
    thread::spawn(move || {
        if let Some(who) = who {
            token::impersonate(&Token::from_handle(who))?;
        }
        send(port.raw(), ALPC_MSGFLG_SYNC_REQUEST, with).map(drop)
    })
}

/// Sends a message; with SYNC_REQUEST it waits for the answer. The attributes as they are afterwards.
fn send(port: Handle, flags: u32, with: Ask) -> NtResult<SecurityAttributes> {
    let mut message = text(b"ask")?;
    let mut header = message.header();
    header.message_type = with.message_type;
    message.set_header(&header);
    let mut attributes = with.attribute.as_ref().map(SecurityAttributes::sending);
    let words = attributes.as_mut().map_or(&mut [][..], |attributes| attributes.words_mut());
    let sent = Buffer { words: message.words_mut(), attributes: words };
    let mut answer = text(b"")?;
    let sync = flags & ALPC_MSGFLG_SYNC_REQUEST != 0;
    let room = sync.then(|| Buffer { words: answer.words_mut(), attributes: &mut [] });
    calls::send_receive(port, flags, Some(sent), room, None)?;
    Ok(attributes.unwrap_or_default())
}

/// A received message.
struct Got {
    header: PortMessage,
    attributes: SecurityAttributes,
}

/// Receives, with room for SECURITY and TOKEN.
fn receive(server: &ConnectionPort) -> NtResult<Got> {
    let mut message = Message::new(pair::ROOM);
    let mut attributes = SecurityAttributes::new();
    let room = Buffer { words: message.words_mut(), attributes: attributes.words_mut() };
    let timeout = -(LONG.as_nanos() as i64 / 100);
    let (status, _) = calls::send_receive(server.handle(), 0, None, Some(room), Some(&timeout))?;
    note("received", &message, None);
    let (valid, token) = (attributes.valid(), attributes.token().unwrap_or_default());
    record::note(format_args!(
        "valid {valid:#x} token {} {:#x} {}",
        Id('k', token.token_id),
        token.authentication_id,
        Id('k', token.modified_id)
    ));
    if status == STATUS_TIMEOUT {
        Err(STATUS_IO_TIMEOUT)
    } else {
        Ok(Got { header: message.header(), attributes })
    }
}

/// Whom the server may act as for a message, and at which level.
fn client_of(server: &ConnectionPort, header: &PortMessage) -> NtResult<(Sid, u32)> {
    let _acting = impersonate(server.handle(), header, 0)?;
    let client = (token::user(token::effective())?, level_of(token::of_thread())?);
    record::note(format_args!("the client: {} at level {}", client.0, client.1));
    Ok(client)
}

fn qos(level: u32, mode: u8) -> Option<SecurityQualityOfService> {
    Some(SecurityQualityOfService::new(level, mode))
}

fn static_tracking(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, STATIC), Some(&anna))?;
    // Who asks does not matter: Anna connected.
    let asked = pair.ask(None, Ask::default())?;
    let who = client_of(&pair.server, &asked.1.header);
    test.equal("who connected", who, Ok((ANNA, SECURITY_IMPERSONATION)));
    let through = impersonate(pair.accepted.handle(), &asked.1.header, 0).map(drop);
    test.ok("through the communication port", through);
    // It is a snapshot: what happens to Anna's token later does not show.
    anna.set_privilege(SE_SHUTDOWN_PRIVILEGE, true)?;
    let acting = impersonate(pair.server.handle(), &asked.1.header, 0)?;
    let shutdown = |list: Vec<LuidAndAttributes>| {
        let number = u64::from(SE_SHUTDOWN_PRIVILEGE);
        list.iter().any(|p| p.luid.to_u64() == number && p.attributes & SE_PRIVILEGE_ENABLED != 0)
    };
    test.equal("the snapshot", token::privileges(token::effective()).map(shutdown), Ok(false));
    let opened = Token::of_thread(Handle::CURRENT_THREAD, TOKEN_ALL_ACCESS, true)?;
    opened.set_privilege(SE_SHUTDOWN_PRIVILEGE, true)?;
    test.equal("nor what is done to a copy", token::privileges(token::effective()).map(shutdown), Ok(false));
    drop(acting);
    pair.answer(test, asked)?;
    let mut only = SecurityQualityOfService::new(SECURITY_IMPERSONATION, STATIC);
    only.effective_only = 1;
    let pair = Secured::new(Some(only), Some(&anna))?;
    let asked = pair.ask(None, Ask::default())?;
    let acting = impersonate(pair.server.handle(), &asked.1.header, 0)?;
    let groups = token::groups(token::effective())?;
    test.check("effective only", !groups.iter().any(|group| group.sid == SID_ADMINISTRATORS));
    drop(acting);
    pair.answer(test, asked)
}

fn dynamic_tracking(test: &mut Test) -> NtResult {
    let (anna, bert) = (anna()?, logon(BERT, TOKEN_IMPERSONATION, INTEGRITY_MEDIUM)?);
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, DYNAMIC), Some(&anna))?;
    for (what, who, expected) in
        [("nobody else", None, SID_LOCAL_SYSTEM), ("Anna", Some(&anna), ANNA), ("Bert", Some(&bert), BERT)]
    {
        let asked = pair.ask(who, Ask::default())?;
        let found = client_of(&pair.server, &asked.1.header);
        test.equal(what, found, Ok((expected, SECURITY_IMPERSONATION)));
        pair.answer(test, asked)?;
    }
    // What a sender that only knows its client may give: nothing.
    let low = anna.duplicate_impersonation(SECURITY_IDENTIFICATION)?;
    let refused = ask(pair.client.handle(), Some(&low), Ask::default())?.join()?;
    test.refused("a sender at SecurityIdentification", refused, STATUS_BAD_IMPERSONATION_LEVEL);
    // A datagram is gone when it has been received.
    acting_as(&anna, || send(pair.client.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, Ask::default()))
        .or_else(|_| acting_as(&anna, || send(pair.client.handle(), 0, Ask::default())))?;
    let got = receive(&pair.server)?;
    if got.header.message_type & LPC_CONTINUATION_REQUIRED == 0 {
        let refused = impersonate(pair.server.handle(), &got.header, 0);
        test.refused("a datagram", refused, STATUS_MESSAGE_NOT_FOUND);
    }
    Ok(())
}

fn levels(test: &mut Test) -> NtResult {
    for level in [SECURITY_IDENTIFICATION, SECURITY_IMPERSONATION, SECURITY_DELEGATION] {
        for mode in [STATIC, DYNAMIC] {
            let pair = Secured::new(qos(level, mode), None)?;
            let asked = pair.ask(None, Ask::default())?;
            let found = client_of(&pair.server, &asked.1.header);
            test.equal(format_args!("level {level}, mode {mode}"), found, Ok((SID_LOCAL_SYSTEM, level)));
            pair.answer(test, asked)?;
        }
    }
    for mode in [STATIC, DYNAMIC] {
        let pair = Secured::new(qos(SECURITY_ANONYMOUS, mode), None)?;
        let asked = pair.ask(None, Ask::default())?;
        let acting = impersonate(pair.server.handle(), &asked.1.header, 0)?;
        let opened = Token::of_thread(Handle::CURRENT_THREAD, TOKEN_QUERY, true);
        test.refused("opening who is anonymous", opened, STATUS_CANT_OPEN_ANONYMOUS);
        test.refused("asking who it is", token::user(token::effective()), STATUS_CANT_OPEN_ANONYMOUS);
        drop(acting);
        let sid = sender_sid(pair.server.handle(), &asked.1.header);
        test.refused("asking the message", sid, STATUS_BAD_IMPERSONATION_LEVEL);
        test.check("no TOKEN attribute", asked.1.attributes.token().is_none());
        pair.answer(test, asked)?;
    }
    Ok(())
}

fn not_allowed(test: &mut Test) -> NtResult {
    let pair = Secured::new(None, None)?;
    let asked = pair.ask(None, Ask::default())?;
    let refused = impersonate(pair.server.handle(), &asked.1.header, 0);
    test.refused("a port without ALLOW_IMPERSONATION", refused, STATUS_CANNOT_IMPERSONATE);
    test.equal("the thread's token is as it was", token::user(token::of_thread()), Err(STATUS_NO_TOKEN));
    let forged = PortMessage { message_id: asked.1.header.message_id ^ 0x1_0000, ..asked.1.header };
    let refused = impersonate(pair.server.handle(), &forged, 0);
    test.refused("a forged message id", refused, STATUS_MESSAGE_NOT_FOUND);
    let foreign = Secured::new(None, None)?;
    let refused = impersonate(foreign.server.handle(), &asked.1.header, 0);
    test.refused("through another port", refused, STATUS_MESSAGE_NOT_FOUND);
    let refused = impersonate(pair.client.handle(), &asked.1.header, 0);
    test.refused("through the client's port", refused, STATUS_MESSAGE_NOT_FOUND);
    let header = asked.1.header;
    pair.answer(test, asked)?;
    let refused = impersonate(pair.server.handle(), &header, 0);
    test.refused("after the answer", refused, STATUS_MESSAGE_NOT_FOUND);
    Ok(())
}

fn impersonate_flags(test: &mut Test) -> NtResult {
    let pair = Secured::new(qos(SECURITY_IDENTIFICATION, DYNAMIC), None)?;
    let asked = pair.ask(None, Ask::default())?;
    let with = |flags| impersonate(pair.server.handle(), &asked.1.header, flags).map(drop);
    test.ok("what the client gives is required", with(at_least(SECURITY_IDENTIFICATION)));
    let refused = with(at_least(SECURITY_IMPERSONATION));
    test.refused("more is required", refused, STATUS_BAD_IMPERSONATION_LEVEL);
    let refused = with(ALPC_IMPERSONATEFLG_REQUIRE_IMPERSONATE);
    test.refused("REQUIRE_IMPERSONATE", refused, STATUS_BAD_IMPERSONATION_LEVEL);
    test.refused("unknown flags", with(0x10), STATUS_INVALID_PARAMETER);
    test.refused("unknown flags", with(1 << 63), STATUS_INVALID_PARAMETER);
    let acting = impersonate(pair.server.handle(), &asked.1.header, ALPC_IMPERSONATEFLG_ANONYMOUS)?;
    test.equal("ANONYMOUS", token::user(token::effective()), Ok(SID_ANONYMOUS));
    test.equal("untrusted", token::integrity(token::effective()), Ok(INTEGRITY_UNTRUSTED));
    drop(acting);
    pair.answer(test, asked)
}

fn no_impersonate(test: &mut Test) -> NtResult {
    let anna = anna()?;
    for mode in [STATIC, DYNAMIC] {
        let pair = Secured::new(qos(SECURITY_IMPERSONATION, mode), Some(&anna))?;
        let asked = pair.ask(Some(&anna), Ask { message_type: LPC_NO_IMPERSONATE, ..Ask::default() })?;
        let flag = asked.1.header.message_type & LPC_NO_IMPERSONATE;
        test.equal("the flag arrives", flag, LPC_NO_IMPERSONATE);
        let refused = impersonate(pair.server.handle(), &asked.1.header, 0);
        test.refused("what the sender forbids", refused, STATUS_CANNOT_IMPERSONATE);
        pair.answer(test, asked)?;
        let asked = pair.ask(Some(&anna), Ask::default())?;
        test.equal("the next one", client_of(&pair.server, &asked.1.header).map(|who| who.0), Ok(ANNA));
        pair.answer(test, asked)?;
    }
    Ok(())
}

/// A server that acts as its client is its client for the servers that it asks.
fn chain(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let front = Secured::new(qos(SECURITY_IMPERSONATION, DYNAMIC), None)?;
    let back = Secured::new(qos(SECURITY_IMPERSONATION, DYNAMIC), None)?;
    let asked = front.ask(Some(&anna), Ask::default())?;
    let acting = impersonate(front.server.handle(), &asked.1.header, 0)?;
    // This thread is Anna now, and opens her own token to hand to the thread that asks on.
    let as_client = Token::of_thread(Handle::CURRENT_THREAD, TOKEN_ALL_ACCESS, true)?;
    drop(acting);
    let onward = back.ask(Some(&as_client), Ask::default())?;
    let found = client_of(&back.server, &onward.1.header);
    test.equal("the client's client", found, Ok((ANNA, SECURITY_IMPERSONATION)));
    back.answer(test, onward)?;
    front.answer(test, asked)?;
    // At SecurityIdentification there is nothing to hand on.
    let front = Secured::new(qos(SECURITY_IDENTIFICATION, DYNAMIC), None)?;
    let asked = front.ask(Some(&anna), Ask::default())?;
    let acting = impersonate(front.server.handle(), &asked.1.header, 0)?;
    let refused = send(back.client.handle(), 0, Ask::default()).map(drop);
    test.refused("asking on", refused, STATUS_BAD_IMPERSONATION_LEVEL);
    let attributes = AlpcPortAttributes::default()
        .impersonable(SecurityQualityOfService::new(SECURITY_IMPERSONATION, STATIC));
    let refused = calls::connect_port(back.server.handle(), Some(&attributes), 0, None, None).map(drop);
    test.refused("connecting on", refused, STATUS_BAD_IMPERSONATION_LEVEL);
    drop(acting);
    front.answer(test, asked)
}

fn server_object(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let server = ConnectionPort::create()?;
    let object = server.create_object(1, 1, 1)?;
    for (who, expected) in [(None, SID_LOCAL_SYSTEM), (Some(&anna), ANNA)] {
        let asked = ask(object.raw(), who, Ask::default())?;
        let got = receive(&server)?;
        let found = client_of(&server, &got.header);
        test.equal("who asks", found, Ok((expected, SECURITY_IDENTIFICATION)));
        test.equal("its SID", sender_sid(server.handle(), &got.header), Ok(expected));
        pair::reply(&server, got.header.message_id, b"")?;
        test.equal("the answer", asked.join()?, Ok(()));
    }
    Ok(())
}

fn connection_request(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let server = ConnectionPort::create()?;
    let attributes = AlpcPortAttributes::default()
        .impersonable(SecurityQualityOfService::new(SECURITY_IMPERSONATION, STATIC));
    let client = acting_as(&anna, || pair::connect_async(&server, &attributes, b"hello"))?;
    let got = receive(&server)?;
    test.equal("who wants to connect", client_of(&server, &got.header).map(|who| who.0), Ok(ANNA));
    test.equal("its SID", sender_sid(server.handle(), &got.header), Ok(ANNA));
    test.check("its TOKEN attribute", got.attributes.token().is_some());
    let mut refusal = text(b"")?;
    refusal.set_reply_to(got.header.message_id);
    server.refuse(&refusal)?;
    let refused = impersonate(server.handle(), &got.header, 0);
    test.refused("after the refusal", refused, STATUS_MESSAGE_NOT_FOUND);
    drop(client);
    // One who may not give so much does not connect.
    let low = anna.duplicate_impersonation(SECURITY_IDENTIFICATION)?;
    let refused = acting_as(&low, || pair::connect_async(&server, &attributes, b"")).map(drop);
    test.refused("more than one has", refused, STATUS_BAD_IMPERSONATION_LEVEL);
    Ok(())
}

/// A child with another user's token and without SeImpersonatePrivilege serves one request and tells what it may do.
fn untrusted_server(test: &mut Test) -> NtResult {
    let port = ConnectionPort::create()?;
    let bert = logon(BERT, TOKEN_PRIMARY, INTEGRITY_MEDIUM)?;
    let child = with_privilege(SE_ASSIGNPRIMARYTOKEN_PRIVILEGE, || {
        pair::child_of("security/serve")
            .give("port", port.handle(), None, [0; 4])
            .token(bert.handle())
            .spawn()
    })?;
    for expected in ["system at 1", "required: STATUS_PRIVILEGE_NOT_HELD"] {
        let attributes = AlpcPortAttributes::default()
            .impersonable(SecurityQualityOfService::new(SECURITY_IMPERSONATION, DYNAMIC));
        let options = libnt::alpc::Connect { attributes, timeout: Some(LONG), ..Default::default() };
        let client = Port::connect_to::<Box<[u64]>>(port.handle(), &options, None)?;
        let mut message = text(expected.as_bytes())?;
        client.request(&mut message, None, Some(LONG))?;
        test.equal("what the untrusted server may", core::str::from_utf8(message.payload()), Ok(expected));
    }
    test.equal("the server", child.wait(), Ok(STATUS_SUCCESS));
    Ok(())
}

fn serve_untrusted() -> NtResult {
    let Some(port) = env::extra("port") else { return Ok(()) };
    let server = ConnectionPort::from_handle(duplicate(port.handle, None)?);
    for round in 0..2 {
        let request = expect(&server, LPC_CONNECTION_REQUEST)?;
        let accepted = pair::accept(&server, &request, CONTEXT, b"")?;
        let asked = expect(&server, LPC_REQUEST)?;
        let answer = if round == 0 {
            let (user, level) = client_of(&server, &asked.header)?;
            format!("{} at {level}", if user == SID_LOCAL_SYSTEM { "system" } else { "somebody" })
        } else {
            let flags = ALPC_IMPERSONATEFLG_REQUIRE_IMPERSONATE;
            match impersonate(server.handle(), &asked.header, flags) {
                Ok(_) => "required: yes".to_owned(),
                Err(status) => format!("required: {}", status.name().unwrap_or("?")),
            }
        };
        pair::reply(&server, asked.header.message_id, answer.as_bytes())?;
        expect(&server, LPC_PORT_CLOSED)?;
        drop(accepted);
    }
    Ok(())
}

fn port_attributes(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let connect = |qos: SecurityQualityOfService| {
        let attributes = AlpcPortAttributes::default().impersonable(qos);
        pair::connect_async(&server, &attributes, b"").map(drop)
    };
    let good = SecurityQualityOfService::new(SECURITY_IMPERSONATION, DYNAMIC);
    let refused = connect(SecurityQualityOfService { impersonation_level: 4, ..good });
    test.refused("an unknown level", refused, STATUS_BAD_IMPERSONATION_LEVEL);
    let refused = connect(SecurityQualityOfService { context_tracking_mode: 2, ..good });
    test.refused("an unknown tracking mode", refused, STATUS_INVALID_PARAMETER);
    let refused = connect(SecurityQualityOfService { effective_only: 2, ..good });
    test.refused("an unknown effective-only", refused, STATUS_INVALID_PARAMETER);
    test.check("nothing was sent", pair::poll(&server)?.is_none());
    Ok(())
}

// ----- security contexts and attributes ------------------------------------------------------------------------------

fn named(context_handle: u64) -> Ask {
    Ask { attribute: Some(AlpcSecurityAttr { context_handle, ..Default::default() }), ..Ask::default() }
}

fn contexts(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, DYNAMIC), None)?;
    let port = pair.client.handle();
    let context = acting_as(&anna, || raw::create_security_context(port, None))?;
    let asked = pair.ask(None, named(context))?;
    let shown = asked.1.attributes.security().map(|attribute| attribute.context_handle);
    test.equal("the SECURITY attribute", shown, Some(context));
    test.equal("whom it stands for", client_of(&pair.server, &asked.1.header).map(|who| who.0), Ok(ANNA));
    test.equal("its SID", sender_sid(pair.server.handle(), &asked.1.header), Ok(ANNA));
    test.ok("deleting it", raw::delete_security_context(port, context));
    let still = client_of(&pair.server, &asked.1.header).map(|who| who.0);
    test.equal("a message under way keeps it", still, Ok(ANNA));
    pair.answer(test, asked)?;
    let refused = raw::delete_security_context(port, context);
    test.refused("deleting it again", refused, STATUS_INVALID_HANDLE);
    let refused = send(port, 0, named(context)).map(drop);
    test.refused("sending with what was deleted", refused, STATUS_INVALID_HANDLE);
    // Made by the send, which answers its handle.
    let create = AlpcSecurityAttr { flags: ALPC_SECFLG_CREATE_HANDLE, ..Default::default() };
    let with = Ask { attribute: Some(create), ..Ask::default() };
    let sent = acting_as(&anna, || send(port, 0, with))?;
    let made = sent.security().map_or(0, |attribute| attribute.context_handle);
    let got = receive(&pair.server)?;
    test.equal("made by a send", got.attributes.security().map(|a| a.context_handle), Some(made));
    let asked = pair.ask(None, named(made))?;
    test.equal("and used again", client_of(&pair.server, &asked.1.header).map(|who| who.0), Ok(ANNA));
    pair.answer(test, asked)?;
    // With its own quality of service, for one message.
    let low = SecurityQualityOfService::new(SECURITY_IDENTIFICATION, STATIC);
    let context = raw::create_security_context(port, Some(&low))?;
    let asked = pair.ask(Some(&anna), named(context))?;
    let found = client_of(&pair.server, &asked.1.header);
    test.equal("a lower level", found, Ok((SID_LOCAL_SYSTEM, SECURITY_IDENTIFICATION)));
    pair.answer(test, asked)
    // Two contexts are left: they go with the port, as the counters tell.
}

fn context_revoked(test: &mut Test) -> NtResult {
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, DYNAMIC), None)?;
    let port = pair.client.handle();
    for (what, by) in [("the server", pair.accepted.handle()), ("the client", port)] {
        let context = raw::create_security_context(port, None)?;
        let asked = pair.ask(None, named(context))?;
        test.ok(format_args!("{what} revokes it"), raw::revoke_security_context(by, context));
        let refused = impersonate(pair.server.handle(), &asked.1.header, 0);
        test.refused("a message under way", refused, STATUS_CANNOT_IMPERSONATE);
        pair.answer(test, asked)?;
        let refused = send(port, 0, named(context)).map(drop);
        test.refused("sending with it", refused, STATUS_INVALID_HANDLE);
        let refused = raw::revoke_security_context(by, context);
        test.refused("revoking it again", refused, STATUS_INVALID_HANDLE);
        test.ok("it can still be deleted", raw::delete_security_context(port, context));
    }
    let refused = raw::revoke_security_context(pair.server.handle(), 0xC);
    test.refused("on a connection port", refused, STATUS_INVALID_PORT_HANDLE);
    let refused = raw::revoke_security_context(pair.accepted.handle(), 0x7777);
    test.refused("what is none", refused, STATUS_INVALID_HANDLE);
    Ok(())
}

fn attribute_refused(test: &mut Test) -> NtResult {
    let pair = Secured::new(None, None)?;
    let port = pair.client.handle();
    let plain = Ask { attribute: Some(AlpcSecurityAttr::default()), ..Ask::default() };
    let refused = send(port, 0, plain).map(drop);
    test.refused("a port without ALLOW_IMPERSONATION", refused, STATUS_CANNOT_IMPERSONATE);
    let refused = raw::create_security_context(port, None);
    test.refused("a context on it", refused, STATUS_CANNOT_IMPERSONATE);
    let refused = raw::create_security_context(pair.server.handle(), None);
    test.refused("a context on a connection port", refused, STATUS_INVALID_PARAMETER);
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, DYNAMIC), None)?;
    let port = pair.client.handle();
    for handle in [4, 12, 8, u64::MAX] {
        let refused = send(port, 0, named(handle)).map(drop);
        test.refused("no such context", refused, STATUS_INVALID_HANDLE);
    }
    for flags in [1, 0x4_0000, 0x8000_0000] {
        let attribute = AlpcSecurityAttr { flags, ..Default::default() };
        let refused = send(port, 0, Ask { attribute: Some(attribute), ..Ask::default() }).map(drop);
        test.refused("unknown flags", refused, STATUS_INVALID_PARAMETER);
    }
    let attribute = AlpcSecurityAttr { qos: 8, ..Default::default() };
    let refused = send(port, 0, Ask { attribute: Some(attribute), ..Ask::default() }).map(drop);
    test.refused("a bad address", refused, STATUS_ACCESS_VIOLATION);
    let high = SecurityQualityOfService::new(9, STATIC);
    let refused = raw::create_security_context(port, Some(&high));
    test.refused("an unknown level", refused, STATUS_BAD_IMPERSONATION_LEVEL);
    test.check("nothing was sent", pair::poll(&pair.server)?.is_none());
    Ok(())
}

fn ids_of(token: Handle) -> NtResult<AlpcTokenAttr> {
    let statistics = token::statistics(token)?;
    Ok(AlpcTokenAttr {
        token_id: statistics.token_id.to_u64(),
        authentication_id: statistics.authentication_id.to_u64(),
        modified_id: statistics.modified_id.to_u64(),
    })
}

fn token_attribute(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let (mine, hers) = (ids_of(token::current())?, ids_of(anna.handle())?);
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, DYNAMIC), None)?;
    let asked = pair.ask(None, Ask::default())?;
    test.equal("the process's token", asked.1.attributes.token(), Some(mine));
    pair.answer(test, asked)?;
    let asked = pair.ask(Some(&anna), Ask::default())?;
    test.equal("Anna's token", asked.1.attributes.token(), Some(hers));
    pair.answer(test, asked)?;
    acting_as(&anna, || send(pair.client.handle(), 0, Ask::default()))?;
    test.equal("a datagram of Anna's", receive(&pair.server)?.attributes.token(), Some(hers));
    // Without ALLOW_IMPERSONATION it is the process that counts.
    let pair = Secured::new(None, None)?;
    let asked = pair.ask(Some(&anna), Ask::default())?;
    test.equal("the process's token again", asked.1.attributes.token(), Some(mine));
    pair.answer(test, asked)?;
    // A snapshot is a token of its own.
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, STATIC), Some(&anna))?;
    let asked = pair.ask(None, Ask::default())?;
    let found = asked.1.attributes.token().unwrap_or_default();
    test.check("the snapshot's id", found.token_id != hers.token_id);
    test.equal("its logon session", found.authentication_id, ANNAS_LOGON.to_u64());
    test.equal("its ModifiedId", found.modified_id, hers.modified_id);
    pair.answer(test, asked)?;
    // The connection's end is nobody's message.
    drop(pair.client);
    let notice = receive(&pair.server)?;
    test.equal("a notice", notice.header.kind(), LPC_PORT_CLOSED);
    test.check("has no TOKEN attribute", notice.attributes.token().is_none());
    Ok(())
}

fn message_queries(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, DYNAMIC), None)?;
    let asked = pair.ask(Some(&anna), Ask::default())?;
    let (server, header) = (pair.server.handle(), asked.1.header);
    test.equal("the SID", sender_sid(server, &header), Ok(ANNA));
    let modified = token::statistics(anna.handle())?.modified_id;
    test.equal("the ModifiedId", sender_modified_id(server, &header), Ok(modified));
    let mut little = [0; 8];
    let refused = raw::query_message(server, &header, ALPC_MESSAGE_SID_INFORMATION, &mut little);
    test.refused("no room", refused, STATUS_BUFFER_TOO_SMALL);
    let refused = raw::query_message(server, &header, 77, &mut little);
    test.refused("an unknown class", refused, STATUS_INVALID_INFO_CLASS);
    let forged = PortMessage { message_id: header.message_id ^ 0x1_0000, ..header };
    test.refused("a forged message id", sender_sid(server, &forged), STATUS_MESSAGE_NOT_FOUND);
    test.refused("on the sender's side", sender_sid(pair.client.handle(), &header), STATUS_MESSAGE_NOT_FOUND);
    pair.answer(test, asked)?;
    test.refused("after the answer", sender_sid(server, &header), STATUS_MESSAGE_NOT_FOUND);
    Ok(())
}

fn connected(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, STATIC), Some(&anna))?;
    test.equal("who serves", connected_sid(pair.client.handle()), Ok(SID_LOCAL_SYSTEM));
    test.equal("who connected", connected_sid(pair.accepted.handle()), Ok(ANNA));
    let refused = connected_sid(pair.server.handle());
    test.refused("a connection port", refused, STATUS_INVALID_PORT_HANDLE);
    pair.accepted.disconnect()?;
    test.refused("after the end", connected_sid(pair.client.handle()), STATUS_PORT_DISCONNECTED);
    Ok(())
}

// ----- senders -------------------------------------------------------------------------------------------------------

fn sender_process(test: &mut Test) -> NtResult {
    let anna = anna()?;
    let pair = Secured::new(None, None)?;
    let asked = pair.ask(None, Ask::default())?;
    let opened = pair.server.open_sender_process(&asked.1.header, PROCESS_ALL_ACCESS)?;
    test.equal("the process", Process::from_handle(opened).id(), Ok(process::current_id()));
    let through = calls::open_sender_process(pair.accepted.handle(), &asked.1.header, MAXIMUM_ALLOWED);
    test.ok("through the communication port", through.map(OwnedHandle::new));
    acting_as(&anna, || {
        let refused = pair.server.open_sender_process(&asked.1.header, PROCESS_ALL_ACCESS);
        test.refused("more than the caller may have", refused, STATUS_ACCESS_DENIED);
        let limited = PROCESS_QUERY_LIMITED_INFORMATION;
        test.ok("what is harmless", pair.server.open_sender_process(&asked.1.header, limited));
        Ok(())
    })?;
    pair.answer(test, asked)
}

fn sender_thread(test: &mut Test) -> NtResult {
    let pair = Secured::new(None, None)?;
    let asked = pair.ask(None, Ask::default())?;
    let opened = open_sender_thread(pair.server.handle(), &asked.1.header, THREAD_ALL_ACCESS)?;
    let same = libnt::handle::same_object(opened.raw(), asked.0.handle());
    test.check("the thread that asked", same);
    drop(opened);
    pair.answer(test, asked)
}

fn sender_refused(test: &mut Test) -> NtResult {
    let pair = Secured::new(None, None)?;
    let asked = pair.ask(None, Ask::default())?;
    let header = asked.1.header;
    let open = |port: Handle, header: &PortMessage| {
        let thread = open_sender_thread(port, header, SYNCHRONIZE).map(drop);
        let process = calls::open_sender_process(port, header, SYNCHRONIZE).map(OwnedHandle::new).map(drop);
        if thread == process { thread } else { Err(STATUS_UNSUCCESSFUL) }
    };
    let forged = PortMessage { message_id: header.message_id ^ 0x1_0000, ..header };
    test.refused("a forged message id", open(pair.server.handle(), &forged), STATUS_MESSAGE_NOT_FOUND);
    let zero = PortMessage { message_id: 0, ..header };
    test.refused("no message id", open(pair.server.handle(), &zero), STATUS_MESSAGE_NOT_FOUND);
    test.refused("the sender's own port", open(pair.client.handle(), &header), STATUS_MESSAGE_NOT_FOUND);
    let (accepted, client) = Secured::connect(&pair.server, None, None)?;
    test.refused("another connection's port", open(accepted.handle(), &header), STATUS_MESSAGE_NOT_FOUND);
    drop(client);
    expect(&pair.server, LPC_PORT_CLOSED)?;
    drop(accepted);
    pair.answer(test, asked)?;
    test.refused("after the answer", open(pair.server.handle(), &header), STATUS_MESSAGE_NOT_FOUND);
    // Queued, but not received yet.
    let waiting = ask(pair.client.handle(), None, Ask::default())?;
    let unseen = open(pair.server.handle(), &header);
    test.refused("a message that was not received", unseen, STATUS_MESSAGE_NOT_FOUND);
    let got = receive(&pair.server)?;
    // A connection request outlives the thread that sent it.
    let name = duplicate(pair.server.handle(), None)?;
    let late = thread::spawn(move || {
        let server = ConnectionPort::from_handle(name);
        pair::connect_async(&server, &AlpcPortAttributes::default(), b"")
    })?
    .join()??;
    let request = expect(&pair.server, LPC_CONNECTION_REQUEST)?;
    let mut gone = open_sender_thread(pair.server.handle(), &request.header, SYNCHRONIZE).map(drop);
    for _ in 0..100 {
        if gone.is_err() {
            break;
        }
        // Its handle is signalled a little before its id is gone.
        libnt::time::sleep(Duration::from_millis(10));
        gone = open_sender_thread(pair.server.handle(), &request.header, SYNCHRONIZE).map(drop);
    }
    test.refused("a thread that has ended", gone, STATUS_INVALID_CID);
    drop(late);
    pair::reply(&pair.server, got.header.message_id, b"")?;
    test.equal("the answer", waiting.join()?, Ok(()));
    Ok(())
}

fn container(test: &mut Test) -> NtResult {
    let pair = Secured::new(qos(SECURITY_IMPERSONATION, DYNAMIC), None)?;
    let asked = pair.ask(None, Ask::default())?;
    let refused = raw::impersonate_client_container(pair.server.handle(), &asked.1.header);
    test.refused("a client in no container", refused, STATUS_NOT_IMPLEMENTED);
    let forged = PortMessage { message_id: 0, ..asked.1.header };
    let refused = raw::impersonate_client_container(pair.server.handle(), &forged);
    test.refused("no message", refused, STATUS_MESSAGE_NOT_FOUND);
    pair.answer(test, asked)
}

// ----- requirements to servers ---------------------------------------------------------------------------------------

/// Connects if the server is who is required; nothing is accepted.
fn connect_to(server: &ConnectionPort, requirements: &[u8]) -> NtResult {
    let attributes = AlpcPortAttributes::default();
    let handle = raw::connect_port_to(server.handle(), &attributes, 0, Some(requirements), None, None)?;
    drop(OwnedHandle::new(handle));
    Ok(())
}

fn required_server(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let mut try_with = |what: &str, owner: Option<&Sid>, entries: &[(u8, u32, Sid)], expected: NtResult| {
        let connected = connect_to(&server, &requirements(owner, entries));
        test.equal(what, connected, expected);
    };
    let mismatch = Err(STATUS_SERVER_SID_MISMATCH);
    let (allow, deny) = (ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE);
    try_with("nothing", None, &[], Ok(()));
    try_with("the server's user", Some(&SID_LOCAL_SYSTEM), &[], Ok(()));
    try_with("a group of it", Some(&SID_ADMINISTRATORS), &[], Ok(()));
    try_with("somebody else", Some(&ANNA), &[], mismatch);
    try_with("who is allowed", None, &[(allow, PORT_CONNECT, SID_EVERYONE)], Ok(()));
    try_with("who is not", None, &[(allow, PORT_CONNECT, ANNA)], mismatch);
    let both = [(deny, PORT_CONNECT, SID_LOCAL_SYSTEM), (allow, GENERIC_ALL, SID_EVERYONE)];
    try_with("who is denied", None, &both, mismatch);
    let sides = [(allow, GENERIC_ALL, SID_EVERYONE)];
    try_with("the wrong owner, but allowed", Some(&BERT), &sides, mismatch);
    // Whom the maker of the port impersonates does not matter.
    let anna = anna()?;
    let hers = acting_as(&anna, ConnectionPort::create)?;
    let connected = connect_to(&hers, &requirements(Some(&SID_LOCAL_SYSTEM), &[]));
    test.equal("the process that made the port", connected, Ok(()));
    by_name(test)
}

/// RequiredServerSid of NtAlpcConnectPort, which libnt makes a descriptor of.
fn by_name(test: &mut Test) -> NtResult {
    const NAME: &str = "\\RPC Control\\alpctest-security";
    let server = ConnectionPort::create_named(NAME)?;
    let serving = duplicate(server.handle(), None)?;
    let accepting = thread::spawn(move || -> NtResult<Port> {
        let server = ConnectionPort::from_handle(serving);
        let request = expect(&server, LPC_CONNECTION_REQUEST)?;
        pair::accept(&server, &request, CONTEXT, b"")
    })?;
    let connect = |sid: &Sid| {
        libnt::nt::NtAlpcConnectPort::<Box<[u64]>>(NAME, None, Some(sid), None, Some(LONG)).map(drop)
    };
    test.refused("by name, somebody else", connect(&ANNA), STATUS_SERVER_SID_MISMATCH);
    test.ok("by name, the server's user", connect(&SID_LOCAL_SYSTEM));
    test.ok("the server", accepting.join()?);
    Ok(())
}

fn hostile_requirements(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let good = requirements(Some(&SID_LOCAL_SYSTEM), &[(ACCESS_ALLOWED_ACE_TYPE, 1, SID_EVERYONE)]);
    let mut try_with = |what: &str, change: &[(usize, u8)], expected: NtStatus| {
        let mut bytes = good.clone();
        for (at, value) in change {
            bytes[*at] = *value;
        }
        test.refused(what, connect_to(&server, &bytes), expected);
    };
    try_with("an unknown revision", &[(0, 2)], STATUS_UNKNOWN_REVISION);
    try_with("pointers instead of offsets", &[(3, 0)], STATUS_INVALID_SECURITY_DESCR);
    try_with("an offset far away", &[(7, 0xFF), (6, 0xFF)], STATUS_ACCESS_VIOLATION);
    try_with("no SID", &[(20, 7)], STATUS_INVALID_SID);
    try_with("a long SID", &[(21, 16)], STATUS_INVALID_SID);
    try_with("a system ACL", &[(2, 0x14), (12, 32)], STATUS_NOT_IMPLEMENTED);
    let acl = 20 + SID_LOCAL_SYSTEM.length();
    try_with("an unknown ACL", &[(acl, 9)], STATUS_INVALID_ACL);
    try_with("an ACL that ends early", &[(acl + 2, 8)], STATUS_INVALID_ACL);
    try_with("more entries than there are", &[(acl + 4, 2)], STATUS_INVALID_ACL);
    try_with("an entry that is too long", &[(acl + 10, 0xF0)], STATUS_INVALID_ACL);
    try_with("an entry of no length", &[(acl + 10, 0)], STATUS_INVALID_ACL);
    try_with("an object entry", &[(acl + 8, 5)], STATUS_NOT_IMPLEMENTED);
    test.check("nobody connected", pair::poll(&server)?.is_none());
    Ok(())
}
