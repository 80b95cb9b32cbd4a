//! What the model knows of messages, ports and reserves.

use super::*;

/// What a port may receive next.
pub(super) enum Next {
    Canceled(usize),
    Large(usize),
    Queued(usize),
    TooLarge(usize),
    Needs(usize),
    Nothing,
}

impl World {
    pub(super) fn is_for(letter: &Letter, role: Role) -> bool {
        match role {
            Role::Connection => !letter.to_client,
            Role::Server(line) => !letter.to_client && letter.line == line,
            Role::Client(line) => letter.to_client && letter.line == line,
        }
    }

    pub(super) fn next(&self, role: Role, room: usize) -> Next {
        let first =
            |list: &[Letter], room| list.iter().position(|l| Self::is_for(l, role) && l.body.length <= room);
        if let Some(at) = first(&self.canceled, usize::MAX) {
            Next::Canceled(at)
        } else if let Some(at) = first(&self.large, room) {
            Next::Large(at)
        } else if let Some(at) = first(&self.queued, usize::MAX) {
            if self.queued[at].body.length <= room { Next::Queued(at) } else { Next::TooLarge(at) }
        } else {
            first(&self.large, usize::MAX).map_or(Next::Nothing, |at| Next::Needs(self.large[at].body.length))
        }
    }

    fn count(list: &[Letter], role: Role) -> usize {
        list.iter().filter(|l| Self::is_for(l, role)).count()
    }

    pub(super) fn depths(&self, role: Role) -> [usize; 3] {
        [&self.queued, &self.large, &self.canceled].map(|list| Self::count(list, role))
    }

    pub(super) fn depth(&self, role: Role) -> usize {
        self.depths(role).iter().sum()
    }

    /// What a receive says when nothing is queued and nothing will come.
    pub(super) fn end_status(&self, role: Role) -> Option<NtStatus> {
        let (Role::Server(line) | Role::Client(line)) = role else {
            return self.closed.then_some(STATUS_PORT_CLOSED);
        };
        let line = &self.lines[&line];
        if line.gone() {
            return Some(STATUS_PORT_DISCONNECTED);
        }
        match line.phase {
            Phase::Pending | Phase::Connected => None,
            Phase::Refused => Some(STATUS_PORT_CONNECTION_REFUSED),
            Phase::Cancelled => Some(STATUS_UNSUCCESSFUL),
            Phase::Disconnected => Some(STATUS_PORT_DISCONNECTED),
        }
    }

    pub(super) fn line(&mut self, line: u64) -> &mut Line {
        self.lines.get_mut(&line).unwrap()
    }

    pub(super) fn connected(&self, line: u64) -> bool {
        self.lines.get(&line).is_some_and(|l| l.phase == Phase::Connected && !l.gone())
    }

    /// Its receiver's port is open.
    pub(super) fn receivable(&self, letter: &Letter) -> bool {
        match self.lines.get(&letter.line).filter(|l| !l.gone()) {
            Some(line) if letter.to_client => line.client_open,
            Some(line) => line.server_open || line.phase == Phase::Pending,
            None => letter.line == 0 && !letter.to_client,
        }
    }

    /// Every message that exists, ghosts apart.
    pub(super) fn all(&self) -> impl Iterator<Item = &Letter> {
        let places =
            [&self.queued, &self.large, &self.canceled, &self.posted, &self.out, &self.owed, &self.answered];
        places.into_iter().flatten()
    }

    pub(super) fn find(&mut self, id: u32) -> Option<&mut Letter> {
        let places = [
            &mut self.queued,
            &mut self.large,
            &mut self.canceled,
            &mut self.posted,
            &mut self.out,
            &mut self.owed,
            &mut self.answered,
        ];
        places.into_iter().flatten().find(|l| l.id == Some(id))
    }

    /// Takes letters out of every place but the answered ones. What is left of those being delivered with a reserve is
    /// a ghost.
    pub(super) fn strike(&mut self, which: impl Fn(&Letter) -> bool) -> Vec<Letter> {
        let mut struck = Vec::new();
        for place in [&mut self.queued, &mut self.large, &mut self.canceled, &mut self.posted, &mut self.owed]
        {
            struck.extend(place.extract_if(.., |l| which(l)));
        }
        for letter in self.out.extract_if(.., |l| which(l)) {
            if letter.reserve != 0 {
                self.ghosts.push(Letter { blocked: None, tracked: false, ..letter.clone() });
            }
            struck.push(letter);
        }
        struck
    }

    pub(super) fn expect(&mut self, waiter: Waiter, status: NtStatus) {
        self.expected.push((waiter, status));
    }

    /// The blocked sender of a letter is told, unless it is on its way.
    pub(super) fn tell(&mut self, letter: &Letter, status: NtStatus) {
        if let Some(waiter) = letter.blocked.filter(|_| !letter.called) {
            self.expect(waiter, status);
        }
    }

    /// The call back that is made for a message and not answered.
    pub(super) fn child(&self, id: u32) -> Option<&Letter> {
        self.all().find(|l| l.parent == id && id != 0 && kind_of(l) == LPC_REQUEST)
    }

    /// All call backs for a message, and for those, are lost.
    pub(super) fn lose_children(&mut self, mut id: u32, status: NtStatus) {
        while let Some(child) = self.child(id).and_then(|c| c.id) {
            let lost = self.strike(|l| l.id == Some(child)).pop().expect("a call back");
            self.tell(&lost, status);
            id = child;
        }
    }

    /// MessageId and CallbackId by which a held message is named.
    pub(super) fn ids(letter: &Letter) -> (u32, u32) {
        let key = letter.id.unwrap_or(0);
        if letter.parent == 0 { (key, 0) } else { (letter.origin, key) }
    }

    /// The pending message that a port may answer.
    pub(super) fn held(&self, role: Role, ids: (u32, u32)) -> Result<usize, NtStatus> {
        let may =
            |l: &Letter| Self::ids(l) == ids && Self::is_for(l, role) && kind_of(l) != LPC_CONNECTION_REQUEST;
        let at = self.owed.iter().position(may).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        let key = self.owed[at].id.unwrap_or(0);
        let given_up = |c: &Letter| c.blocked.is_none() && self.posted.iter().any(|p| p.id == c.id);
        match self.child(key) {
            Some(child) if !given_up(child) => Err(STATUS_REPLY_MESSAGE_MISMATCH),
            _ => Ok(at),
        }
    }

    /// Every receiver at a port is told that it closes.
    pub(super) fn expect_closed(&mut self, role: Role) {
        let at_port: Vec<_> = self.waiting.extract_if(.., |(r, _)| *r == role).collect();
        for (_, waiter) in at_port {
            self.expect(waiter, STATUS_PORT_CLOSED);
        }
    }

    pub(super) fn notice(&mut self, line: u64, to_client: bool, process: u32) {
        self.queued.push(Letter {
            kind: LPC_PORT_CLOSED | LPC_KERNELMODE_MESSAGE,
            from: Sender { process, thread: 0 },
            line,
            to_client,
            ..Letter::default()
        });
    }

    /// A message is in use of this reserve.
    pub(super) fn in_use(&self, spare: u32) -> bool {
        self.all().chain(&self.ghosts).any(|l| l.reserve == spare)
    }

    pub(super) fn tracked(&self, role: Role) -> bool {
        let (line, to_client) = match role {
            Role::Connection => return false,
            Role::Server(line) => (line, true),
            Role::Client(line) => (line, false),
        };
        self.all().any(|l| l.tracked && l.line == line && l.sent_to_client == to_client)
    }

    /// A message that nobody waits for may be sent.
    pub(super) fn allowed(&self, line: u64, to_client: bool, process: u32, length: usize) -> bool {
        let cost = (MESSAGE_COST + length) as u64;
        let sum = |which: &dyn Fn(&Letter) -> bool| {
            self.all()
                .filter(|l| l.cost != 0 && which(l))
                .fold((0, 0), |(n, bytes), l| (n + 1, bytes + l.cost))
        };
        let (_, at_port) = sum(&|l| !l.sent_to_client);
        if !to_client && at_port + cost > self.pool {
            return false;
        }
        if line == 0 {
            return sum(&|l| l.line == 0 && l.from.process == process).0 < MOST;
        }
        let (count, bytes) = sum(&|l| l.line == line && l.sent_to_client == to_client);
        count < MOST && bytes + cost <= self.lines[&line].pools[usize::from(!to_client)]
    }
}
