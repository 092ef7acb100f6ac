//! Which service ports are taken.

const FIRST: u16 = 10_000;

/// Counts the users of every port, since Marathon leaves the uniqueness of ports that users chose to them.
pub(super) struct ServicePorts {
    users: Vec<u32>,
    lowest_free: u16,
}

impl Default for ServicePorts {
    fn default() -> Self {
        Self { users: vec![0; 1 << 16], lowest_free: FIRST }
    }
}

impl ServicePorts {
    /// Notes one more app that has `port`.
    pub(super) fn take(&mut self, port: u16) {
        self.users[usize::from(port)] += 1;
    }

    /// Notes one app less that has `port`.
    pub(super) fn release(&mut self, port: u16) {
        let users = &mut self.users[usize::from(port)];
        *users = users.saturating_sub(1);
        if *users == 0 && port >= FIRST {
            self.lowest_free = self.lowest_free.min(port);
        }
    }

    /// The lowest free port from 10000 up; the caller takes it. None when all are taken.
    pub(super) fn free(&mut self) -> Option<u16> {
        let found = (self.lowest_free..=u16::MAX).find(|port| self.users[usize::from(*port)] == 0)?;
        self.lowest_free = found;
        Some(found)
    }
}
