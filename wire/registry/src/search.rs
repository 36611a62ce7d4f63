//! Search: docker's v1 search where a registry has it, else its list of repositories
//! (distribution's `_catalog`).

use oci::Reference;
use serde::Deserialize;

use crate::auth::encoded;
use crate::documents::next_page;
use crate::session::{Right, SEARCH};
use crate::{Client, Credentials, Error, Kind};

/// Longest page of an answer.
const LIMIT: usize = 8 << 20;
/// Most repositories of a registry that are looked through.
const REPOSITORIES: usize = 100_000;

/// One repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Name as the registry tells it.
    pub name: String,
    /// What its owner says of it.
    pub description: String,
    /// How many like it.
    pub star_count: i64,
    /// One of the registry's own.
    pub is_official: bool,
}

impl Client {
    /// Repositories of a registry (`domain` as in references) that have to do with `term`, at most
    /// `limit` of them.
    ///
    /// # Errors
    /// Invalid for a domain that is none; those of the connection.
    pub async fn search(
        &self,
        domain: &str,
        term: &str,
        limit: usize,
        credentials: &Credentials,
    ) -> Result<Vec<Found>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            results: Vec<Found>,
        }
        let reference: Reference = format!("{domain}/search")
            .parse()
            .map_err(|_| Error::new(Kind::Invalid, format!("invalid registry {domain:?}")))?;
        let repository = self.session(&reference, credentials, SEARCH);
        let path = format!("/v1/search?q={}&n={limit}", encoded(term));
        match repository.get(&path, Right::Resolve, &[]).await {
            Ok((answer, _)) => {
                let bytes = answer.read(LIMIT, repository.stall()).await?;
                let parsed: Answer = serde_json::from_slice(&bytes).map_err(|error| {
                    Error::new(
                        Kind::Corrupt,
                        format!("error decoding search results: {error}"),
                    )
                })?;
                Ok(parsed.results.into_iter().take(limit).collect())
            }
            Err(error)
                if domain != "docker.io"
                    && matches!(error.kind, Kind::NotFound | Kind::Invalid) =>
            {
                self.catalog(&reference, term, limit, credentials).await
            }
            Err(error) => Err(error),
        }
    }

    /// Repositories whose names contain `term`.
    async fn catalog(
        &self,
        reference: &Reference,
        term: &str,
        limit: usize,
        credentials: &Credentials,
    ) -> Result<Vec<Found>, Error> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            repositories: Option<Vec<String>>,
        }
        let repository = self.session(reference, credentials, SEARCH);
        let (mut found, mut seen) = (Vec::new(), 0);
        let mut query = "?n=1000".to_owned();
        loop {
            let path = format!("/v2/_catalog{query}");
            let (answer, _) = repository.get(&path, Right::Resolve, &[]).await?;
            let more = next_page(&answer.head.headers);
            let bytes = answer.read(LIMIT, repository.stall()).await?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| Error::new(Kind::Corrupt, format!("catalog: {error}")))?;
            let names = page.repositories.unwrap_or_default();
            let empty = names.is_empty();
            seen += names.len();
            for name in names.into_iter().filter(|name| name.contains(term)) {
                found.push(Found {
                    name,
                    ..Found::default()
                });
            }
            if found.len() >= limit || seen > REPOSITORIES || empty {
                break;
            }
            match more {
                Some(next) => query = next,
                None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}
