//! Which steps are taken, and what must hold when all have come to rest.

use super::*;

impl World {
    pub(super) fn lines_where(&self, which: impl Fn(&Line) -> bool) -> Vec<u64> {
        self.lines.iter().filter(|(_, l)| which(l)).map(|(key, _)| *key).collect()
    }

    /// A port that some thread has or had a handle to.
    fn role(&self, choice: u8) -> Role {
        // Old connections are chosen now and then, living ones most of the time.
        let living = !one_in(16, choice);
        let usable = |l: &Line| !living || !l.gone();
        let role = if one_in(2, choice) {
            pick(&self.lines_where(|l| l.accepted && usable(l)), choice >> 2).map(Role::Server)
        } else {
            let held = |l: &Line| (l.client_held || l.phase == Phase::Disconnected) && usable(l);
            pick(&self.lines_where(held), choice >> 2).map(Role::Client)
        };
        role.unwrap_or(Role::Connection)
    }

    fn receiving_role(&self, choice: u8) -> Role {
        if one_in(3, choice) { Role::Connection } else { self.role(choice) }
    }

    /// An id that this is meant for, or now and then just any.
    fn id(&self, choice: u8, wanted: impl Fn(&Letter) -> bool) -> u32 {
        let good: Vec<u32> = self.owed.iter().filter(|l| wanted(l)).filter_map(|l| l.id).collect();
        let any = self.seen_ids[self.seen_ids.len().saturating_sub(8)..].to_vec();
        if !one_in(8, choice) { pick(&good, choice) } else { None }.or(pick(&any, choice)).unwrap()
    }

    /// A held message to answer and the port to do it through; now and then the wrong one.
    fn target(&self, choice: u8, extra: u8, wanted: impl Fn(&Letter) -> bool) -> (Role, (u32, u32)) {
        let id = self.id(choice, wanted);
        let letter = self.owed.iter().find(|l| l.id == Some(id));
        let role = match letter.filter(|_| !one_in(4, extra)) {
            Some(l) if l.to_client => Role::Client(l.line),
            Some(l) if l.line != 0 && one_in(2, extra) => Role::Server(l.line),
            Some(_) => Role::Connection,
            None => self.role(extra),
        };
        let ids = letter.filter(|_| !one_in(16, extra)).map_or((id, 0), Self::ids);
        (role, ids)
    }

    pub(super) fn run(&mut self, (thread, what, choice, extra): Step) {
        let thread = usize::from(thread) % THREADS;
        match self.threads[thread] {
            Doing::Idle => self.start(thread, what, choice, extra),
            Doing::Delivering { id, body } if one_in(4, what) => self.undo_delivery(thread, id, body),
            Doing::Delivering { id, body } => self.end_delivery(thread, id, body, one_in(8, extra)),
            Doing::Handed { id, body } => self.finish_handed(thread, id, body, what),
            Doing::Waiting { role, room, woken: Some(STATUS_SUCCESS), .. } if !one_in(4, what) => {
                self.receive(thread, role, room, true);
            }
            Doing::Waiting { woken: None, .. } | Doing::Tracking { woken: None, .. } if !one_in(4, what) => {}
            Doing::Waiting { .. } | Doing::Tracking { .. } => self.leave(thread),
            Doing::Sending { woken: None, .. } | Doing::Connecting { woken: None, .. }
                if !one_in(8, what) => {}
            Doing::Sending { .. } | Doing::Connecting { .. } => {
                self.finish(thread, if one_in(6, extra) { SMALL } else { LARGE });
            }
        }
        self.check();
    }

    fn start(&mut self, thread: usize, what: u8, choice: u8, extra: u8) {
        let is_connect = |l: &Letter| kind_of(l) == LPC_CONNECTION_REQUEST;
        match what % 130 {
            0..5 => self.connect(thread, true, choice),
            5..10 => self.connect(thread, false, choice),
            10..18 => self.accept(thread, self.id(choice, is_connect), extra),
            18..20 => self.refuse(self.id(choice, is_connect)),
            20..30 => self.send(thread, self.role(choice), false, extra),
            30..42 => {
                let role = self.role(choice);
                if one_in(2, extra) || !self.hand_over(thread, role, None, extra) {
                    self.send(thread, role, true, extra);
                }
            }
            42..46 => {
                let object = ObjectContext { context: 5, access: 1, server_type: 2 };
                if !one_in(3, extra) || !self.hand_over(thread, Role::Connection, Some(object), extra) {
                    self.send_on_object(thread, one_in(2, extra), choice);
                }
            }
            46..56 => {
                let (role, ids) = self.target(choice, extra, |l| !is_connect(l));
                if one_in(9, choice) {
                    self.release(role, ids);
                } else if one_in(2, choice) || ids.1 != 0 || !self.hand_back(thread, role, ids.0) {
                    self.reply(thread, role, ids, extra);
                }
            }
            56..80 => {
                let room = if one_in(5, extra) { SMALL } else { LARGE };
                self.receive(thread, self.receiving_role(choice), room, !one_in(8, extra));
            }
            80..84 => self.notices(thread, choice, extra),
            84..88 => {
                if let Some(line) = pick(&self.lines_where(|l| l.client_held), choice) {
                    self.close_client(line);
                }
            }
            88..91 => {
                if let Some(line) = pick(&self.lines_where(|l| l.server_open), choice) {
                    self.close_server(line);
                }
            }
            91..93 => self.disconnect(self.role(choice), one_in(2, extra)),
            93 if one_in(4, extra) && !self.closed => self.close_connection_port(),
            96..106 => {
                let (role, ids) = self.target(choice, extra, |l| l.blocked.is_some() && !is_connect(l));
                self.call_back(thread, role, ids, extra);
            }
            106..112 => {
                let mine = |l: &Letter| {
                    let asked = self.owed.iter().find(|a| a.id == Some(l.parent) && l.parent != 0);
                    asked.is_some_and(|a| a.from == sender(thread))
                };
                let (role, ids) = self.target(choice, extra, mine);
                self.reply_and_wait(thread, role, ids, extra);
            }
            112..114 => self.thread_gone(thread),
            114..120 => {
                let ids: Vec<u32> = self.all().filter(|l| !is_connect(l)).filter_map(|l| l.id).collect();
                let id = pick(&ids, extra).unwrap_or(0);
                let letter = self.find(id).cloned();
                let role = match letter.filter(|_| !one_in(4, choice)) {
                    Some(l) if l.line != 0 && one_in(2, choice >> 2) => Role::Client(l.line),
                    Some(l) if l.line != 0 && one_in(2, choice >> 3) => Role::Server(l.line),
                    Some(l) if !l.to_client => Role::Connection,
                    _ => self.role(choice),
                };
                self.cancel_message(role, id, !one_in(8, choice), one_in(5, choice));
            }
            120..122 => self.cancel_all(self.role(choice), u64::from(extra % 5), one_in(3, choice)),
            122..126 => self.reserves(thread, self.role(choice), extra, choice),
            126 => self.set_pool_limit(self.role(choice), extra),
            127 => self.wait_references(thread, self.role(choice)),
            _ => self.settle(),
        }
    }

    /// A connection whose client has taken the answer.
    pub(super) fn pair(&mut self) {
        self.connect(0, false, 1);
        self.receive(1, Role::Connection, LARGE, false);
        self.check();
        let id = *self.seen_ids.last().unwrap();
        self.finish_delivery(1);
        self.accept(1, id, 1);
        self.check();
        let line = *self.lines.keys().last().unwrap();
        self.receive(0, Role::Client(line), LARGE, false);
        self.finish_delivery(0);
        self.check();
    }

    fn finish_delivery(&mut self, thread: usize) {
        if let Doing::Delivering { id, body } = self.threads[thread] {
            self.end_delivery(thread, id, body, false);
        }
    }

    /// Lets every woken receiver run. After that nobody may sleep who has something to receive or to learn.
    pub(super) fn settle(&mut self) {
        self.check();
        while let Some(thread) =
            self.threads.iter().position(|t| matches!(t, Doing::Waiting { woken: Some(_), .. }))
        {
            match self.threads[thread] {
                Doing::Waiting { role, room, woken: Some(STATUS_SUCCESS), .. } => {
                    self.receive(thread, role, room, true);
                }
                _ => self.leave(thread),
            }
            self.check();
            self.finish_delivery(thread);
            self.check();
        }
        for (role, waiter) in &self.waiting {
            assert_eq!(self.depth(*role), 0, "{waiter:?} at {role:?} sleeps next to a message");
            assert_eq!(self.end_status(*role), None, "{waiter:?} sleeps at {role:?}, which has ended");
        }
    }

    /// Everybody leaves and everything is closed, in one of several orders; nothing remains.
    pub(super) fn close_all(&mut self, order: u8) {
        if order & 1 != 0 && !self.closed {
            self.close_connection_port();
            self.check();
        }
        let threads: Vec<usize> =
            if order & 2 != 0 { (0..THREADS).rev().collect() } else { (0..THREADS).collect() };
        while self.threads.iter().any(|t| *t != Doing::Idle) {
            for thread in threads.clone() {
                match self.threads[thread] {
                    Doing::Idle => {}
                    Doing::Delivering { id, body } if order & 4 != 0 => {
                        self.undo_delivery(thread, id, body);
                    }
                    Doing::Delivering { id, body } => self.end_delivery(thread, id, body, false),
                    Doing::Handed { id, body } => self.finish_handed(thread, id, body, order),
                    Doing::Waiting { .. } | Doing::Tracking { .. } => self.leave(thread),
                    Doing::Sending { .. } | Doing::Connecting { .. } => self.finish(thread, LARGE),
                }
                self.check();
            }
        }
        for server in if order & 8 != 0 { [false, true] } else { [true, false] } {
            for line in self.lines_where(|l| if server { l.server_open } else { l.client_held }) {
                if server {
                    self.close_server(line)
                } else {
                    self.close_client(line)
                }
                self.check();
            }
        }
        if !self.closed {
            self.close_connection_port();
            self.check();
        }
        assert_eq!((self.group.message_count(), self.group.connection_count()), (0, 0), "left behind");
    }
}
