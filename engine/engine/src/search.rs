//! `search`: repositories of Docker Hub, or of the registry that the term begins with.

use dockerapi::{AuthConfig, SearchResult};

use crate::registries::credentials;
use crate::{Engine, Error, Filters, Result};

/// As moby's, where a client names none.
const LIMIT: usize = 25;

impl Engine {
    /// Repositories that have to do with `term`, which may begin with a registry: `quay.io/redis`.
    ///
    /// # Errors
    /// Invalid parameter for filters and limits that moby refuses; the registry's.
    pub async fn image_search(
        &self,
        term: &str,
        limit: i64,
        filters: &Filters,
        auth: Option<AuthConfig>,
    ) -> Result<Vec<SearchResult>> {
        filters.only(&["is-automated", "is-official", "stars"])?;
        let automated = flag(filters, "is-automated")?;
        let official = flag(filters, "is-official")?;
        let stars = stars(filters)?;
        // Deprecated: nothing is automated any more.
        if automated == Some(true) {
            return Ok(Vec::new());
        }
        let limit = match usize::try_from(limit) {
            Ok(0) => LIMIT,
            Ok(limit @ 1..=100) => limit,
            _ => {
                let text = format!("limit {limit} is outside the range of [1, 100]");
                return Err(Error::invalid(text));
            }
        };
        if term.contains("://") {
            return Err(Error::invalid(format!(
                "invalid repository name: repository name ({term}) should not have a scheme"
            )));
        }
        let (domain, name) = split(term);
        let credentials = auth.map(credentials).unwrap_or_default();
        let client = self.0.registries.client();
        let found = client.search(domain, name, limit, &credentials).await?;
        let wanted = |result: &SearchResult| {
            official.is_none_or(|official| result.is_official == official)
                && result.star_count >= stars
        };
        let results = found.into_iter().map(|found| SearchResult {
            star_count: found.star_count,
            is_official: found.is_official,
            name: found.name,
            is_automated: false,
            description: found.description,
        });
        Ok(results.filter(wanted).collect())
    }
}

/// The registry and what is searched there.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            let hub = ["docker.io", "index.docker.io"].contains(&first);
            match hub {
                true => ("docker.io", rest.strip_prefix("library/").unwrap_or(rest)),
                false => (first, rest),
            }
        }
        _ => ("docker.io", term.strip_prefix("library/").unwrap_or(term)),
    }
}

/// A yes-or-no filter, where it was given.
fn flag(filters: &Filters, name: &str) -> Result<Option<bool>> {
    let Some(values) = filters.0.get(name) else {
        return Ok(None);
    };
    let wrong = || Error::invalid(format!("invalid filter '{name}={values:?}'"));
    match values.as_slice() {
        [value] => match value.as_str() {
            "1" | "true" => Ok(Some(true)),
            "0" | "false" => Ok(Some(false)),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

fn stars(filters: &Filters) -> Result<i64> {
    let mut most = 0;
    for value in filters.0.get("stars").into_iter().flatten() {
        let number: i64 = value
            .parse()
            .map_err(|_| Error::invalid(format!("invalid filter 'stars={value}'")))?;
        most = most.max(number);
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_name_a_registry_or_mean_the_hub() {
        for (term, parts) in [
            ("redis", ("docker.io", "redis")),
            ("library/redis", ("docker.io", "redis")),
            ("bitnami/redis", ("docker.io", "bitnami/redis")),
            ("docker.io/library/redis", ("docker.io", "redis")),
            ("quay.io/a/b", ("quay.io", "a/b")),
            ("localhost/a", ("localhost", "a")),
            ("h:5000/", ("h:5000", "")),
        ] {
            assert_eq!(split(term), parts);
        }
    }

    #[test]
    fn filters_are_read_as_moby_does() {
        let of = |text: &str| Filters::parse(text).expect("filters");
        assert_eq!(
            flag(&of(r#"{"x":["true"]}"#), "x").expect("flag"),
            Some(true)
        );
        assert_eq!(flag(&of("{}"), "x").expect("none"), None);
        let error = flag(&of(r#"{"is-official":["maybe"]}"#), "is-official").expect_err("word");
        assert_eq!(error.message, "invalid filter 'is-official=[\"maybe\"]'");
        assert_eq!(stars(&of(r#"{"stars":["3","10"]}"#)).expect("stars"), 10);
        let error = stars(&of(r#"{"stars":["x"]}"#)).expect_err("word");
        assert_eq!(error.message, "invalid filter 'stars=x'");
    }
}
