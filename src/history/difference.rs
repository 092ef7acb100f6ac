//! The difference that a change made to the text, drawn when somebody asks for it.

use std::fmt::Write as _;
use std::sync::Arc;

use similar::TextDiff;

use super::{Done, NAMED};
use crate::model::ServiceId;
use crate::plan::Step;
use crate::reconcile::desired::Happened;
use crate::render::{Block, Shape, Text};

/// The texts of before and after, as pointers to what was in force.
#[derive(Debug)]
pub struct Texts {
    head: Option<(Shape, Shape)>,
    blocks: Vec<(ServiceId, Side, Side)>,
    steps: Vec<Step>,
}

/// What a slot weighs, more or less.
const SLOT_BYTES: usize = 150;

/// A block as it was or is, and whether a slot in which nobody sits is a server in it.
type Side = Option<(Arc<Block>, bool)>;

impl Texts {
    pub(super) fn of(done: &Done<'_>, happened: &[Happened]) -> Self {
        let side = |text: Option<&Text>, id: &ServiceId| -> Side {
            let block = text?.blocks.get(id)?;
            Some((Arc::clone(block), text?.is_dynamic(&block.service.backend)))
        };
        let head = |text: Option<&Text>| text.map(|text| Arc::clone(&text.head)).unwrap_or_default();
        let (before, after) = (head(done.before), head(done.after));
        let of_service = |each: &Happened| {
            let id = each.service.clone();
            let (before, after) = (side(done.before, &id), side(done.after, &id));
            (id, before, after)
        };
        Self {
            head: (done.before.is_some() && done.after.is_some() && before != after)
                .then_some((before, after)),
            blocks: happened.iter().map(of_service).collect(),
            steps: done.steps.iter().take(NAMED).cloned().collect(),
        }
    }

    /// How many slots the blocks have: what they weigh. A head weighs as much as its text.
    pub(super) fn slots(&self) -> usize {
        let of = |side: &Side| side.as_ref().map_or(0, |(block, _)| 4 + block.slots.len());
        let head: usize = self.head.as_ref().map_or(0, |(_, after)| after.len() / SLOT_BYTES);
        let blocks: usize = self.blocks.iter().map(|(_, before, after)| of(before) + of(after)).sum();
        head + blocks
    }

    /// The first steps, where it was done on the running worker, as commands for people.
    pub fn steps(&self) -> impl Iterator<Item = String> {
        self.steps.iter().map(Step::command)
    }

    /// The unified difference of the text that these services have in HAProxy's configuration, and of the shared head.
    #[must_use]
    pub fn difference(&self) -> String {
        let mut difference = String::new();
        if let Some((before, after)) = &self.head {
            difference.push_str(&unified("head", before, after));
        }
        for (id, before, after) in &self.blocks {
            let text =
                |side: &Side| side.as_ref().map(|(block, dynamic)| block.text(*dynamic)).unwrap_or_default();
            difference.push_str(&unified(&id.to_string(), &text(before), &text(after)));
        }
        difference
    }
}

/// The unified difference of two texts; nothing where they are equal.
#[must_use]
pub fn unified(name: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let lines = TextDiff::configure().timeout(std::time::Duration::from_secs(2)).diff_lines(before, after);
    let mut text = String::new();
    let _infallible = write!(
        text,
        "{}",
        lines.unified_diff().context_radius(2).header(&format!("before {name}"), &format!("after {name}"))
    );
    text
}
