//! When to ask again after a failure that may pass: what the registry says (`Retry-After`), else
//! longer each time, with some chance in it so that clients which failed together do not come back
//! together.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use http::{HeaderMap, header};

use crate::Error;

/// The first wait; each further one is so many times longer, up to the longest.
const FIRST: Duration = Duration::from_millis(250);
const FACTOR: u32 = 4;
const LONGEST: Duration = Duration::from_secs(30);
/// A registry that wants to be left alone for longer is told to the user instead, unless settings say
/// otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Counts the failures of one request.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    attempts: u32,
    failures: u32,
    /// Longest wait.
    patience: Duration,
}

impl Backoff {
    /// For so many tries in all.
    pub(crate) fn new(attempts: u32) -> Self {
        Self {
            attempts,
            failures: 0,
            patience: PATIENCE,
        }
    }

    /// The same with another longest wait.
    pub(crate) fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Something got through: failures before it do not count any more.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait before the next try; the error when there is none.
    pub(crate) fn after(&mut self, error: Error) -> Result<Duration, Error> {
        self.failures += 1;
        if !error.is_transient() || self.failures >= self.attempts {
            return Err(error);
        }
        match error.retry_after {
            Some(wanted) if wanted > self.patience => Err(error),
            Some(wanted) => Ok(wanted),
            None => Ok(delay(self.failures, random()).min(self.patience)),
        }
    }
}

/// The wait after the `failures`th failure, three to five quarters of its nominal length.
fn delay(failures: u32, random: u64) -> Duration {
    let nominal = FIRST
        .saturating_mul(FACTOR.saturating_pow(failures.saturating_sub(1)))
        .min(LONGEST);
    let thousandths = 750 + u32::try_from(random % 500).unwrap_or_default();
    nominal * thousandths / 1000
}

/// Not for secrets.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let seconds = date.as_second() - jiff::Timestamp::now().as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn waits_grow_and_differ() {
        assert_eq!(delay(1, 250), FIRST);
        assert_eq!(delay(3, 250), FIRST * 16);
        assert_eq!(delay(90, 250), LONGEST);
        for failures in 1..9 {
            assert!(delay(failures, 0) < delay(failures, 499));
        }
    }

    #[test]
    fn what_the_registry_says_goes_first() {
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, value.parse().expect("value"));
            retry_after(&headers)
        };
        assert_eq!(headers("7"), Some(Duration::from_secs(7)));
        let past = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(headers(past), Some(Duration::ZERO));
        let later = headers("Wed, 21 Oct 2099 07:28:00 GMT").expect("date");
        assert!(later > Duration::from_secs(1_000_000));
        assert_eq!(headers("soon"), None);

        let busy = Error::new(Kind::RateLimited, "busy");
        let mut backoff = Backoff::new(3);
        let wanted = Duration::from_secs(9);
        assert_eq!(backoff.after(busy.clone().after(Some(wanted))), Ok(wanted));
        let tomorrow = busy.clone().after(Some(Duration::from_secs(86_400)));
        assert_eq!(backoff.after(tomorrow.clone()), Err(tomorrow));
        assert_eq!(backoff.after(busy.clone()), Err(busy.clone()), "the third");
        backoff.reset();
        assert!(backoff.after(busy).is_ok());
        let denied = Error::new(Kind::Denied, "no");
        assert!(backoff.after(denied).is_err());
    }
}
