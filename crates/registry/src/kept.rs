use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// One value of each type. Says nothing of the container, so all are equal, and each container's are its own.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<Arc<dyn Any + Send + Sync>>>);

impl Kept {
    pub(crate) fn get_or_insert<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find_map(|value| Arc::clone(value).downcast().ok());
        found.unwrap_or_else(|| {
            let new = Arc::new(make());
            kept.push(Arc::clone(&new) as Arc<dyn Any + Send + Sync>);
            new
        })
    }
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_value_and_each_container_its_own() {
        let kept = Kept::default();
        let first = kept.get_or_insert(|| 1_u8);
        assert_eq!((*kept.get_or_insert(|| 2_u8), *kept.get_or_insert(|| 3_u16)), (1, 3));
        assert_eq!(*kept.clone().get_or_insert(|| 4_u8), 4);
        drop(kept);
        assert_eq!(Arc::strong_count(&first), 1);
    }
}
