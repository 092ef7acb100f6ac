//! What a person orders for one server.

use super::Desired;
use crate::model::{ServiceId, TaskId};
use crate::placement::{ByHand, Occupant, Slot};
use crate::reconcile::orders::OrderError;

impl Desired {
    /// Sets on a server what `set` says of who sits there. The index of its slot, and whether anything was different.
    ///
    /// # Errors
    /// No such server gets requests, or what runs is not ours to change.
    pub(in crate::reconcile) fn order_server(
        &mut self,
        id: &ServiceId,
        task: &TaskId,
        set: impl Fn(&Occupant) -> Option<ByHand>,
    ) -> Result<(usize, bool), OrderError> {
        if self.live.is_none() {
            let words = "HAProxy cannot be changed while it runs now (haproxy.mode, or it was not found to run what is \
                         desired); try again, or change the app";
            return Err(OrderError::Unavailable(words.to_owned()));
        }
        let slots = self.placement.slots(id);
        let sits = |slot: &Slot| match slot {
            Slot::Serving(occupant) if occupant.task == *task => Some(occupant.clone()),
            _ => None,
        };
        let found = slots.iter().enumerate().find_map(|(index, slot)| Some((index, sits(slot)?)));
        let Some((index, occupant)) = found else {
            let words = format!("task {task} is no server of {id} that is to get requests");
            return Err(OrderError::NotFound(words));
        };
        let by_hand = set(&occupant).map(Box::new);
        let differs = by_hand != occupant.by_hand;
        if differs {
            self.placement.set(id, index, Slot::Serving(Occupant { by_hand, ..*occupant }.into()));
            self.reseat(id);
        }
        Ok((index, differs))
    }

    /// Whether the running worker has a slot as it should be.
    pub(in crate::reconcile) fn is_brought(&self, id: &ServiceId, index: usize) -> bool {
        let runs = self.live.as_ref().and_then(|live| live.text.blocks.get(id)?.slots.get(index));
        runs == self.placement.slots(id).get(index)
    }
}
