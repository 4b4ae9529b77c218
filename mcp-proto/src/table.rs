//! Slots with generational keys: a key that outlived its value finds nothing.

/// A key of a [`Table`].
pub(crate) trait Key: Copy {
    fn new(index: u32, generation: u32) -> Self;
    fn parts(self) -> (u32, u32);
}

/// Declares a key type for one kind of value.
macro_rules! key {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub(crate) struct $name {
            index: u32,
            generation: u32,
        }

        impl crate::table::Key for $name {
            fn new(index: u32, generation: u32) -> Self {
                Self { index, generation }
            }
            fn parts(self) -> (u32, u32) {
                (self.index, self.generation)
            }
        }
    };
}
pub(crate) use key;

impl Key for crate::ConnId {
    fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }
    fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

/// Values by generational key. Slots are reused, last freed first.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    key: std::marker::PhantomData<K>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), key: std::marker::PhantomData }
    }
}

impl<K: Key, T> Table<K, T> {
    pub(crate) fn insert(&mut self, value: T) -> K {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = Some(value);
            return K::new(index, slot.generation);
        }
        self.slots.push(Slot { generation: 0, value: Some(value) });
        K::new(self.slots.len() as u32 - 1, 0)
    }

    pub(crate) fn get(&self, key: K) -> Option<&T> {
        let (index, generation) = key.parts();
        let slot = self.slots.get(index as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == generation)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let (index, generation) = key.parts();
        let slot = self.slots.get_mut(index as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == generation)
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<T> {
        let (index, generation) = key.parts();
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    /// Drops a value where it is; whether there was one.
    pub(crate) fn discard(&mut self, key: K) -> bool {
        let (index, generation) = key.parts();
        let slot = self.slots.get_mut(index as usize);
        let Some(slot) = slot.filter(|slot| slot.generation == generation && slot.value.is_some()) else {
            return false;
        };
        slot.value = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All values in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((K::new(index as u32, slot.generation), slot.value.as_ref()?)))
    }

    /// The keys of all values: for loops that change the table.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_dies_with_its_value() {
        let mut table: Table<crate::ConnId, &str> = Table::default();
        let first = table.insert("first");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second");
        assert_eq!(second.index(), first.index());
        assert_eq!(table.get(first), None);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
        assert_eq!(table.keys(), [second]);
        assert_eq!(table.len(), 1);
        assert!(!table.discard(first));
        assert!(table.discard(second) && !table.discard(second));
        assert_eq!(table.insert("third").parts(), (0, 2));
    }
}
