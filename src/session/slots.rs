//! \[pure\] A few places with numbers. The first lies where the list does, the others elsewhere: nearly every session has one
//! address of its client, it is looked at for every packet, and room for all it may have would be most of a session.

/// Up to so many values as the owner lets in, each by its slot.
#[derive(Debug)]
pub(super) struct Slots<T> {
    first: Option<T>,
    /// Slots from 1 on.
    more: Vec<Option<T>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { first: None, more: Vec::new() }
    }
}

impl<T> Slots<T> {
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        match slot.checked_sub(1) {
            None => self.first.as_ref(),
            Some(at) => self.more.get(at)?.as_ref(),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        match slot.checked_sub(1) {
            None => self.first.as_mut(),
            Some(at) => self.more.get_mut(at)?.as_mut(),
        }
    }

    /// Puts a value into a slot; what was there is gone.
    pub(super) fn put(&mut self, slot: usize, value: T) {
        let Some(at) = slot.checked_sub(1) else {
            self.first = Some(value);
            return;
        };
        if self.more.len() <= at {
            self.more.reserve_exact(at + 1 - self.more.len());
            self.more.resize_with(at + 1, || None);
        }
        self.more[at] = Some(value);
    }

    /// Takes the value of a slot out.
    pub(super) fn take(&mut self, slot: usize) -> Option<T> {
        let taken = match slot.checked_sub(1) {
            None => self.first.take(),
            Some(at) => self.more.get_mut(at)?.take(),
        };
        if self.more.iter().all(Option::is_none) {
            self.more = Vec::new();
        }
        taken
    }

    /// A slot below `most` without a value.
    pub(super) fn free(&self, most: usize) -> Option<usize> {
        (0..most).find(|slot| self.get(*slot).is_none())
    }

    /// Every value with its slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> + Clone {
        let all = std::iter::once(&self.first).chain(&self.more).enumerate();
        all.filter_map(|(slot, value)| Some((slot, value.as_ref()?)))
    }

    /// The same, to change them.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        std::iter::once(&mut self.first).chain(&mut self.more).filter_map(Option::as_mut)
    }

    /// The slot of the first value that `is` says it is.
    pub(super) fn position(&self, is: impl Fn(&T) -> bool) -> Option<usize> {
        self.iter().find(|(_, value)| is(value)).map(|(slot, _)| slot)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_their_numbers_and_nothing_is_kept_for_those_that_are_gone() {
        let mut slots = Slots::default();
        for value in ['a', 'b', 'c'] {
            let slot = slots.free(3).unwrap();
            slots.put(slot, value);
        }
        assert_eq!((slots.free(3), slots.take(1), slots.free(3)), (None, Some('b'), Some(1)));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [(0, &'a'), (2, &'c')]);
        assert_eq!((slots.get(1), slots.get(2)), (None, Some(&'c')));
        assert_eq!(slots.get_mut(99), None);
        assert_eq!(slots.position(|value| *value == 'c'), Some(2));
        assert_eq!((slots.take(2), slots.take(7), slots.more.capacity()), (Some('c'), None, 0));
        assert!(!slots.is_empty() && slots.take(0).is_some() && slots.is_empty());
    }
}
