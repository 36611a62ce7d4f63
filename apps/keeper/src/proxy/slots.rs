//! Numbered places for things that events name.

/// A number is given out again only after [`Slots::recycle`]: an event of the same batch may still
/// name what was there before.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
    left: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            left: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// How many things there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len() - self.left.len()
    }

    pub(crate) fn insert(&mut self, thing: T) -> usize {
        match self.free.pop() {
            Some(number) => {
                self.places[number] = Some(thing);
                number
            }
            None => {
                self.places.push(Some(thing));
                self.places.len() - 1
            }
        }
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.places.get_mut(number)?.as_mut()
    }

    pub(crate) fn remove(&mut self, number: usize) -> Option<T> {
        let thing = self.places.get_mut(number)?.take()?;
        self.left.push(number);
        Some(thing)
    }

    /// Between batches of events: numbers of removed things may be used again.
    pub(crate) fn recycle(&mut self) {
        self.free.append(&mut self.left);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(number, place)| Some((number, place.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn numbers_come_back_after_the_batch() {
        let mut slots = Slots::default();
        assert_eq!((slots.insert('a'), slots.insert('b')), (0, 1));
        assert_eq!(slots.remove(0), Some('a'));
        assert_eq!((slots.remove(0), slots.len()), (None, 1));
        assert_eq!(slots.insert('c'), 2);
        slots.recycle();
        assert_eq!(slots.insert('d'), 0);
        assert_eq!(
            slots.iter().map(|(n, c)| (n, *c)).collect::<Vec<_>>(),
            [(0, 'd'), (1, 'b'), (2, 'c')]
        );
    }
}
