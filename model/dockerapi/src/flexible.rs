//! Reading JSON as leniently as Go's decoder does.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Go marshals maps in key order.
pub type Map<V> = BTreeMap<String, V>;

/// `null` is the default value.
///
/// # Errors
/// Those of `T`.
pub fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// moby's `strslice.StrSlice`: a list, a single string, or null.
pub(crate) fn str_slice<'de, D>(deserializer: D) -> Result<Option<Vec<String>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<String>),
        One(String),
    }
    Ok(
        Option::<Either>::deserialize(deserializer)?.map(|either| match either {
            Either::List(list) => list,
            Either::One(one) => vec![one],
        }),
    )
}
