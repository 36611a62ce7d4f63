//! The parsed form of templates.

use crate::value::Value;

/// Part of a template. Positions are `line:column` of where Go puts an error.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    /// `{{pipeline}}`: its value is printed unless it only sets a variable.
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template(Call),
    Break,
    Continue,
}

/// `{{template "name" pipeline}}`.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) at: Position,
    pub(crate) name: String,
    pub(crate) pipeline: Option<Pipeline>,
}

/// `if`, `with` or `range`, with its `else`.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    pub(crate) pipeline: Pipeline,
    pub(crate) list: Vec<Node>,
    pub(crate) otherwise: Option<Vec<Node>>,
}

/// Commands, each fed with what the one before gave, and the variables set by the last.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) variables: Vec<String>,
    /// `=` rather than `:=`.
    pub(crate) assign: bool,
    pub(crate) commands: Vec<Command>,
}

/// An operand or a function with its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) args: Vec<Operand>,
}

/// A value, where it stands, and its own text for errors.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub(crate) at: Position,
    pub(crate) kind: OperandKind,
}

#[derive(Debug, Clone)]
pub(crate) enum OperandKind {
    Dot,
    Nil,
    Constant(Value, String),
    /// `.a.b`.
    Field(Vec<String>),
    /// `$x.a.b`.
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipeline).a.b`.
    Pipeline(Box<Pipeline>, Vec<String>),
}

/// Line from 1, column from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Operand {
    /// The operand as Go's parser prints it.
    pub(crate) fn text(&self) -> String {
        let fields = |fields: &[String]| -> String {
            fields.iter().map(|field| format!(".{field}")).collect()
        };
        match &self.kind {
            OperandKind::Dot => ".".into(),
            OperandKind::Nil => "nil".into(),
            OperandKind::Constant(_, text) => text.clone(),
            OperandKind::Field(names) => fields(names),
            OperandKind::Variable(name, names) => format!("{name}{}", fields(names)),
            OperandKind::Function(name) => name.clone(),
            OperandKind::Pipeline(pipeline, names) => {
                format!("({}){}", pipeline.text(), fields(names))
            }
        }
    }
}

impl Command {
    pub(crate) fn text(&self) -> String {
        let args: Vec<String> = self.args.iter().map(Operand::text).collect();
        args.join(" ")
    }
}

impl Pipeline {
    pub(crate) fn text(&self) -> String {
        let commands: Vec<String> = self.commands.iter().map(Command::text).collect();
        let variables = if self.variables.is_empty() {
            String::new()
        } else {
            let sign = if self.assign { "=" } else { ":=" };
            format!("{} {sign} ", self.variables.join(", "))
        };
        format!("{variables}{}", commands.join(" | "))
    }
}
