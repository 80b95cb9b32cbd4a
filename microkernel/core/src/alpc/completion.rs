//! Ports that post to an I/O completion object: a packet for each message that is queued for them.

use super::{Body, Effects, Group, NO_COMPLETION, Role};
use abi::status::*;

impl<B: Body> Group<B> {
    fn completion(&mut self, role: Role) -> Option<&mut u32> {
        match role {
            Role::Connection => Some(&mut self.completion),
            Role::Server(connection) => {
                self.connections.get_mut(connection).map(|c| &mut c.server_completion)
            }
            Role::Client(connection) => {
                self.connections.get_mut(connection).map(|c| &mut c.client_completion)
            }
        }
    }

    /// From now on every message that is queued for this port posts to `source`; those that are queued already post at
    /// once.
    pub fn associate(&mut self, role: Role, source: u32, fx: &mut impl Effects) -> Result<(), NtStatus> {
        let place = self.completion(role).ok_or(STATUS_PORT_DISCONNECTED)?;
        if *place != NO_COMPLETION {
            return Err(STATUS_PORT_ALREADY_SET);
        }
        *place = source;
        let queued = match role {
            Role::Connection => self.for_server(),
            Role::Server(connection) => self.connections.get(connection).map_or(0, |c| c.in_main),
            Role::Client(connection) => {
                self.connections.get(connection).map_or(0, super::Connection::for_client)
            }
        };
        fx.arrived(source, queued);
        Ok(())
    }

    /// The port posts nowhere.
    pub fn dissociate(&mut self, role: Role) {
        if let Some(place) = self.completion(role) {
            *place = NO_COMPLETION;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alpc::{NO_OBJECT, Post, Received, Sender, Waiter};
    use std::collections::HashMap;

    struct Nothing;

    impl Body for Nothing {
        fn data_length(&self) -> usize {
            0
        }
        fn recycle(&mut self) {}
    }

    impl Default for Nothing {
        fn default() -> Self {
            Self
        }
    }

    /// Counts what each source posted.
    #[derive(Default)]
    struct Posts(HashMap<u32, u32>);

    impl Effects for Posts {
        fn wake(&mut self, _: Waiter, _: NtStatus, _: bool) {}
        fn readable(&mut self, _: u32, _: bool) {}
        fn arrived(&mut self, source: u32, count: u32) {
            if source != NO_COMPLETION && count > 0 {
                *self.0.entry(source).or_default() += count;
            }
        }
    }

    const WHO: Sender = Sender { process: 1, thread: 2 };

    fn take(group: &mut Group<Nothing>, role: Role, fx: &mut Posts) -> u32 {
        let Received::Message(delivery) = group.receive(role, 0, WHO, fx) else { panic!("nothing there") };
        group.end_delivery(delivery.id, None, fx);
        delivery.id
    }

    #[test]
    fn every_queued_message_posts_once_for_each_port_it_is_for() {
        let (mut group, mut fx) = (Group::<Nothing>::new(1, NO_OBJECT, 100), Posts::default());
        let (c, _) = group.connect(WHO, Nothing, None, NO_OBJECT, &mut fx).unwrap();
        group.associate(Role::Client(c), 30, &mut fx).unwrap();
        group.associate(Role::Connection, 10, &mut fx).unwrap();
        assert_eq!(fx.0, HashMap::from([(10, 1)]), "the request was there already");
        let request = take(&mut group, Role::Connection, &mut fx);
        group.accept(request, WHO, 0, NO_OBJECT, Nothing, &mut fx).unwrap();
        group.associate(Role::Server(c), 20, &mut fx).unwrap();
        assert_eq!(group.associate(Role::Server(c), 21, &mut fx), Err(STATUS_PORT_ALREADY_SET));
        assert_eq!(group.associate(Role::Client(99), 1, &mut fx), Err(STATUS_PORT_DISCONNECTED));
        group.send(Role::Client(c), &Post::datagram(WHO), Nothing, &mut fx).unwrap();
        group.send(Role::Server(c), &Post::datagram(WHO), Nothing, &mut fx).unwrap();
        assert_eq!(fx.0, HashMap::from([(10, 2), (20, 1), (30, 2)]));
        // A delivery that is undone can be received again.
        let Received::Message(delivery) = group.receive(Role::Connection, 0, WHO, &mut fx) else { panic!() };
        group.undo_delivery(delivery.id, Nothing, &mut fx);
        assert_eq!(fx.0[&10], 3);
        group.dissociate(Role::Connection);
        group.disconnect(Role::Client(c), false, &mut fx).unwrap();
        assert_eq!(fx.0, HashMap::from([(10, 3), (20, 3), (30, 2)]), "the notice, for the server");
    }

    #[test]
    fn a_refusal_posts_though_there_is_no_message() {
        let (mut group, mut fx) = (Group::<Nothing>::new(1, NO_OBJECT, 100), Posts::default());
        let (c, _) = group.connect(WHO, Nothing, None, NO_OBJECT, &mut fx).unwrap();
        group.associate(Role::Client(c), 30, &mut fx).unwrap();
        let request = take(&mut group, Role::Connection, &mut fx);
        group.refuse(request, &mut fx).unwrap();
        assert_eq!(fx.0, HashMap::from([(30, 1)]));
    }
}
