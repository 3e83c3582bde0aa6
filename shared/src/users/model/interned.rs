//! Numbers for values, so that the states of the model are small and quick to compare.

use std::{collections::HashMap, hash::Hash, sync::Arc};

/// The number of a value.
pub(super) type Id = u32;

/// Values by their numbers.
#[derive(Debug)]
pub(super) struct Interned<T> {
    ids: HashMap<Arc<T>, Id>,
    values: Vec<Arc<T>>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            values: Vec::new(),
        }
    }
}

impl<T: Hash + Eq> Interned<T> {
    pub(super) fn id(&mut self, value: T) -> Id {
        if let Some(id) = self.ids.get(&value) {
            return *id;
        }
        let (value, id) = (Arc::new(value), Id::try_from(self.values.len()).unwrap());
        self.ids.insert(value.clone(), id);
        self.values.push(value);
        id
    }

    pub(super) fn value(&self, id: Id) -> Arc<T> {
        self.values[id as usize].clone()
    }
}
