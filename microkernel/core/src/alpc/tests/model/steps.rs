//! Steps of threads: connecting, sending, receiving, replying.

use super::know::Next;
use super::*;

impl World {
    pub(super) fn connect(&mut self, thread: usize, sync: bool, choice: u8) {
        if self.lines.values().filter(|l| !l.gone()).count() >= LINES {
            return;
        }
        let body = self.body(choice);
        let waiter = sync.then(|| self.waiter(thread));
        let object = 1000 + self.number();
        let made = self.group.connect(sender(thread), body, waiter, object, &mut self.log);
        if self.closed {
            assert_eq!(made, Err(STATUS_PORT_CONNECTION_REFUSED));
            return;
        }
        let (line, id) = made.expect("a connection");
        let new = Line {
            phase: Phase::Pending,
            client_open: true,
            server_open: false,
            client_held: !sync,
            accepted: false,
            context: 0,
            client_process: sender(thread).process,
            server_process: 0,
            client_object: object,
            server_object: NO_OBJECT,
            pools: [u64::MAX; 2],
        };
        assert!(self.lines.insert(line, new).is_none(), "a connection's key came back");
        self.queued.push(Letter {
            id: Some(id),
            kind: LPC_CONNECTION_REQUEST | if sync { LPC_CONTINUATION_REQUIRED } else { 0 },
            from: sender(thread),
            line,
            body,
            blocked: waiter,
            ..Letter::default()
        });
        self.seen_ids.push(id);
        if let Some(waiter) = waiter {
            self.threads[thread] = Doing::Connecting { line, id, waiter, woken: None };
        }
    }

    fn seen_request(&self, id: u32) -> Option<usize> {
        self.owed.iter().position(|l| l.id == Some(id) && kind_of(l) == LPC_CONNECTION_REQUEST)
    }

    /// The answer of a request: to its blocked sender or into its port's queue.
    pub(super) fn answer(&mut self, at: usize, kind: u16, from: Sender, body: Tag) {
        let letter = self.owed.remove(at);
        self.lose_children(letter.id.unwrap_or(0), STATUS_LPC_REPLY_LOST);
        let letter = Letter { kind, from, body, kept: false, ..letter };
        if letter.blocked.is_some() {
            self.tell(&letter, STATUS_SUCCESS);
            self.answered.push(letter);
        } else {
            let [mine, theirs] = letter.contexts;
            self.queued.push(Letter { to_client: !letter.to_client, contexts: [theirs, mine], ..letter });
        }
    }

    pub(super) fn accept(&mut self, thread: usize, id: u32, choice: u8) {
        let (body, context, object) = (self.body(choice), u64::from(self.number()), 2000 + self.number());
        let accepted = self.group.accept(id, sender(thread), context, object, body, &mut self.log);
        let Some(at) = self.seen_request(id) else {
            assert_eq!(accepted, Err(STATUS_INVALID_MESSAGE));
            return;
        };
        let line = self.owed[at].line;
        let l = self.line(line);
        if l.phase != Phase::Pending || !l.client_open {
            self.owed.remove(at);
            assert_eq!(accepted, Err(STATUS_REQUEST_CANCELED));
            return;
        }
        (l.phase, l.server_open, l.accepted) = (Phase::Connected, true, true);
        (l.context, l.server_process, l.server_object) = (context, sender(thread).process, object);
        assert_eq!(accepted, Ok(line));
        self.answer(at, LPC_CONNECTION_REPLY, sender(thread), body);
    }

    pub(super) fn refuse(&mut self, id: u32) {
        let refused = self.group.refuse(id, &mut self.log);
        let Some(at) = self.seen_request(id) else {
            assert_eq!(refused, Err(STATUS_INVALID_MESSAGE));
            return;
        };
        assert_eq!(refused, Ok(()));
        let letter = self.owed.remove(at);
        if let Some(waiter) = letter.blocked {
            self.line(letter.line).client_open = false;
            self.expect(waiter, STATUS_PORT_CONNECTION_REFUSED);
        }
        self.line(letter.line).phase = Phase::Refused;
    }

    /// Why nothing can be sent on a port.
    pub(super) fn refusal(&self, role: Role) -> Option<NtStatus> {
        let (Role::Server(line) | Role::Client(line)) = role else {
            return Some(STATUS_LPC_INVALID_CONNECTION_USAGE);
        };
        let l = &self.lines[&line];
        if l.phase == Phase::Refused && !l.gone() {
            Some(STATUS_PORT_CONNECTION_REFUSED)
        } else {
            (l.phase != Phase::Connected || l.gone()).then_some(STATUS_PORT_DISCONNECTED)
        }
    }

    pub(super) fn make_post(&mut self, thread: usize, sync: bool, choice: u8) -> Post {
        Post {
            sender: sender(thread),
            waiter: sync.then(|| self.waiter(thread)),
            release: one_in(2, choice >> 1),
            context: if one_in(3, choice) { 0 } else { u64::from(choice % 5) },
            tracked: one_in(7, choice),
        }
    }

    fn kind_sent(post: &Post) -> u16 {
        match post.waiter {
            Some(_) => LPC_REQUEST | LPC_CONTINUATION_REQUIRED,
            None if post.release => LPC_DATAGRAM,
            None => LPC_DATAGRAM | LPC_CONTINUATION_REQUIRED,
        }
    }

    /// The letter of a message that was sent.
    pub(super) fn letter(id: u32, line: u64, to_client: bool, post: &Post, body: Tag) -> Letter {
        Letter {
            id: Some(id),
            kind: Self::kind_sent(post),
            from: post.sender,
            line,
            to_client,
            sent_to_client: to_client,
            body,
            blocked: post.waiter,
            contexts: [post.context, 0],
            tracked: post.tracked,
            ..Letter::default()
        }
    }

    pub(super) fn send(&mut self, thread: usize, role: Role, sync: bool, choice: u8) {
        let body = self.body(choice);
        let post = self.make_post(thread, sync, choice);
        let sent = self.group.send(role, &post, body, &mut self.log);
        if let Some(status) = self.refusal(role) {
            assert_eq!(sent, Err(status));
            return;
        }
        if let Role::Server(line) | Role::Client(line) = role {
            self.sent(thread, sent, line, matches!(role, Role::Server(_)), None, &post, body);
        }
    }

    /// A blocking request straight to a thread that waits. `false`: it must go the long way.
    pub(super) fn hand_over(
        &mut self,
        thread: usize,
        role: Role,
        object: Option<ObjectContext>,
        choice: u8,
    ) -> bool {
        let body = self.body(choice);
        let waiter = self.waiter(thread);
        let line = match (role, object) {
            (_, Some(_)) if !self.closed => Some(0),
            (Role::Client(line), None) if self.lines[&line].phase == Phase::Connected => Some(line),
            _ => None,
        };
        let receiver = line.filter(|_| self.depth(Role::Connection) == 0).and_then(|line| {
            let of_server = |(role, _): &(Role, Waiter)| !matches!(role, Role::Client(_));
            let first = self.waiting.iter().copied().find(of_server);
            first.filter(|(role, _)| *role == Role::Connection || *role == Role::Server(line))
        });
        let gives = !one_in(4, choice);
        let sequence = self.delivered + 1;
        let connection = match (role, object) {
            (_, Some(_)) => 0,
            (Role::Client(line), None) => line,
            _ => return false,
        };
        let before = self.slots.get(&connection).copied().filter(|_| one_in(2, choice));
        let fresh = if before.is_none() { self.group.prepare_direct(connection) } else { None };
        assert!(fresh.is_none() || line.is_some(), "only a connection that is up has messages for this");
        let begun = fresh.or(before).and_then(|slot| self.group.begin_direct(connection, slot));
        if fresh.is_some() || begun.is_some() {
            // One that was prepared before serves as long as it is the connection's and idle.
            assert_eq!(begun.as_ref().map(|r| r.receiver), receiver.map(|(_, waiter)| waiter));
        }
        self.slots.extend(fresh.map(|slot| (connection, slot)));
        let Some((begun, (_, receiver))) = begun.zip(receiver) else { return false };
        assert_eq!(begun.sequence, sequence);
        if !gives {
            return false;
        }
        let id = begun.id;
        begun.commit(object, sender(thread), waiter, sender(receiver.thread as usize));
        self.delivered += 1;
        self.waiting.retain(|(_, w)| *w != receiver);
        self.threads[receiver.thread as usize] = Doing::Handed { id, body };
        self.threads[thread] = Doing::Sending { id, waiter, woken: None };
        self.seen_ids.push(id);
        let post = Post::request(sender(thread), waiter);
        self.owed.push(Letter { object, ..Self::letter(id, line.unwrap(), false, &post, body) });
        true
    }

    /// The receiver of a direct request has it, or could not copy it out.
    pub(super) fn finish_handed(&mut self, thread: usize, id: u32, body: Tag, choice: u8) {
        self.threads[thread] = Doing::Idle;
        if !one_in(4, choice) {
            return;
        }
        let kept = one_in(8, choice).then_some(body);
        self.group.undo_direct(id, kept, &mut self.log);
        // What its sender holds under that id is no request any more.
        let is_it = |l: &Letter| l.id == Some(id) && kind_of(l) == LPC_REQUEST;
        if let Some(at) = self.owed.iter().position(is_it) {
            let letter = self.owed.remove(at);
            match kept {
                Some(body) => self.queued.insert(0, Letter { body, kept: false, ..letter }),
                None => {
                    self.tell(&letter, STATUS_INSUFFICIENT_RESOURCES);
                    self.lose_children(id, STATUS_LPC_REPLY_LOST);
                }
            }
        }
    }

    /// A reply handed to its blocked sender by a thread that waits for the next message. `false`: it must go the long way.
    pub(super) fn hand_back(&mut self, thread: usize, role: Role, id: u32) -> bool {
        let quiet = match role {
            Role::Connection => !self.closed,
            Role::Server(line) => self.connected(line),
            Role::Client(_) => false,
        };
        let quiet = quiet && self.depth(role) == 0;
        let found = self.held(role, (id, 0)).ok().filter(|at| {
            let l = &self.owed[*at];
            let free = kind_of(l) == LPC_REQUEST
                && l.parent == 0
                && !l.kept
                && !l.tracked
                && !l.called
                && l.contexts == [0; 2]
                && l.reserve == 0;
            free && self.child(id).is_none()
        });
        let waiter = found.and_then(|at| self.owed[at].blocked);
        let own = self.waiter(thread);
        let begun = match role {
            Role::Connection => self.group.begin_answer(0, id),
            Role::Server(line) => self.group.begin_answer(line, id),
            Role::Client(_) => None,
        };
        let asker = begun.as_ref().map(|a| a.asker);
        if !quiet || waiter.is_none() {
            assert_eq!(asker, None);
            return false;
        }
        // Without room to publish the waiter it declines.
        assert!(asker.is_none() || asker == waiter, "{asker:?}, not {waiter:?}");
        let Some(((at, waiter), begun)) = found.zip(asker).zip(begun) else { return false };
        if begun.commit(own) {
            self.group.drop_answered(id);
        }
        self.owed.remove(at);
        self.waiting.push((role, own));
        self.threads[waiter.thread as usize] = Doing::Idle;
        self.threads[thread] = Doing::Waiting { role, room: LARGE, waiter: own, woken: None };
        true
    }

    pub(super) fn send_on_object(&mut self, thread: usize, sync: bool, choice: u8) {
        let body = self.body(choice);
        let mut post = self.make_post(thread, sync, choice);
        let object = ObjectContext { context: 7000 + u64::from(choice), access: 3, server_type: 4 };
        let sent = self.group.send_on_object(object, &post, body, &mut self.log);
        (post.release, post.tracked) = (!sync, false);
        if self.closed {
            assert_eq!(sent, Err(STATUS_PORT_DISCONNECTED));
        } else {
            self.sent(thread, sent, 0, false, Some(object), &post, body);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    fn sent(
        &mut self,
        thread: usize,
        sent: Result<u32, NtStatus>,
        line: u64,
        to_client: bool,
        object: Option<ObjectContext>,
        post: &Post,
        body: Tag,
    ) {
        let counted = post.waiter.is_none();
        if counted && !self.allowed(line, to_client, sender(thread).process, body.length) {
            assert_eq!(sent, Err(STATUS_QUOTA_EXCEEDED));
            return;
        }
        let id = sent.expect("it is sent");
        let cost = if counted { (MESSAGE_COST + body.length) as u64 } else { 0 };
        self.queued.push(Letter { object, cost, ..Self::letter(id, line, to_client, post, body) });
        self.seen_ids.push(id);
        if let Some(waiter) = post.waiter {
            self.threads[thread] = Doing::Sending { id, waiter, woken: None };
        }
    }

    pub(super) fn reply(&mut self, thread: usize, role: Role, ids: (u32, u32), choice: u8) {
        let body = self.body(choice);
        let context = u64::from(choice % 3);
        let replied = self.group.reply(role, ids, sender(thread), context, body, &mut self.log);
        match self.held(role, ids) {
            Ok(at) => {
                assert_eq!(replied, Ok(()));
                if !is_owed(&self.owed[at]) {
                    self.owed.remove(at);
                    return;
                }
                if context != 0 {
                    self.owed[at].contexts[1] = context;
                }
                self.answer(at, LPC_REPLY, sender(thread), body);
            }
            Err(status) => assert_eq!(replied, Err(status)),
        }
    }

    pub(super) fn release(&mut self, role: Role, ids: (u32, u32)) {
        let released = self.group.release(role, ids, &mut self.log);
        match self.held(role, ids) {
            Ok(at) => {
                assert_eq!(released, Ok(()));
                let letter = self.owed.remove(at);
                self.lose_children(letter.id.unwrap(), STATUS_LPC_REPLY_LOST);
                self.tell(&letter, STATUS_LPC_REPLY_LOST);
            }
            Err(status) => assert_eq!(released, Err(status)),
        }
    }

    pub(super) fn receive(&mut self, thread: usize, role: Role, room: usize, wait: bool) {
        self.threads[thread] = Doing::Idle;
        let received = self.group.receive(role, room, sender(thread), &mut self.log);
        let mut letter = match self.next(role, room) {
            Next::Canceled(at) => self.canceled.remove(at),
            Next::Large(at) => self.large.remove(at),
            Next::Queued(at) => self.queued.remove(at),
            Next::TooLarge(at) => {
                let letter = self.queued.remove(at);
                let length = letter.body.length;
                self.large.push(letter);
                assert!(
                    matches!(received, Received::TooSmall(n) if n == length),
                    "{received:?}, not too small"
                );
                return;
            }
            Next::Needs(length) => {
                assert!(
                    matches!(received, Received::TooSmall(n) if n == length),
                    "{received:?}, not too small"
                );
                return;
            }
            Next::Nothing => {
                if let Some(status) = self.end_status(role) {
                    assert!(
                        matches!(received, Received::Status(s) if s == status),
                        "{received:?}, not {status:?}"
                    );
                    return;
                }
                assert!(matches!(received, Received::Empty), "{received:?}, not empty");
                if wait {
                    let waiter = self.waiter(thread);
                    self.group.add_waiter(role, waiter).unwrap();
                    self.waiting.push((role, waiter));
                    self.threads[thread] = Doing::Waiting { role, room, waiter, woken: None };
                }
                return;
            }
        };
        let Received::Message(delivery) = received else { panic!("{received:?}, not a message") };
        self.delivered += 1;
        let context = match letter.object {
            Some(object) => object.context,
            None if letter.to_client => 0,
            None => self.lines[&letter.line].context,
        };
        let queue = if letter.to_client { role } else { Role::Connection };
        assert_eq!(letter.id.unwrap_or(delivery.key), delivery.key);
        letter.id = Some(delivery.key);
        self.check_delivery(&letter, &delivery, letter.contexts[1]);
        assert_eq!((delivery.context, delivery.object), (context, letter.object));
        assert_eq!((delivery.sequence, delivery.depth as usize), (self.delivered, self.depth(queue)));
        self.threads[thread] = Doing::Delivering { id: delivery.key, body: delivery.body };
        self.out.push(letter);
    }

    fn check_delivery(&self, letter: &Letter, delivery: &Delivery<Tag>, message_context: u64) {
        let key = letter.id.unwrap();
        let id = if letter.origin == 0 { key } else { letter.origin };
        let callback_id = if letter.parent == 0 { 0 } else { key };
        assert_eq!((delivery.key, delivery.id, delivery.callback_id), (key, id, callback_id));
        assert_eq!((delivery.message_type, delivery.sender), (letter.kind, letter.from));
        assert_eq!((delivery.connection, delivery.body), (letter.line, letter.body));
        assert_eq!(delivery.message_context, message_context);
    }

    pub(super) fn end_delivery(&mut self, thread: usize, id: u32, body: Tag, keep: bool) {
        self.threads[thread] = Doing::Idle;
        self.ghosts.retain(|l| l.id != Some(id));
        let found = self.out.iter().position(|l| l.id == Some(id)).map(|at| self.out.remove(at));
        let kept = (keep || body.reserved).then_some(body);
        let ended = self.group.end_delivery(id, kept, &mut self.log);
        assert_eq!(ended, found.as_ref().is_some_and(|l| !l.gone));
        let Some(letter) = found.filter(|l| !l.gone) else { return };
        let waits = letter.blocked.is_some() || kind_of(&letter) == LPC_CONNECTION_REQUEST;
        let connected = letter.line == 0 && !letter.to_client || self.connected(letter.line);
        if !waits && !(connected && (is_owed(&letter) || kept.is_some() && letter.reserve == 0)) {
            return;
        }
        let letter = Letter { kept: kept.is_some(), ..letter };
        match letter.cancel {
            Some(by_sender) => self.finish_cancel(letter, by_sender, true),
            None => self.owed.push(letter),
        }
    }

    pub(super) fn undo_delivery(&mut self, thread: usize, id: u32, body: Tag) {
        self.threads[thread] = Doing::Idle;
        self.ghosts.retain(|l| l.id != Some(id));
        self.group.undo_delivery(id, body, &mut self.log);
        let Some(at) = self.out.iter().position(|l| l.id == Some(id)) else { return };
        let letter = self.out.remove(at);
        if !self.receivable(&letter) || letter.gone {
            self.lose_children(id, STATUS_LPC_REPLY_LOST);
        } else if let Some(by_sender) = letter.cancel {
            self.finish_cancel(letter, by_sender, false);
        } else if kind_of(&letter) == LPC_CANCELED && letter.origin != 0 {
            self.canceled.insert(0, letter);
        } else {
            self.queued.insert(0, letter);
        }
    }

    /// A blocked sender or connector goes on, by its waking, a time-out or its death.
    pub(super) fn finish(&mut self, thread: usize, room: usize) {
        let doing = std::mem::replace(&mut self.threads[thread], Doing::Idle);
        match doing {
            Doing::Sending { id, .. } => {
                let taken = self.group.take(id, room, &mut self.log);
                self.check_taken(thread, id, room, taken);
            }
            Doing::Connecting { line, id, .. } => {
                let taken = self.group.take_connect(line, id, &mut self.log);
                let taken = taken.map_or(Woken::Nothing, Woken::Answer);
                if self.check_taken(thread, id, usize::MAX, taken) {
                    self.line(line).client_held = true;
                } else {
                    self.line(line).client_open = false;
                }
            }
            _ => unreachable!("it does not wait for an answer"),
        }
    }

    /// What a sender that returns found, against the model. True: its answer.
    fn check_taken(&mut self, thread: usize, id: u32, room: usize, taken: Woken<Tag>) -> bool {
        if let Some(at) = self.answered.iter().position(|l| l.id == Some(id)) {
            let letter = self.answered.remove(at);
            let [mine, theirs] = letter.contexts;
            let length = letter.body.length;
            let letter = Letter {
                to_client: !letter.to_client,
                contexts: [theirs, mine],
                blocked: None,
                called: false,
                ..letter
            };
            if length > room {
                assert!(matches!(taken, Woken::TooSmall(n) if n == length), "{taken:?}, not too small");
                if self.receivable(&letter) {
                    self.large.push(letter);
                }
                return false;
            }
            let Woken::Answer(delivery) = taken else { panic!("{taken:?}, not {letter:?}") };
            self.check_delivery(&letter, &delivery, mine);
            self.threads[thread] = Doing::Delivering { id, body: delivery.body };
            self.out.push(letter);
            return true;
        }
        if let Some(at) = self.posted.iter().position(|l| l.parent == id) {
            let mut letter = self.posted.remove(at);
            let asked = self.find(id).expect("the message that the call back is for");
            (asked.blocked, asked.called) = (None, false);
            let context = asked.contexts[0];
            self.delivered += 1;
            let length = letter.body.length;
            if length > room {
                assert!(matches!(taken, Woken::TooSmall(n) if n == length), "{taken:?}, not too small");
                if letter.blocked.is_some() {
                    self.large.push(letter);
                }
                return false;
            }
            let Woken::Callback(delivery) = taken else { panic!("{taken:?}, not {letter:?}") };
            self.check_delivery(&letter, &delivery, context);
            assert_eq!(delivery.sequence, self.delivered);
            letter.contexts[1] = context;
            letter.gone = letter.blocked.is_none();
            self.threads[thread] = Doing::Delivering { id: delivery.key, body: delivery.body };
            self.out.push(letter);
            return false;
        }
        assert!(matches!(taken, Woken::Nothing), "{taken:?}, not nothing");
        if let Some(letter) = self.posted.iter_mut().find(|l| l.id == Some(id)) {
            letter.blocked = None;
            return false;
        }
        if let Some(letter) = self.find(id) {
            letter.called = false;
        }
        if !self.strike(|l| l.id == Some(id) && l.blocked.is_some()).is_empty() {
            self.lose_children(id, STATUS_LPC_REPLY_LOST);
        }
        false
    }

    /// A waiting receiver leaves without receiving.
    pub(super) fn leave(&mut self, thread: usize) {
        match self.threads[thread] {
            Doing::Waiting { role, waiter, .. } => {
                self.waiting.retain(|(_, w)| *w != waiter);
                self.group.remove_waiter(role, waiter, &mut self.log);
            }
            Doing::Tracking { role, waiter, .. } => self.group.end_references(role, waiter),
            _ => return,
        }
        self.threads[thread] = Doing::Idle;
    }
}
