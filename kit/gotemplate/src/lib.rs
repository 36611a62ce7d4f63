//! Go's text/template over JSON-like values, with the functions of the docker CLI: the whole
//! language of actions (pipelines, variables, `if`, `range`, `with`, `define`, `template`,
//! `block`, `break`, `continue`, comments, trim markers), Go's built-in functions, and Go's way
//! of printing values. Methods do not exist; what docker's templates call methods are fields.

mod error;
mod exec;
mod functions;
mod lexer;
mod number;
mod parser;
mod print;
mod tree;
mod value;

pub use error::{ExecError, ParseError};
pub use number::format_general;
pub use value::Value;

use std::collections::BTreeMap;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    root: Vec<tree::Node>,
    defined: BTreeMap<String, Vec<tree::Node>>,
}

impl Template {
    /// Parses `text`; `name` appears in the texts of errors.
    ///
    /// # Errors
    /// Go's text, `template: name:line: …`.
    pub fn parse(name: &str, text: &str) -> Result<Self, ParseError> {
        let (root, defined) = parser::parse(name, text)?;
        Ok(Self {
            name: name.to_owned(),
            root,
            defined,
        })
    }

    /// Executes the template over `data`.
    ///
    /// # Errors
    /// Go's text, `template: name:line:column: executing …`; what was written until then is lost.
    pub fn execute(&self, data: &Value) -> Result<String, ExecError> {
        exec::execute(self, data, exec::Mode::Plain)
    }

    /// The same, with a missing map key being an error (`missingkey=error`).
    ///
    /// # Errors
    /// As [`Template::execute`].
    pub fn execute_strict(&self, data: &Value) -> Result<String, ExecError> {
        exec::execute(self, data, exec::Mode::Strict)
    }

    /// The same for the line of headers over a table: `json`, `title`, `lower`, `upper` and
    /// `truncate` leave their text as it is.
    ///
    /// # Errors
    /// As [`Template::execute`].
    pub fn execute_header(&self, data: &Value) -> Result<String, ExecError> {
        exec::execute(self, data, exec::Mode::Header)
    }
}

#[cfg(test)]
mod tests;
