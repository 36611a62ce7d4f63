//! `GET /events`: in which form they are sent.

use bytes::Bytes;
use dockerapi::Event;
use engine::{Error, EventsOptions, Result};
use futures_util::StreamExt as _;
use http::HeaderMap;
use http::header::ACCEPT;

use crate::answer::{self, Answer};
use crate::body::{ResponseBody, receive};
use crate::call::Call;
use crate::version::ApiVersion;
use crate::{Api, timestamp};

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/jsonl";
const JSON_SEQUENCE: &str = "application/json-seq";
/// What a client may ask for by name, best first.
const OFFERED: [&str; 3] = [JSON_LINES, "application/x-ndjson", JSON_SEQUENCE];
/// Begins a record of a JSON sequence (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;

/// `GET /events`.
pub(crate) async fn events(api: &Api, call: &Call) -> Result<Answer> {
    let text = |key| call.query.get(key).unwrap_or_default();
    let time = |key| timestamp::parse(text(key));
    let (since, until) = (time("since")?, time("until")?);
    if let (Some(from), Some(to)) = (since, until)
        && from > to
    {
        return Err(Error::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            text("since"),
            text("until")
        )));
    }
    let options = EventsOptions {
        since,
        until,
        filters: call.query.filters()?,
    };
    let version = call.version;
    let kind = wanted(&call.headers).unwrap_or(match version.before(52) {
        // Not one JSON value, but that is what it was called.
        true => JSON,
        false => JSON_LINES,
    });
    let events = receive(api.0.engine.events(options).await?);
    let pieces = events.filter_map(move |event| async move {
        match event {
            Ok(event) => told(event, version).map(|event| encode(&event, kind)),
            Err(error) => Some(Err(error)),
        }
    });
    answer::bytes(kind, ResponseBody::pieces(pieces))
}

/// As a version of the API has it; `None` for what it has not.
fn told(mut event: Event, version: ApiVersion) -> Option<Event> {
    if version.before(46) && event.kind == "image" && event.action == "create" {
        return None;
    }
    if !version.before(52) {
        event.status.clear();
        event.id.clear();
        event.from.clear();
    }
    Some(event)
}

fn encode(event: &Event, kind: &str) -> Result<Bytes> {
    let mut record = Vec::new();
    if kind == JSON_SEQUENCE {
        record.push(RECORD_SEPARATOR);
    }
    serde_json::to_writer(&mut record, event)
        .map_err(|error| Error::system(format!("cannot encode answer: {error}")))?;
    record.push(b'\n');
    Ok(record.into())
}

/// The form that `Accept` names; patterns name none.
fn wanted(headers: &HeaderMap) -> Option<&'static str> {
    let given: Vec<(String, f32)> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(1.0, |text| text.parse().unwrap_or(0.0));
            (kind, quality)
        })
        .collect();
    let mut best = None;
    let mut most = 0.0;
    for offer in OFFERED {
        for (kind, quality) in &given {
            if kind == offer && *quality > most {
                (best, most) = (Some(offer), *quality);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{JSON_LINES, JSON_SEQUENCE, OFFERED, encode, told, wanted};
    use crate::version::ApiVersion;
    use dockerapi::Event;
    use http::HeaderMap;

    fn accept(value: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert("accept", value.parse().expect("a header"));
        wanted(&headers)
    }

    #[test]
    fn a_client_gets_the_form_it_names() {
        assert_eq!(wanted(&HeaderMap::new()), None);
        assert_eq!(accept("*/*"), None);
        assert_eq!(accept("application/json"), None);
        assert_eq!(accept("application/*, application/json-seq;q=0"), None);
        assert_eq!(accept("application/x-ndjson"), Some(OFFERED[1]));
        let both = "application/json-seq;q=0.9, application/x-ndjson;q=0.1";
        assert_eq!(accept(both), Some(JSON_SEQUENCE));
        assert_eq!(
            accept("application/json-seq, application/jsonl"),
            Some(JSON_LINES)
        );
    }

    #[test]
    fn forms_and_versions() {
        let event = Event {
            status: "pull".into(),
            kind: "image".into(),
            action: "create".into(),
            ..Event::default()
        };
        let record = encode(&event, JSON_SEQUENCE).expect("json");
        assert_eq!((record[0], record[record.len() - 1]), (0x1e, b'\n'));
        assert!(told(event.clone(), ApiVersion::new(1, 45)).is_none());
        let old = told(event.clone(), ApiVersion::new(1, 51)).expect("shown");
        assert_eq!(old.status, "pull");
        assert_eq!(
            told(event, ApiVersion::new(1, 52)).expect("shown").status,
            ""
        );
    }
}
