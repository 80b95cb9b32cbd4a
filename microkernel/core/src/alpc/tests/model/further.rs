//! Steps of threads: call backs, cancelling, reserves, limits, references, deaths.

use super::*;

impl World {
    pub(super) fn call_back(&mut self, thread: usize, role: Role, ids: (u32, u32), choice: u8) {
        let body = self.body(choice);
        let post = Post { tracked: false, ..self.make_post(thread, true, choice) };
        let sent = self.group.call_back(role, ids, &post, body, &mut self.log);
        let at = match self.held(role, ids) {
            Ok(at) => at,
            Err(status) => {
                assert_eq!(sent, Err(status));
                return;
            }
        };
        let asked = self.owed[at].clone();
        if asked.blocked.is_none() || asked.called {
            assert_eq!(sent, Err(STATUS_REPLY_MESSAGE_MISMATCH));
            return;
        }
        if asked.line == 0 {
            assert_eq!(sent, Err(STATUS_LPC_INVALID_CONNECTION_USAGE));
            return;
        }
        let id = sent.expect("it is sent");
        self.tell(&asked, STATUS_SUCCESS);
        self.owed[at].called = true;
        let letter = Self::letter(id, asked.line, !asked.to_client, &post, body);
        self.posted.push(Letter { origin: ids.0, parent: asked.id.unwrap(), ..letter });
        self.seen_ids.push(id);
        self.threads[thread] = Doing::Sending { id, waiter: post.waiter.unwrap(), woken: None };
    }

    pub(super) fn reply_and_wait(&mut self, thread: usize, role: Role, ids: (u32, u32), choice: u8) {
        let body = self.body(choice);
        let waiter = self.waiter(thread);
        let answered = self.group.reply_and_wait(role, ids, sender(thread), waiter, body, &mut self.log);
        let at = match self.held(role, ids) {
            Ok(at) => at,
            Err(status) => {
                assert_eq!(answered, Err(status));
                return;
            }
        };
        let parent = self.owed[at].parent;
        let mine = |l: &&mut Letter| {
            l.id == Some(parent) && parent != 0 && l.from == sender(thread) && l.blocked.is_none()
        };
        let Some(asked) = self.owed.iter_mut().find(mine) else {
            assert_eq!(answered, Err(STATUS_REPLY_MESSAGE_MISMATCH));
            return;
        };
        asked.blocked = Some(waiter);
        assert_eq!(answered, Ok(parent));
        self.threads[thread] = Doing::Sending { id: parent, waiter, woken: None };
        self.answer(at, LPC_REPLY, sender(thread), body);
    }

    /// A thread ends that may have call backs to answer.
    pub(super) fn thread_gone(&mut self, thread: usize) {
        let who = sender(thread).thread;
        self.group.thread_gone(who, &mut self.log);
        loop {
            let left = |l: &&Letter| {
                l.from.thread == who && l.blocked.is_none() && self.child(l.id.unwrap_or(0)).is_some()
            };
            let Some(id) = self.all().find(left).and_then(|l| l.id) else { return };
            self.strike(|l| l.id == Some(id));
            self.lose_children(id, STATUS_LPC_REPLY_LOST);
        }
    }

    // ----- cancelling --------------------------------------------------------------------------------------------

    /// Whether a port sent a message or receives it, if it may cancel it.
    fn may_cancel(&self, role: Role, id: u32) -> Option<bool> {
        let places = [&self.queued, &self.large, &self.out, &self.owed];
        let letter = places.into_iter().flatten().find(|l| l.id == Some(id))?;
        if !matches!(kind_of(letter), LPC_REQUEST | LPC_DATAGRAM) || letter.cancel.is_some() || letter.gone {
            return None;
        }
        match role {
            Role::Connection if !letter.to_client => Some(false),
            Role::Server(line) if line == letter.line => Some(letter.to_client),
            Role::Client(line) if line == letter.line => Some(!letter.to_client),
            _ => None,
        }
    }

    fn known_context(letter: &Letter, by_sender: bool) -> u64 {
        match letter.object {
            Some(o) if !by_sender => u64::from(o.server_type) << 32 | u64::from(o.access),
            _ => letter.contexts[usize::from(!by_sender)],
        }
    }

    pub(super) fn cancel_message(&mut self, role: Role, id: u32, right: bool, only_unseen: bool) {
        let named = self.find(id).cloned();
        let ids = named.as_ref().map_or((id, 0), Self::ids);
        let by_sender = self.may_cancel(role, id);
        let known = named.zip(by_sender).map_or(0, |(l, by_sender)| Self::known_context(&l, by_sender));
        let context = if right { known } else { known ^ 1 };
        let cancelled = self.group.cancel(role, &Cancel { id: ids, context, only_unseen }, &mut self.log);
        let Some(by_sender) = by_sender else {
            assert_eq!(cancelled, Err(STATUS_MESSAGE_NOT_FOUND));
            return;
        };
        if !right {
            assert_eq!(cancelled, Err(STATUS_CONTEXT_MISMATCH));
            return;
        }
        assert_eq!(cancelled, Ok(self.cancel_one(id, by_sender, only_unseen)));
    }

    pub(super) fn cancel_all(&mut self, role: Role, context: u64, only_unseen: bool) {
        let done = self.group.cancel_all(role, context, only_unseen, &mut self.log);
        // In the order of the table, which is that of the ids' lower halves.
        let mut ids: Vec<u32> = self.all().filter_map(|l| l.id).collect();
        ids.sort_unstable_by_key(|id| id & 0xFFFF);
        let mut expected = Err(STATUS_MESSAGE_NOT_FOUND);
        for id in ids {
            let matches = self.find(id).is_some_and(|l| Self::known_context(l, true) == context);
            if matches && self.may_cancel(role, id) == Some(true) {
                let one = self.cancel_one(id, true, only_unseen);
                if expected != Ok(Cancelled::Retrieved) {
                    expected = Ok(one);
                }
            }
        }
        assert_eq!(done, expected);
    }

    fn cancel_one(&mut self, id: u32, by_sender: bool, only_unseen: bool) -> Cancelled {
        if let Some(letter) = self.out.iter_mut().find(|l| l.id == Some(id)) {
            if !only_unseen {
                letter.cancel = Some(by_sender);
            }
            return Cancelled::Retrieved;
        }
        let seen = self.owed.iter().any(|l| l.id == Some(id));
        if !seen || !only_unseen {
            let letter = self.strike(|l| l.id == Some(id)).pop().expect("it can be cancelled");
            self.finish_cancel(letter, by_sender, seen);
        }
        if seen { Cancelled::Retrieved } else { Cancelled::Unseen }
    }

    /// A letter that was taken out of its place is cancelled.
    pub(super) fn finish_cancel(&mut self, letter: Letter, by_sender: bool, seen: bool) {
        let id = letter.id.unwrap();
        let owed = is_owed(&letter);
        self.lose_children(id, STATUS_LPC_REPLY_LOST);
        let canceled =
            Letter { kind: LPC_CANCELED, body: Tag::default(), cancel: None, kept: false, ..letter.clone() };
        if letter.blocked.is_some() {
            if by_sender && seen {
                self.canceled.push(Letter {
                    kind: LPC_CANCELED,
                    from: letter.from,
                    line: letter.line,
                    to_client: letter.to_client,
                    object: letter.object,
                    contexts: letter.contexts,
                    origin: if letter.parent == 0 { id } else { letter.origin },
                    ..Letter::default()
                });
            }
            self.tell(&letter, STATUS_SUCCESS);
            self.answered.push(canceled);
        } else if owed && self.connected(letter.line) && by_sender && seen {
            self.canceled.push(canceled);
        } else if owed && self.connected(letter.line) && !by_sender {
            let [mine, theirs] = canceled.contexts;
            self.queued.push(Letter { to_client: !canceled.to_client, contexts: [theirs, mine], ..canceled });
        }
    }

    // ----- reserves ----------------------------------------------------------------------------------------------

    /// A reserve that a port can use.
    fn spare(&mut self, role: Role, id: u32) -> Option<Spare> {
        let used: Vec<u32> = self.all().chain(&self.ghosts).map(|l| l.reserve).collect();
        self.spares.retain(|s| !s.deleted || used.contains(&s.id));
        let (line, of_client) = match role {
            Role::Connection => return None,
            Role::Server(line) => (line, false),
            Role::Client(line) => (line, true),
        };
        let mine = |s: &&Spare| s.id == id && s.line == line && s.of_client == of_client && !s.deleted;
        self.spares.iter().find(mine).copied()
    }

    pub(super) fn reserves(&mut self, thread: usize, role: Role, choice: u8, extra: u8) {
        let usable: Vec<Spare> = self.spares.iter().filter(|s| !s.deleted).copied().collect();
        let (role, id) = match pick(&usable, extra).filter(|_| !one_in(4, choice)) {
            Some(s) => (if s.of_client { Role::Client(s.line) } else { Role::Server(s.line) }, s.id),
            None => (role, pick(&self.seen_spares, extra).unwrap()),
        };
        let size = if one_in(3, extra) { SMALL } else { LARGE };
        match choice % 4 {
            0 => {
                let body = Tag { number: 0, length: 0, reserved: true };
                let made = self.group.create_reserve(role, size, body);
                let refused = match role {
                    Role::Connection => Some(STATUS_INVALID_PORT_HANDLE),
                    _ => self.refusal(role),
                };
                match refused {
                    Some(status) => assert_eq!(made, Err(status)),
                    None => {
                        let id = made.expect("a reserve");
                        let (Role::Server(line) | Role::Client(line)) = role else { return };
                        let of_client = matches!(role, Role::Client(_));
                        self.spares.push(Spare { id, line, of_client, size, deleted: false });
                        self.seen_spares.push(id);
                    }
                }
            }
            1 if one_in(4, extra) => {
                let deleted = self.group.delete_reserve(role, id);
                if self.spare(role, id).is_none() {
                    assert_eq!(deleted, Err(STATUS_INVALID_PARAMETER));
                    return;
                }
                assert_eq!(deleted, Ok(()));
                self.delete_spares(|s| s.id == id);
            }
            _ => self.send_reserved(thread, role, id, extra),
        }
    }

    pub(super) fn delete_spares(&mut self, which: impl Fn(&Spare) -> bool) {
        for spare in self.spares.iter_mut().filter(|s| which(s)) {
            spare.deleted = true;
        }
        let kept: Vec<u32> =
            self.spares.iter().filter(|s| !s.deleted || self.in_use(s.id)).map(|s| s.id).collect();
        self.spares.retain(|s| kept.contains(&s.id));
    }

    fn send_reserved(&mut self, thread: usize, role: Role, id: u32, choice: u8) {
        let Tag { number, length, .. } = self.body(choice);
        let begun = self.group.begin_reserve(role, id, length);
        assert_eq!(self.group.is_reserve(role, id), self.spare(role, id).is_some());
        let refused = match self.spare(role, id) {
            None => Some(STATUS_MESSAGE_NOT_FOUND),
            Some(spare) if self.in_use(spare.id) => Some(STATUS_INSUFFICIENT_RESOURCES),
            Some(spare) if length > spare.size => Some(STATUS_PORT_MESSAGE_TOO_LONG),
            Some(_) => None,
        };
        if let Some(status) = refused {
            assert_eq!(begun, Err(status));
            return;
        }
        let body = begun.expect("the body");
        assert_eq!(body, Tag { number: 0, length: 0, reserved: true }, "a reserve's body comes back empty");
        if one_in(8, choice) {
            self.group.cancel_reserve(id, body);
            return;
        }
        let body = Tag { number, length, reserved: true };
        let post = self.make_post(thread, one_in(2, choice), choice);
        let sent = self.group.send_reserved(role, id, &post, body, &mut self.log);
        if let Some(status) = self.refusal(role) {
            assert_eq!(sent, Err(status));
            return;
        }
        let (Role::Server(line) | Role::Client(line)) = role else { return };
        let sent = sent.expect("a reserve lets it go through");
        assert!(
            sent & 0x8000_0000 == 0 && !self.seen_ids[MADE_UP.len()..].contains(&sent),
            "{sent:#x} is new"
        );
        self.seen_ids.push(sent);
        let letter = Self::letter(sent, line, matches!(role, Role::Server(_)), &post, body);
        self.queued.push(Letter { reserve: id, ..letter });
        if let Some(waiter) = post.waiter {
            self.threads[thread] = Doing::Sending { id: sent, waiter, woken: None };
        }
    }

    // ----- limits ------------------------------------------------------------------------------------------------

    pub(super) fn set_pool_limit(&mut self, role: Role, choice: u8) {
        let most = if one_in(2, choice) { u64::MAX } else { u64::from(choice) * 8 };
        self.group.set_pool_limit(role, most);
        match role {
            Role::Connection => self.pool = most,
            Role::Server(line) | Role::Client(line) => {
                self.line(line).pools[usize::from(matches!(role, Role::Client(_)))] = most;
            }
        }
    }

    pub(super) fn wait_references(&mut self, thread: usize, role: Role) {
        let waiter = self.waiter(thread);
        let waits = self.group.wait_references(role, waiter);
        let open = match role {
            Role::Connection => true,
            Role::Server(line) => self.lines[&line].server_open,
            Role::Client(line) => self.lines[&line].client_open,
        };
        let expected = if open { Ok(self.tracked(role)) } else { Err(STATUS_PORT_CLOSED) };
        assert_eq!(waits, expected);
        if waits == Ok(true) {
            self.threads[thread] = Doing::Tracking { role, waiter, woken: None };
        }
    }

    /// Who waits for references is woken when there are none.
    pub(super) fn expect_references(&mut self) {
        for thread in 0..THREADS {
            if let Doing::Tracking { role, waiter, woken: None } = self.threads[thread]
                && !self.tracked(role)
                && !self.expected.iter().any(|(w, _)| *w == waiter)
            {
                self.expect(waiter, STATUS_SUCCESS);
            }
        }
    }

    /// A side closes: nobody waits for its references any more.
    pub(super) fn end_references(&mut self, side: Role) {
        for doing in self.threads {
            if let Doing::Tracking { role, waiter, woken: None } = doing
                && role == side
            {
                self.expect(waiter, STATUS_PORT_CLOSED);
            }
        }
    }
}
