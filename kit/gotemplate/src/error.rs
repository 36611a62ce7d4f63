//! Errors, with Go's texts.

/// The text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}: {text}")]
pub struct ParseError {
    /// Name of the template.
    pub name: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

/// The template does not fit its data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExecError(pub(crate) String);
