//! Regular expressions in filters. moby takes Go's; what clients write is the common part.

use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self};
use regex_automata::util::syntax;

/// Most memory that a pattern of a client may take, compiled.
const LIMIT: usize = 1 << 20;

/// A compiled pattern; linear in time whatever it says.
#[derive(Debug)]
pub(crate) struct Pattern {
    machine: PikeVM,
}

impl Pattern {
    /// `None` when it is no regular expression: moby lets those match nothing.
    pub(crate) fn new(text: &str) -> Option<Self> {
        // Go's `\d`, `\w` and their kind are ASCII.
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let machine = PikeVM::builder()
            .syntax(syntax)
            .thompson(
                thompson::Config::new()
                    .utf8(false)
                    .nfa_size_limit(Some(LIMIT)),
            )
            .build(text)
            .ok()?;
        Some(Self { machine })
    }

    /// Whether it is found anywhere in the text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.machine
            .is_match(&mut self.machine.create_cache(), text)
    }
}

/// All of a filter's values, compiled.
#[derive(Debug)]
pub(crate) struct Patterns {
    /// Without values anything passes.
    any: bool,
    patterns: Vec<Pattern>,
}

impl Patterns {
    pub(crate) fn new(values: &[String]) -> Self {
        Self {
            any: values.is_empty(),
            patterns: values
                .iter()
                .filter_map(|text| Pattern::new(text))
                .collect(),
        }
    }

    /// Whether one of them is found in one of the texts.
    pub(crate) fn take(&self, texts: &[&str]) -> bool {
        let found = |pattern: &Pattern| texts.iter().any(|text| pattern.matches(text));
        self.any || self.patterns.iter().any(found)
    }
}

#[cfg(test)]
mod tests {
    use super::Patterns;

    #[test]
    fn names() {
        let take = |pattern: &str, name: &str| {
            Patterns::new(&[pattern.to_owned()]).take(&[name, &format!("/{name}")])
        };
        assert!(take("web", "web_1"));
        assert!(take("^/web", "web_1"));
        assert!(!take("^web", "my_web"));
        assert!(take("^/?web$", "web"));
        assert!(take("(db|web)_\\d+$", "web_12"));
        assert!(!take("we(", "we("));
        assert!(!take("(a{900}){900}", "a"));
        assert!(Patterns::new(&[]).take(&["any"]));
    }
}
