//! The newest events, in memory: what can be read where there is no folder, or
//! none that can be written to.

use std::collections::VecDeque;
use std::sync::Arc;

/// Most bytes of frames that are kept.
const RECENT_BYTES_MAX: usize = 8 << 20;
/// Most records.
const RECENT_RECORDS_MAX: u64 = 50_000;

struct Chunk {
    frames: Arc<[u8]>,
    records: u64,
    /// Bytes before it.
    offset: u64,
}

/// Frames, the oldest first.
#[derive(Default)]
pub(super) struct Recent {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    records: u64,
    end: u64,
}

impl Recent {
    /// Some more of them.
    pub(super) fn push(&mut self, frames: Arc<[u8]>, records: u64) {
        let offset = self.end;
        self.end += frames.len() as u64;
        self.bytes += frames.len();
        self.records += records;
        self.chunks.push_back(Chunk { frames, records, offset });
        while self.bytes > RECENT_BYTES_MAX || self.records > RECENT_RECORDS_MAX {
            let Some(oldest) = self.chunks.pop_front() else { return };
            self.bytes -= oldest.frames.len();
            self.records -= oldest.records;
        }
    }

    /// All of them, each with the bytes before it.
    pub(super) fn frames(&self) -> impl Iterator<Item = (u64, Arc<[u8]>)> {
        self.chunks.iter().map(|chunk| (chunk.offset, Arc::clone(&chunk.frames)))
    }

    /// Bytes of all frames there ever were.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_by_bytes_and_by_count() {
        let mut recent = Recent::default();
        for _ in 0..3 {
            recent.push(vec![0; RECENT_BYTES_MAX / 2].into(), 1);
        }
        let offsets: Vec<_> = recent.frames().map(|(offset, _)| offset).collect();
        assert_eq!(offsets, [RECENT_BYTES_MAX as u64 / 2, RECENT_BYTES_MAX as u64]);
        recent.push(vec![0; 10].into(), RECENT_RECORDS_MAX);
        assert_eq!(recent.frames().count(), 1);
        assert_eq!((recent.bytes, recent.records), (10, RECENT_RECORDS_MAX));
    }
}
