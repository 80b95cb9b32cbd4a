//! The ends of clients, servers and the connection port; notices.

use super::*;

impl World {
    /// A connection ends from one side.
    fn end(&mut self, line: u64, by_client: bool, no_flush: bool) {
        self.line(line).phase = Phase::Disconnected;
        let held: Vec<Option<u32>> = self.owed.iter().chain(&self.posted).map(|l| l.id).collect();
        for letter in self.strike(|l| l.line == line && (l.blocked.is_some() || held.contains(&l.id))) {
            self.tell(&letter, STATUS_PORT_DISCONNECTED);
        }
        if !by_client {
            self.strike_main(line, no_flush);
        }
        let l = self.lines[&line].clone();
        if by_client && l.server_open {
            self.notice(line, false, l.client_process);
        }
        if !by_client && l.client_open {
            self.notice(line, true, l.server_process);
        }
    }

    /// What came from a client goes; with `delivered_only` not what is still queued.
    fn strike_main(&mut self, line: u64, delivered_only: bool) {
        let delivered: Vec<Option<u32>> = self.out.iter().chain(&self.owed).map(|l| l.id).collect();
        self.strike(|l| {
            l.line == line && !l.to_client && (!delivered_only || l.id.is_some() && delivered.contains(&l.id))
        });
    }

    pub(super) fn close_client(&mut self, line: u64) {
        self.group.close_client(line, &mut self.log);
        self.end_references(Role::Client(line));
        self.delete_spares(|s| s.line == line && s.of_client);
        self.line(line).client_held = false;
        self.line(line).client_open = false;
        self.expect_closed(Role::Client(line));
        match self.lines[&line].phase {
            // A request that was seen stays for the server to answer.
            Phase::Pending => {
                self.queued.retain(|l| l.line != line);
                self.large.retain(|l| l.line != line);
            }
            Phase::Connected => self.end(line, true, false),
            _ => {}
        }
        let held: Vec<Option<u32>> = self.out.iter().map(|l| l.id).collect();
        self.strike(|l| l.line == line && l.to_client && !held.contains(&l.id));
        self.delete_spares(|s| s.line == line && s.of_client);
    }

    pub(super) fn close_server(&mut self, line: u64) {
        self.group.close_server(line, &mut self.log);
        self.end_references(Role::Server(line));
        if self.lines[&line].phase == Phase::Connected {
            self.end(line, false, false);
        }
        self.strike_main(line, false);
        self.line(line).server_open = false;
        self.delete_spares(|s| s.line == line && !s.of_client);
    }

    pub(super) fn disconnect(&mut self, role: Role, no_flush: bool) {
        let ended = self.group.disconnect(role, no_flush, &mut self.log);
        let (line, by_client) = match role {
            Role::Connection => {
                assert_eq!(ended, Err(STATUS_INVALID_PORT_HANDLE));
                return;
            }
            Role::Server(line) => (line, false),
            Role::Client(line) => (line, true),
        };
        if self.lines[&line].phase == Phase::Connected {
            assert_eq!(ended, Ok(()));
            self.end(line, by_client, no_flush);
        } else {
            assert_eq!(ended, Err(STATUS_PORT_DISCONNECTED));
        }
    }

    pub(super) fn close_connection_port(&mut self) {
        self.group.close_connection_port(&mut self.log);
        self.closed = true;
        let lines: Vec<u64> = self.lines.keys().copied().collect();
        for line in lines {
            match self.lines[&line].phase {
                Phase::Connected => self.end(line, false, false),
                Phase::Pending if !self.lines[&line].gone() => self.cancel_request(line),
                _ => {}
            }
        }
        for letter in self.strike(|l| !l.to_client) {
            self.tell(&letter, STATUS_PORT_DISCONNECTED);
        }
        self.reserved.clear();
        self.expect_closed(Role::Connection);
    }

    /// A connection request can no longer be answered.
    fn cancel_request(&mut self, line: u64) {
        let being_delivered = self.out.iter().any(|l| l.line == line);
        let request = self.strike(|l| l.line == line).pop().expect("a request that is not answered");
        if let Some(waiter) = request.blocked {
            self.line(line).client_open = false;
            self.expect(waiter, STATUS_PORT_CONNECTION_REFUSED);
            return;
        }
        self.line(line).phase = Phase::Cancelled;
        let id = request.id.filter(|_| !being_delivered);
        self.queued.push(Letter { id, kind: LPC_CANCELED, to_client: true, body: Tag::default(), ..request });
    }

    pub(super) fn notices(&mut self, thread: usize, choice: u8, extra: u8) {
        let old = pick(&self.seen_notices, extra);
        let body = Tag { number: 1, length: 1, reserved: false };
        match (choice % 3, old) {
            (1, Some(id)) => {
                self.group.send_notice(id, sender(thread), &mut self.log);
                if self.reserved.contains(&id) {
                    self.reserved.retain(|r| *r != id);
                    self.queued.push(Letter {
                        id: Some(id),
                        kind: LPC_OBJECT_CLOSED | LPC_KERNELMODE_MESSAGE,
                        from: sender(thread),
                        object: Some(ObjectContext { context: u64::from(id), access: 0, server_type: 9 }),
                        body,
                        ..Letter::default()
                    });
                }
            }
            (2, Some(id)) => {
                self.group.drop_notice(id);
                self.reserved.retain(|r| *r != id);
            }
            _ => {
                let mut object = ObjectContext { context: 0, access: 0, server_type: 9 };
                match self.group.reserve_notice(LPC_OBJECT_CLOSED, body, object) {
                    Ok(id) => {
                        assert!(!self.closed);
                        // Its context is to be its id, which is known only now.
                        object.context = u64::from(id);
                        self.group.message(u64::from(id)).object = Some(object);
                        self.reserved.push(id);
                        self.seen_notices.push(id);
                    }
                    Err(status) => assert!(self.closed && status == STATUS_PORT_CLOSED),
                }
            }
        }
    }
}
