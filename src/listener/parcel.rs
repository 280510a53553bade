//! Packets on their way from one worker's thread to another's, within the process. Their buffers go round: what a parcel was
//! carried in is filled again once it has arrived, so no packet costs an allocation. Never decides where one goes.

use std::ops::Deref;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

/// Buffers that wait to be filled. More than this are under way in a flood only, and are freed afterwards.
const SPARE: usize = 1024;
/// Room of a buffer: a packet that fits a common MTU.
const ROOM: usize = 2048;

/// The buffers that wait.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<ArrayQueue<Vec<u8>>>);

/// A packet under way.
#[derive(Debug)]
pub(super) struct Parcel {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Pool {
    pub(super) fn new() -> Pool {
        Pool(Arc::new(ArrayQueue::new(SPARE)))
    }

    /// Takes a copy: the receive buffer that the packet lies in is about to be filled again.
    pub(super) fn pack(&self, packet: &[u8]) -> Parcel {
        let mut bytes = self.0.pop().unwrap_or_else(|| Vec::with_capacity(ROOM));
        bytes.extend_from_slice(packet);
        Parcel { bytes, pool: self.clone() }
    }
}

impl Deref for Parcel {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        // One that grew for a jumbo is not kept.
        if bytes.capacity() <= ROOM {
            bytes.clear();
            // As many as are ever needed wait already.
            let _ = self.pool.0.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_is_filled_again() {
        let pool = Pool::new();
        let first = pool.pack(&[1; 1200]);
        let place = first.as_ptr();
        assert_eq!(&*first, [1; 1200]);
        drop(first);
        let second = pool.pack(&[2; 3]);
        assert_eq!((second.as_ptr(), &*second), (place, &[2; 3][..]));
    }

    #[test]
    fn no_more_is_kept_than_is_needed() {
        let pool = Pool::new();
        drop(pool.pack(&[0; 60_000]));
        assert!(pool.0.is_empty(), "a large one is freed");
        let flood: Vec<Parcel> = (0..SPARE + 10).map(|_| pool.pack(&[3; 10])).collect();
        drop(flood);
        assert_eq!(pool.0.len(), SPARE);
    }
}
