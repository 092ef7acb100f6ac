//! What is seldom said takes no room where it is not.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that is the default for almost everybody: there it takes a pointer's room. A clone costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Seldom<T>(Option<Arc<T>>);

/// What is seen where nothing was said.
pub trait Unsaid: Default + Clone + PartialEq + 'static {
    /// The default.
    const UNSAID: &'static Self;
}

impl<T: Unsaid> From<T> for Seldom<T> {
    fn from(value: T) -> Self {
        Self((value != *T::UNSAID).then(|| Arc::new(value)))
    }
}

impl<T: Unsaid> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::UNSAID)
    }
}

impl<T: Unsaid> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl<T: Unsaid> PartialEq for Seldom<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Unsaid + Eq> Eq for Seldom<T> {}

impl<T: Unsaid + Serialize> Serialize for Seldom<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(self, serializer)
    }
}

impl<'de, T: Unsaid + Deserialize<'de>> Deserialize<'de> for Seldom<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Extras;

    use super::*;

    #[test]
    fn the_default_takes_no_room_and_everything_else_is_kept() {
        let nothing: Seldom<Extras> = serde_json::from_str("{}").unwrap();
        assert!(nothing.0.is_none() && !nothing.sticky);
        assert_eq!(Extras::default(), *Extras::UNSAID);
        let mut said = nothing.clone();
        said.sticky = true;
        assert_ne!(said, nothing);
        let text = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<Seldom<Extras>>(&text).unwrap(), said);
        let mut taken_back = said.clone();
        taken_back.sticky = false;
        assert_eq!(taken_back, nothing);
        assert!(said.sticky);
    }
}
