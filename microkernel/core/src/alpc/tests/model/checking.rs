//! The comparison of the group with the model.

use super::*;

impl World {
    pub(super) fn check(&mut self) {
        self.expect_references();
        self.check_wakes();
        self.check_senders();
        self.check_messages();
        self.check_ports();
    }

    fn check_wakes(&mut self) {
        for (waiter, status) in std::mem::take(&mut self.log.wakes) {
            if let Some(at) = self.expected.iter().position(|e| *e == (waiter, status)) {
                self.expected.remove(at);
            } else {
                let at = self.waiting.iter().position(|(_, w)| *w == waiter);
                let at = at.unwrap_or_else(|| panic!("{waiter:?} woken with {status:?} for no reason"));
                assert_eq!(status, STATUS_SUCCESS, "{waiter:?}");
                self.waiting.remove(at);
            }
            match &mut self.threads[waiter.thread as usize] {
                Doing::Connecting { waiter: w, woken, .. }
                | Doing::Sending { waiter: w, woken, .. }
                | Doing::Waiting { waiter: w, woken, .. }
                | Doing::Tracking { waiter: w, woken, .. } => {
                    assert_eq!(*w, waiter, "woken late");
                    assert_eq!(woken.replace(status), None, "woken twice");
                }
                other => panic!("{waiter:?} woken, which does {other:?}"),
            }
        }
        assert!(self.expected.is_empty(), "not woken: {:?}", self.expected);
    }

    /// A blocked sender's message exists until it is woken.
    fn check_senders(&self) {
        for doing in &self.threads {
            let (Doing::Connecting { id, waiter, woken, .. } | Doing::Sending { id, waiter, woken }) = doing
            else {
                continue;
            };
            let has = |l: &&Letter| l.id == Some(*id) && l.blocked == Some(*waiter);
            if self.answered.iter().any(|l| has(&l)) {
                assert_eq!(*woken, Some(STATUS_SUCCESS), "{doing:?}");
            } else if let Some(letter) = self.all().find(has) {
                assert_eq!(*woken, letter.called.then_some(STATUS_SUCCESS), "{doing:?}");
            } else {
                assert!(woken.is_some(), "{doing:?}");
            }
        }
    }

    fn check_messages(&self) {
        let mut mine = Vec::new();
        let places = [
            (1, &self.queued),
            (2, &self.owed),
            (3, &self.out),
            (3, &self.ghosts),
            (4, &self.large),
            (5, &self.canceled),
            (6, &self.posted),
        ];
        for (place, letters) in places {
            for l in letters {
                let from = (l.from.process, l.from.thread);
                mine.push((place, l.id.unwrap_or(0), l.kind, l.line, l.to_client, from, l.blocked.is_some()));
            }
        }
        let known: Vec<u32> = mine.iter().map(|m| m.1).collect();
        let mut real: Vec<_> = self
            .group
            .message_facts()
            .map(|m| {
                let id = if known.contains(&m.id) { m.id } else { 0 };
                let from = (m.sender.process, m.sender.thread);
                (m.queue, id, m.message_type, m.connection, m.to_client, from, m.waits)
            })
            .collect();
        mine.sort_unstable();
        real.sort_unstable();
        assert_eq!(real, mine);
        let set_aside = |l: &Line| match l.phase {
            Phase::Connected => 2,
            Phase::Disconnected if !l.gone() => 1,
            _ => 0,
        };
        let idle = self.spares.iter().filter(|s| !s.deleted && !self.in_use(s.id)).count();
        let reserved = self.reserved.len() + idle + self.lines.values().map(set_aside).sum::<usize>();
        assert_eq!(self.group.message_count(), mine.len() + self.answered.len() + reserved);
        assert_eq!(self.group.connection_count(), self.lines_where(|l| !l.gone()).len());
    }

    fn check_ports(&self) {
        let flag = |object: u32| self.log.readable.get(&object).copied().unwrap_or(false);
        if !self.closed {
            assert_eq!(flag(MAIN_OBJECT), self.depth(Role::Connection) > 0, "connection port readable");
        }
        self.check_facts(Role::Connection, u32::from(self.closed) << 3);
        for (key, line) in self.lines.iter().filter(|(_, l)| !l.gone()) {
            let (client, server) = (Role::Client(*key), Role::Server(*key));
            let state = match line.phase {
                Phase::Pending => 1,
                Phase::Connected => 0,
                Phase::Refused => 2,
                Phase::Cancelled | Phase::Disconnected => 4,
            };
            self.check_facts(client, state);
            if line.client_open {
                assert_eq!(
                    flag(line.client_object),
                    line.over() || self.depth(client) > 0,
                    "{client:?} readable"
                );
            }
            if line.accepted {
                self.check_facts(server, state);
            }
            if line.server_open {
                assert_eq!(
                    flag(line.server_object),
                    line.over() || self.depth(server) > 0,
                    "{server:?} readable"
                );
            }
        }
    }

    fn check_facts(&self, role: Role, state: u32) {
        let facts = self.group.facts(role);
        let [_, large, canceled] = self.depths(role);
        assert_eq!((facts.large as usize, facts.canceled as usize), (large, canceled), "{role:?}");
        let pending = self.owed.iter().filter(|l| Self::is_for(l, role)).count();
        let waiters = self.waiting.iter().filter(|(r, _)| *r == role).count();
        assert_eq!(facts.state, state, "{role:?}");
        assert_eq!(
            (facts.queued as usize, facts.pending as usize, facts.waiters as usize),
            (self.depth(role), pending, waiters),
            "{role:?}"
        );
        if let Role::Client(line) = role {
            assert_eq!(facts.peer_process, self.lines[&line].server_process);
        }
    }
}
