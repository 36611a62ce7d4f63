//! Which blocks of a blob are here, which are on their way, and which are to be had next.

use std::ops::Range;

/// Bytes of a block: what one request asks for at least.
pub(crate) const BLOCK: u64 = 128 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Missing,
    Coming,
    Here,
}

/// The blocks of one blob.
#[derive(Debug)]
pub(crate) struct Blocks {
    blocks: Vec<Block>,
    size: u64,
    here: usize,
}

/// What is to be done for a range of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// All of it is here.
    Nothing,
    /// Somebody else is fetching what is missing.
    Wait,
    /// These bytes, which are the caller's from now on: [`Blocks::arrived`], [`Blocks::gave_up`].
    Fetch(Range<u64>),
}

impl Blocks {
    /// Of a blob of so many bytes, of which these have data.
    pub(crate) fn new(size: u64, data: &[Range<u64>]) -> Self {
        let count = usize::try_from(size.div_ceil(BLOCK)).unwrap_or(usize::MAX);
        let mut all = Self {
            blocks: vec![Block::Missing; count],
            size,
            here: 0,
        };
        for range in data {
            let first = range.start.div_ceil(BLOCK);
            let end = match range.end >= size {
                true => count as u64,
                false => range.end / BLOCK,
            };
            for block in first..end {
                all.set(block as usize, Block::Here);
            }
        }
        all
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.here == self.blocks.len()
    }

    /// What a range needs. Of what is to be fetched, what is missing behind it comes along, up to
    /// `length` bytes altogether; more than `most` never.
    pub(crate) fn need(&mut self, range: Range<u64>, length: u64, most: u64) -> Need {
        let indexes = self.indexes(&range);
        let missing = |block: &usize| self.blocks[*block] == Block::Missing;
        let Some(first) = indexes.clone().find(missing) else {
            let coming = indexes
                .into_iter()
                .any(|at| self.blocks[at] == Block::Coming);
            return if coming { Need::Wait } else { Need::Nothing };
        };
        let count = |bytes: u64| usize::try_from((bytes / BLOCK).max(1)).unwrap_or(usize::MAX);
        let wanted = indexes.end.max(first.saturating_add(count(length)));
        let limit = wanted.min(first.saturating_add(count(most)));
        let all = first..limit.min(self.blocks.len());
        let end = all.take_while(missing).count() + first;
        for block in first..end {
            self.set(block, Block::Coming);
        }
        Need::Fetch(self.bytes(first..end))
    }

    /// The first missing bytes at or after an offset, else the first of all; at most `most`.
    pub(crate) fn next(&mut self, from: u64, most: u64) -> Option<Range<u64>> {
        match self.need(from..self.size, 0, most) {
            Need::Fetch(range) => Some(range),
            _ => match self.need(0..self.size, 0, most) {
                Need::Fetch(range) => Some(range),
                _ => None,
            },
        }
    }

    /// Bytes that were asked for are here.
    pub(crate) fn arrived(&mut self, range: &Range<u64>) {
        for block in self.indexes(range) {
            self.set(block, Block::Here);
        }
    }

    /// Bytes that were asked for will not come.
    pub(crate) fn gave_up(&mut self, range: &Range<u64>) {
        for block in self.indexes(range) {
            if self.blocks[block] == Block::Coming {
                self.set(block, Block::Missing);
            }
        }
    }

    /// Bytes that are here are wrong. What is on its way stays so.
    pub(crate) fn drop_here(&mut self, range: &Range<u64>) {
        for block in self.indexes(range) {
            if self.blocks[block] == Block::Here {
                self.set(block, Block::Missing);
            }
        }
    }

    fn set(&mut self, at: usize, to: Block) {
        let block = &mut self.blocks[at];
        self.here -= usize::from(*block == Block::Here);
        self.here += usize::from(to == Block::Here);
        *block = to;
    }

    fn indexes(&self, range: &Range<u64>) -> Range<usize> {
        let end = range.end.min(self.size).div_ceil(BLOCK);
        let start = (range.start / BLOCK).min(end);
        // Below the number of blocks.
        start as usize..end as usize
    }

    fn bytes(&self, blocks: Range<usize>) -> Range<u64> {
        let end = (blocks.end as u64 * BLOCK).min(self.size);
        blocks.start as u64 * BLOCK..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 10 * BLOCK + 7;

    #[test]
    fn what_is_missing_is_fetched_once() {
        let mut blocks = Blocks::new(
            SIZE,
            &[0..BLOCK, 3 * BLOCK..3 * BLOCK + 5, 10 * BLOCK..SIZE],
        );
        assert_eq!(blocks.need(5..6, 0, u64::MAX), Need::Nothing);
        assert_eq!(
            blocks.need(10 * BLOCK..SIZE, 0, u64::MAX),
            Need::Nothing,
            "the end"
        );
        let first = BLOCK..3 * BLOCK;
        let need = blocks.need(BLOCK + 1..2 * BLOCK + 1, 0, u64::MAX);
        assert_eq!(need, Need::Fetch(first.clone()));
        assert_eq!(blocks.need(BLOCK..BLOCK + 1, 0, u64::MAX), Need::Wait);
        blocks.gave_up(&first);
        assert_eq!(blocks.next(0, BLOCK), Some(BLOCK..2 * BLOCK));
        blocks.arrived(&(BLOCK..2 * BLOCK));
        assert_eq!(blocks.need(BLOCK..2 * BLOCK, 0, u64::MAX), Need::Nothing);
        blocks.drop_here(&(BLOCK..BLOCK + 1));
        assert_eq!(
            blocks.next(9 * BLOCK, u64::MAX),
            Some(9 * BLOCK..10 * BLOCK)
        );
        assert_eq!(blocks.next(9 * BLOCK, u64::MAX), Some(BLOCK..9 * BLOCK));
        assert_eq!(blocks.next(0, u64::MAX), None);
        assert!(!blocks.is_whole());
        blocks.arrived(&(0..SIZE));
        assert!(blocks.is_whole());
    }

    #[test]
    fn nothing_is_whole() {
        assert!(Blocks::new(0, &[]).is_whole());
    }
}
