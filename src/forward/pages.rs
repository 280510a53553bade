//! Where sessions are kept: by a small number that stays theirs, in pages of fixed size. A page is never moved, so one more
//! session costs the same whether there are a hundred or fifty thousand, and no more than a page is ever kept in reserve.

/// Entries per page.
const PAGE: usize = 64;

/// Values by number.
pub(super) struct Pages<T> {
    pages: Vec<Box<[Option<T>; PAGE]>>,
    /// Numbers that were given back; the last one is given out first, because it is still in the cache.
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Pages { pages: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Pages<T> {
    /// Keeps a value; its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if self.free.is_empty() {
            self.add_page();
        }
        // A page was added if there was no free number.
        let key = self.free.pop().unwrap_or_default();
        let (page, entry) = place(key);
        self.pages[page][entry] = Some(value);
        self.len += 1;
        key
    }

    #[inline]
    pub(super) fn get(&self, key: u32) -> Option<&T> {
        let (page, entry) = place(key);
        self.pages.get(page)?[entry].as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        let (page, entry) = place(key);
        self.pages.get_mut(page)?[entry].as_mut()
    }

    /// Takes a value out; its number is free again.
    pub(super) fn remove(&mut self, key: u32) -> Option<T> {
        let (page, entry) = place(key);
        let value = self.pages.get_mut(page)?[entry].take()?;
        self.free.push(key);
        self.len -= 1;
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every number in use.
    pub(super) fn keys(&self) -> impl Iterator<Item = u32> + '_ {
        let entries = (0..).zip(self.pages.iter().flat_map(|page| page.iter()));
        entries.filter_map(|(key, entry)| entry.is_some().then_some(key))
    }

    fn add_page(&mut self) {
        let first = (self.pages.len() * PAGE) as u32;
        // A vector is built in place; an array would be built on the stack first.
        let page: Box<[Option<T>]> = std::iter::repeat_with(|| None).take(PAGE).collect();
        let Ok(page) = page.try_into() else { return };
        self.pages.push(page);
        self.free.extend((first..first + PAGE as u32).rev());
    }
}

#[inline]
fn place(key: u32) -> (usize, usize) {
    (key as usize / PAGE, key as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_out_in_order_and_again_after_a_removal() {
        let mut pages = Pages::default();
        let keys: Vec<_> = (0..200).map(|value| pages.insert(value)).collect();
        assert_eq!(keys, (0..200).collect::<Vec<_>>());
        assert_eq!((pages.remove(70), pages.remove(70), pages.remove(9_999)), (Some(70), None, None));
        assert_eq!((pages.len(), pages.get(70), pages.keys().count()), (199, None, 199));
        assert_eq!(pages.insert(1_000), 70);
        assert_eq!(pages.get_mut(70), Some(&mut 1_000));
    }

    #[test]
    fn no_more_than_a_page_is_kept_in_reserve() {
        let mut pages = Pages::default();
        for value in 0..5_000 {
            pages.insert(value);
            assert!(pages.pages.len() * PAGE < pages.len() + PAGE);
        }
    }
}
