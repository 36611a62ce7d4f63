//! Who may be a signer: `x509.subject: C=US, ST=WA, O=acme, …` (trust-store-trust-policy.md, "Trusted
//! Identities Constraints"). Each of the attributes has to be in the certificate's subject.

use crate::Refused;

/// Names of attributes, and their object identifiers in DER (RFC 4519).
const NAMES: [(&str, &[u8]); 9] = [
    ("CN", &[0x55, 4, 3]),
    ("SERIALNUMBER", &[0x55, 4, 5]),
    ("C", &[0x55, 4, 6]),
    ("L", &[0x55, 4, 7]),
    ("ST", &[0x55, 4, 8]),
    ("STREET", &[0x55, 4, 9]),
    ("O", &[0x55, 4, 10]),
    ("OU", &[0x55, 4, 11]),
    ("POSTALCODE", &[0x55, 4, 17]),
];
const PREFIX: &str = "x509.subject:";

/// Who may be a signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identities {
    /// Everybody whom a root vouches for.
    Any,
    /// Those whose subjects have all attributes of one of these: names as above, and values.
    Subjects(Vec<Vec<(String, String)>>),
}

impl Identities {
    /// As in a policy.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn parse(list: &[String]) -> Result<Self, String> {
        if list.is_empty() {
            return Err("trustedIdentities must not be empty".into());
        }
        if list.iter().any(|one| one == "*") {
            return match list.len() {
                1 => Ok(Self::Any),
                _ => Err("the identity \"*\" is alone".into()),
            };
        }
        let all = list.iter().map(|one| {
            let text = one.strip_prefix(PREFIX);
            let text = text.ok_or_else(|| format!("identity {one:?} is of no known kind"))?;
            let parsed = subject(text).map_err(|why| format!("identity {one:?}: {why}"))?;
            for needed in ["C", "ST", "O"] {
                if !parsed.iter().any(|(name, _)| name == needed) {
                    return Err(format!("identity {one:?} has no {needed}"));
                }
            }
            Ok(parsed)
        });
        Ok(Self::Subjects(all.collect::<Result<_, String>>()?))
    }

    /// Whether a subject, without its outer sequence, is one of them.
    pub(crate) fn check(&self, subject: &[u8]) -> Result<(), Refused> {
        let Self::Subjects(all) = self else {
            return Ok(());
        };
        let found: Vec<(&[u8], &str)> = der::attributes(subject)
            .and_then(|all| {
                let texts = all.into_iter();
                let texts = texts.map(|(id, _, text)| Some((id, std::str::from_utf8(text).ok()?)));
                texts.collect()
            })
            .ok_or_else(|| Refused::new("notation signature: the signer has no readable name"))?;
        let has = |name: &str, value: &str| {
            let id = NAMES.iter().find(|(known, _)| *known == name);
            found
                .iter()
                .any(|(found, text)| id.is_some_and(|(_, id)| found == id) && *text == value)
        };
        let fits = |one: &Vec<(String, String)>| one.iter().all(|(name, value)| has(name, value));
        match all.iter().any(fits) {
            true => Ok(()),
            false => Err(Refused::new(
                "notation signature: its signer is none of the trusted identities",
            )),
        }
    }
}

/// `C=US, ST=WA`, with backslashes before what means something.
fn subject(text: &str) -> Result<Vec<(String, String)>, String> {
    let (mut all, mut part, mut letters) = (Vec::new(), String::new(), text.chars());
    // What is escaped is kept so until the parts are known.
    let mut parts = Vec::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                part.push('\\');
                part.push(letters.next().ok_or("it ends in a backslash")?);
            }
            ',' | ';' => parts.push(std::mem::take(&mut part)),
            '+' => return Err("names of several values are not supported".into()),
            letter => part.push(letter),
        }
    }
    parts.push(part);
    for part in parts {
        let (name, value) = part.split_once('=').ok_or("it is no list of NAME=VALUE")?;
        let name = name.trim().to_ascii_uppercase();
        let name = if name == "S" { "ST".to_owned() } else { name };
        if !NAMES.iter().any(|(known, _)| *known == name) {
            return Err(format!("unknown attribute {name:?}"));
        }
        if all.iter().any(|(known, _)| *known == name) {
            return Err(format!("{name} is there twice"));
        }
        let value = unescaped(value);
        if value.is_empty() {
            return Err(format!("{name} has no value"));
        }
        all.push((name, value));
    }
    Ok(all)
}

/// Without spaces around it and backslashes in it; a space behind a backslash stays.
fn unescaped(text: &str) -> String {
    let (mut out, mut end, mut letters) = (String::new(), 0, text.trim_start().chars());
    while let Some(letter) = letters.next() {
        let escaped = letter == '\\';
        let letter = if escaped {
            letters.next()
        } else {
            Some(letter)
        };
        out.extend(letter);
        if escaped || letter != Some(' ') {
            end = out.len();
        }
    }
    out.truncate(end);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_people_write_them() {
        let of = |text: &str| Identities::parse(&[text.to_owned()]);
        let Ok(Identities::Subjects(all)) =
            of(r"x509.subject: C=US, S=WA ,O=acme\, inc. ,OU = a\\b\ ")
        else {
            panic!("refused");
        };
        let pairs: Vec<(&str, &str)> = all[0].iter().map(|(a, b)| (&**a, &**b)).collect();
        let want = [
            ("C", "US"),
            ("ST", "WA"),
            ("O", "acme, inc."),
            ("OU", r"a\b "),
        ];
        assert_eq!(pairs, want);
        assert_eq!(of("*"), Ok(Identities::Any));
        for text in [
            "C=US, ST=WA, O=x",
            "x509.subject: C=US, O=x",
            "x509.subject: C=US, ST=WA, O=x, O=y",
            "x509.subject: C=US, ST=WA, O=",
            "x509.subject: C=US, ST=WA, O=x, Q=y",
            "x509.subject: C=US+ST=WA, O=x",
            r"x509.subject: C=US, ST=WA, O=x\",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
