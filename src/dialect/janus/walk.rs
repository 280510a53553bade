//! Goes through the JSON of one body: every message object in it is judged by itself, also inside arrays, and what is
//! left is put together again.

use crate::dialect::{Context, Side, Verdict};
use crate::json_edit::{Edits, Kind as JsonKind, Value};

use super::Janus;
use super::message::Id;
use super::place::{INVALID_JSON, Outcome, Place};

/// How deep arrays of messages may lie in each other. The API has one level, and janus.js reads any.
const MAX_ARRAYS: usize = 8;

/// One body on its way.
pub(super) struct Walk<'a, 'c> {
    pub(super) janus: &'a mut Janus,
    pub(super) cx: &'a mut Context<'c>,
    pub(super) place: Place,
    pub(super) edits: Edits,
    from: Side,
}

/// What an array has come to, element by element.
#[derive(Default)]
struct Kept {
    any: bool,
    /// Where the last kept element ends, and where the removed ones behind it begin.
    end: Option<usize>,
    removed_from: Option<usize>,
    answers: Vec<Vec<u8>>,
}

impl<'a, 'c> Walk<'a, 'c> {
    pub(super) fn new(janus: &'a mut Janus, cx: &'a mut Context<'c>, place: Place, from: Side) -> Self {
        Walk { janus, cx, place, edits: Edits::default(), from }
    }

    /// What becomes of the body.
    pub(super) fn verdict(mut self, root: Value<'_>, body: &[u8]) -> Verdict {
        match self.value(root, 0) {
            Outcome::Keep if self.edits.is_empty() => Verdict::Pass,
            Outcome::Keep => Verdict::Replace(self.edits.apply(body)),
            Outcome::Remove if self.from == Side::Client => {
                let reason = "expected a message object".to_owned();
                self.place.refuse(None, INVALID_JSON, reason).into_verdict()
            }
            Outcome::Remove => self.place.nothing_left(root.kind() == JsonKind::Array),
            outcome => outcome.into_verdict(),
        }
    }

    /// Notes what the exchange of a handle told the packet side since there were `mark` commands.
    pub(super) fn told(&mut self, session: Id, handle: Id, mark: usize) {
        self.janus.store.told(session, handle, &self.cx.commands[mark..]);
    }

    fn value(&mut self, value: Value<'_>, depth: usize) -> Outcome {
        match (value.kind(), self.from) {
            (JsonKind::Object, Side::Client) => self.client_object(value),
            (JsonKind::Object, Side::Backend) => self.backend_object(value),
            (JsonKind::Array, _) if depth < MAX_ARRAYS => self.array(value, depth + 1),
            (JsonKind::Array, _) => Outcome::Remove,
            _ => Outcome::Keep,
        }
    }

    fn array(&mut self, array: Value<'_>, depth: usize) -> Outcome {
        let mut kept = Kept::default();
        let mut end = 0;
        for element in array.elements() {
            kept.any = true;
            let (mark, span) = (self.edits.len(), element.span());
            end = span.end;
            match self.value(element, depth) {
                Outcome::Keep => {
                    self.remove(kept.removed_from.take(), span.start);
                    kept.end = Some(end);
                    continue;
                }
                Outcome::Remove => {}
                Outcome::Answer(answer) => kept.answers.push(answer),
                refusal @ Outcome::Refuse { .. } => return refusal,
            }
            self.edits.truncate(mark);
            kept.removed_from.get_or_insert(span.start);
        }
        match kept {
            Kept { end: Some(kept_end), removed_from, .. } => {
                self.remove(removed_from.map(|_| kept_end), end);
                Outcome::Keep
            }
            Kept { any: false, .. } => Outcome::Keep,
            Kept { answers, .. } if answers.is_empty() => Outcome::Remove,
            Kept { answers, .. } => Outcome::Answer([b"[", answers.join(&b',').as_slice(), b"]"].concat()),
        }
    }

    fn remove(&mut self, from: Option<usize>, to: usize) {
        if let Some(from) = from {
            self.edits.replace(from..to, Vec::new());
        }
    }
}
