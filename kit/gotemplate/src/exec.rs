//! Running a template over a value.

use crate::Template;
use crate::error::ExecError;
use crate::functions::{self, CallError};
use crate::print::printed;
use crate::tree::{Branch, Call, Command, Node, Operand, OperandKind, Pipeline, Position};
use crate::value::Value;

/// Deepest nesting of templates that call each other.
const DEPTH: usize = 1000;

/// Variants of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    /// Missing map keys are errors.
    Strict,
    /// Functions that change a text leave it as it is.
    Header,
}

/// Runs the template.
pub(crate) fn execute(template: &Template, data: &Value, mode: Mode) -> Result<String, ExecError> {
    let mut run = Run {
        template,
        mode,
        name: template.name.clone(),
        out: String::new(),
        variables: vec![("$".into(), data.clone())],
        depth: 0,
    };
    run.list(&template.root, data)?;
    Ok(run.out)
}

struct Run<'a> {
    template: &'a Template,
    mode: Mode,
    /// Of the template being executed.
    name: String,
    out: String,
    variables: Vec<(String, Value)>,
    depth: usize,
}

/// How a list ended.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

type Result<T, E = ExecError> = std::result::Result<T, E>;

impl Run<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&printed(&value));
                    }
                }
                Node::If(branch) => {
                    let flow = self.branch(branch, dot, false)?;
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::With(branch) => {
                    let flow = self.branch(branch, dot, true)?;
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Template(call) => self.call(call, dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn branch(&mut self, branch: &Branch, dot: &Value, with: bool) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = if value.truth() {
            self.list(&branch.list, if with { &value } else { dot })
        } else if let Some(otherwise) = &branch.otherwise {
            self.list(otherwise, dot)
        } else {
            Ok(Flow::On)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<()> {
        let scope = self.variables.len();
        // The variables are set by each turn, not by the pipeline.
        let bare = Pipeline {
            variables: Vec::new(),
            ..branch.pipeline.clone()
        };
        let over = self.pipeline(&bare, dot)?;
        let items: Vec<(Value, Value)> = match over {
            Value::List(values) => values
                .into_iter()
                .enumerate()
                .map(|(n, value)| (Value::Int(i64::try_from(n).unwrap_or(i64::MAX)), value))
                .collect(),
            Value::Map(mut entries) => {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                let entries = entries.into_iter();
                entries
                    .map(|(key, value)| (Value::Text(key), value))
                    .collect()
            }
            Value::Int(n) => (0..n.clamp(0, 1 << 20))
                .map(|n| (Value::Int(n), Value::Int(n)))
                .collect(),
            Value::Nil | Value::Null(_) => Vec::new(),
            other => {
                let at = branch.pipeline.commands[0].args[0].at;
                let text = branch.pipeline.text();
                let shown = printed(&other);
                return Err(self.error(at, &text, &format!("range can't iterate over {shown}")));
            }
        };
        if items.is_empty() {
            if let Some(otherwise) = &branch.otherwise {
                self.list(otherwise, dot)?;
            }
            self.variables.truncate(scope);
            return Ok(());
        }
        for (key, value) in items {
            let names = &branch.pipeline.variables;
            match &names[..] {
                [] => {}
                [one] => self.set(one, value.clone(), branch.pipeline.assign),
                [first, second, ..] => {
                    self.set(first, key, branch.pipeline.assign);
                    self.set(second, value.clone(), branch.pipeline.assign);
                }
            }
            let flow = self.list(&branch.list, &value)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn call(&mut self, call: &Call, dot: &Value) -> Result<()> {
        let Some(nodes) = self.template.defined.get(&call.name) else {
            let text = format!("{{{{template {:?}}}}}", call.name);
            let why = format!("template {:?} not defined", call.name);
            return Err(self.error(call.at, &text, &why));
        };
        if self.depth == DEPTH {
            let text = format!("{{{{template {:?}}}}}", call.name);
            return Err(self.error(call.at, &text, "exceeded maximum template depth (1000)"));
        }
        let data = match &call.pipeline {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Nil,
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$".into(), data.clone())]);
        let name = std::mem::replace(&mut self.name, call.name.clone());
        self.depth += 1;
        self.list(nodes, &data)?;
        self.depth -= 1;
        self.variables = variables;
        self.name = name;
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, assign: bool) {
        if assign {
            let known = self.variables.iter_mut().rev();
            if let Some((_, slot)) = known.into_iter().find(|(known, _)| known == name) {
                *slot = value;
                return;
            }
        }
        self.variables.push((name.to_owned(), value));
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or_default();
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.assign);
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value> {
        let first = &command.args[0];
        let OperandKind::Function(name) = &first.kind else {
            if command.args.len() > 1 || last.is_some() {
                if let Value::Lookup(entries) = self.operand(first, dot)? {
                    let key = match (command.args.get(1), last) {
                        (Some(arg), _) => self.operand(arg, dot)?,
                        (None, last) => last.unwrap_or_default(),
                    };
                    let found = entries
                        .into_iter()
                        .find(|(name, _)| matches!(&key, Value::Text(key) if key == name));
                    return Ok(Value::Text(found.map(|(_, text)| text).unwrap_or_default()));
                }
                let text = first.text();
                let why = match &first.kind {
                    OperandKind::Field(names) => {
                        // The field is looked up first, so that a missing one is named.
                        self.operand(first, dot)?;
                        let name = names.last().map_or("", String::as_str);
                        format!("{name} is not a method but has arguments")
                    }
                    OperandKind::Nil => "nil is not a command".into(),
                    _ => format!("can't give argument to non-function {text}"),
                };
                return Err(self.error(first.at, &text, &why));
            }
            if matches!(first.kind, OperandKind::Nil) {
                return Err(self.error(first.at, "nil", "nil is not a command"));
            }
            return self.operand(first, dot);
        };
        if name == "and" || name == "or" {
            return self.short_circuit(name, command, dot, last);
        }
        let mut args = Vec::with_capacity(command.args.len());
        for arg in &command.args[1..] {
            args.push(self.operand(arg, dot)?);
        }
        args.extend(last);
        if self.mode == Mode::Header
            && matches!(
                name.as_str(),
                "json" | "title" | "lower" | "upper" | "truncate"
            )
            && let Some(first) = args.first()
        {
            return Ok(first.clone());
        }
        functions::call(name, &args).map_err(|error| match error {
            CallError::Count(why) => self.error(first.at, name, &why),
            CallError::Type(why) => {
                let culprit = command.args.last().unwrap_or(first);
                self.error(culprit.at, &culprit.text(), &why)
            }
            CallError::Failed(why) => {
                let why = format!("error calling {name}: {why}");
                self.error(first.at, &command.text(), &why)
            }
        })
    }

    /// `and` and `or` evaluate no more than they need.
    fn short_circuit(
        &mut self,
        name: &str,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        let mut value = None;
        for arg in &command.args[1..] {
            let current = self.operand(arg, dot)?;
            if current.truth() == (name == "or") {
                return Ok(current);
            }
            value = Some(current);
        }
        match last.or(value) {
            Some(value) => Ok(value),
            None => {
                let why = format!("wrong number of args for {name}: want at least 1 got 0");
                Err(self.error(command.args[0].at, name, &why))
            }
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value> {
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Value::Nil),
            OperandKind::Constant(value, _) => Ok(value.clone()),
            OperandKind::Field(names) => self.fields(dot, names, operand),
            OperandKind::Variable(name, names) => {
                let known = self.variables.iter().rev();
                let value = known.into_iter().find(|(known, _)| known == name);
                let value = value.map(|(_, value)| value.clone()).unwrap_or_default();
                self.fields(&value, names, operand)
            }
            OperandKind::Function(name) => {
                let command = Command {
                    args: vec![Operand {
                        at: operand.at,
                        kind: OperandKind::Function(name.clone()),
                    }],
                };
                self.command(&command, dot, None)
            }
            OperandKind::Pipeline(pipeline, names) => {
                let value = self.pipeline(pipeline, dot)?;
                self.fields(&value, names, operand)
            }
        }
    }

    fn fields(&self, value: &Value, names: &[String], operand: &Operand) -> Result<Value> {
        let mut value = value;
        let mut in_map = false;
        for name in names {
            let fail = |why: String| Err(self.error(operand.at, &operand.text(), &why));
            match value {
                Value::Map(_) => match value.get(name) {
                    Some(found) => {
                        value = found;
                        in_map = true;
                    }
                    None if self.mode == Mode::Strict => {
                        return fail(format!("map has no entry for key {name:?}"));
                    }
                    // What is missing has no fields, and says nothing about it.
                    None => return Ok(Value::Nil),
                },
                Value::Struct(type_name, _) => match value.get(name) {
                    Some(found) => {
                        value = found;
                        in_map = false;
                    }
                    None => {
                        return fail(format!("can't evaluate field {name} in type {type_name}"));
                    }
                },
                Value::Nil | Value::Null(_) => {
                    return fail(format!("nil pointer evaluating interface {{}}.{name}"));
                }
                other => {
                    let type_name = if in_map {
                        "interface {}"
                    } else {
                        other.type_name()
                    };
                    return fail(format!("can't evaluate field {name} in type {type_name}"));
                }
            }
        }
        Ok(value.clone())
    }

    fn error(&self, at: Position, text: &str, why: &str) -> ExecError {
        let name = &self.name;
        let place = &self.template.name;
        ExecError(format!(
            "template: {place}:{}:{}: executing {name:?} at <{text}>: {why}",
            at.line, at.column
        ))
    }
}
