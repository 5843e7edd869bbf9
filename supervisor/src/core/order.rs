//! Numbers in an order that only their owner knows, which says of each of them whether it stands
//! before the place that is sought. Four bytes a number, where a map would keep the keys: a backlog
//! is in two orders, and very long.

/// Most numbers in one chunk.
const MOST: usize = 256;

/// The numbers, in chunks of which none is empty.
#[derive(Debug, Default)]
pub struct Order {
    chunks: Vec<Vec<u32>>,
}

impl Order {
    /// Puts a number behind those of which `is_before` is true, which are the first ones.
    pub fn insert(&mut self, number: u32, is_before: impl Fn(u32) -> bool) {
        let at = self.chunk(&is_before).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![number]);
            return;
        };
        let place = chunk.partition_point(|&it| is_before(it));
        if chunk.len() < MOST {
            chunk.insert(place, number);
            return;
        }
        // What comes in its order fills each chunk to the brim.
        let kept = if place == MOST { MOST } else { MOST / 2 };
        let mut upper = chunk.split_off(kept);
        match place.checked_sub(kept) {
            Some(place) => upper.insert(place, number),
            None => chunk.insert(place, number),
        }
        self.chunks.insert(at.saturating_add(1), upper);
    }

    /// Takes a number out that stands behind those of which `is_before` is true.
    pub fn remove(&mut self, number: u32, is_before: impl Fn(u32) -> bool) {
        let at = self.chunk(&is_before);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let place = chunk.partition_point(|&it| is_before(it));
        if chunk.get(place) == Some(&number) {
            chunk.remove(place);
        }
        if chunk.len() < MOST / 4 {
            self.join(at.saturating_sub(1));
            self.join(at);
        }
    }

    /// All numbers but the first ones, of which `is_before` is true.
    pub fn from(&self, is_before: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
        let at = self.chunk(&is_before);
        let chunks = self.chunks.get(at..).unwrap_or_default();
        let skipped = chunks.first().map_or(0, |chunk| chunk.partition_point(|&it| is_before(it)));
        chunks.iter().flatten().copied().skip(skipped)
    }

    /// All numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.chunks.iter().flatten().copied()
    }

    /// Puts all numbers that `numbers` tells in the place of those that are here.
    pub fn replace(&mut self, numbers: &[u32]) {
        self.chunks = numbers.chunks(MOST).map(<[u32]>::to_vec).collect();
    }

    /// The first chunk that does not lie before the place as a whole.
    fn chunk(&self, is_before: impl Fn(u32) -> bool) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|&it| is_before(it)))
    }

    /// Makes one of a chunk and the next, where both hold little; and removes it if it is empty.
    fn join(&mut self, at: usize) {
        let both = self.chunks.get(at).zip(self.chunks.get(at.saturating_add(1)));
        if both.is_some_and(|(one, next)| one.len().saturating_add(next.len()) <= MOST / 4 * 3) {
            let next = self.chunks.remove(at.saturating_add(1));
            self.chunks.get_mut(at).into_iter().for_each(|chunk| chunk.extend_from_slice(&next));
        }
        if self.chunks.get(at).is_some_and(Vec::is_empty) {
            self.chunks.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set: the numbers stand in their order, whatever comes and goes, and no chunk
        /// is empty or too long.
        #[test]
        fn it_is_a_sorted_set(
            steps in proptest::collection::vec((0..4_u8, 0..3000_u32, 0..700_u32), 0..60),
        ) {
            let (mut order, mut model) = (Order::default(), BTreeSet::new());
            for (what, first, count) in steps {
                for number in first..first + count {
                    // Upwards, in between, downwards.
                    let number = match what {
                        0 => number,
                        1 => number.wrapping_mul(7) % 3000,
                        _ => 6000 - number,
                    };
                    if what < 3 && model.insert(number) {
                        order.insert(number, |it| it < number);
                    } else if what == 3 {
                        model.remove(&number);
                        order.remove(number, |it| it < number);
                    }
                }
                prop_assert!(order.iter().eq(model.iter().copied()));
                prop_assert!(order.from(|it| it < first).eq(model.range(first..).copied()));
                prop_assert!(order.chunks.iter().all(|chunk| (1..=MOST).contains(&chunk.len())));
            }
        }

        /// A few that are left of many cost little.
        #[test]
        fn what_is_left_lies_close(left in 1..1000_u32) {
            let mut order = Order::default();
            for number in 0..20_000 {
                order.insert(number, |it| it < number);
            }
            prop_assert_eq!(order.chunks.len(), 20_000_usize.div_ceil(MOST));
            for number in (0..20_000).filter(|number| number % 1000 >= left) {
                order.remove(number, |it| it < number);
            }
            let most = order.iter().count() / (MOST / 8) + 1;
            prop_assert!(order.chunks.len() <= most, "{} chunks", order.chunks.len());
        }
    }
}
