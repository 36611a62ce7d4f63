//! `--filter name=value`, any number of times, as the API's `{"name":{"value":true}}`.

use std::collections::BTreeMap;

/// Checks one filter.
///
/// # Errors
/// docker's text.
pub(crate) fn check(value: &str) -> Result<(), String> {
    if value.is_empty() || value.contains('=') {
        Ok(())
    } else {
        Err("bad format of filter (expected name=value)".into())
    }
}

/// Filters collected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filters(BTreeMap<String, BTreeMap<String, bool>>);

impl Filters {
    /// From values that passed [`check`].
    pub(crate) fn from_values(values: &[String]) -> Self {
        let mut filters = Self::default();
        for value in values.iter().filter(|value| !value.is_empty()) {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            filters.add(&name.trim().to_lowercase(), value.trim());
        }
        filters
    }

    /// Adds one.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.0
            .entry(name.to_owned())
            .or_default()
            .insert(value.to_owned(), true);
    }

    /// Whether a filter of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// JSON, empty for none.
    pub(crate) fn json(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}
