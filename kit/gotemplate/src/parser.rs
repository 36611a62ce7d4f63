//! From tokens to the tree.

use std::collections::BTreeMap;

use crate::error::ParseError;
use crate::functions;
use crate::lexer::{Spanned, Token, lex};
use crate::tree::{Branch, Call, Command, Node, Operand, OperandKind, Pipeline, Position};
use crate::value::Value;

/// Deepest nesting of actions and parentheses.
const DEPTH: usize = 200;

type Parsed = (Vec<Node>, BTreeMap<String, Vec<Node>>);

/// Parses a template.
pub(crate) fn parse(name: &str, text: &str) -> Result<Parsed, ParseError> {
    let mut parser = Parser {
        name,
        tokens: lex(name, text)?,
        next: 0,
        variables: vec!["$".into()],
        defined: BTreeMap::new(),
        loops: 0,
        depth: 0,
        lines: 1 + text.matches('\n').count(),
    };
    let (nodes, end) = parser.list()?;
    match end {
        Ending::Input => Ok((nodes, parser.defined)),
        Ending::End => Err(parser.error("unexpected {{end}}")),
        Ending::Else => Err(parser.error("unexpected {{else}}")),
    }
}

struct Parser<'a> {
    name: &'a str,
    tokens: Vec<Spanned>,
    next: usize,
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
    loops: usize,
    depth: usize,
    lines: usize,
}

/// What ended a list of nodes.
#[derive(PartialEq, Eq)]
enum Ending {
    Input,
    End,
    Else,
}

type Result<T, E = ParseError> = std::result::Result<T, E>;

impl Parser<'_> {
    fn list(&mut self) -> Result<(Vec<Node>, Ending)> {
        let mut nodes = Vec::new();
        loop {
            let Some(token) = self.take() else {
                return Ok((nodes, Ending::Input));
            };
            match token.token {
                Token::Text(text) => nodes.push(Node::Text(text)),
                _ => match self.action()? {
                    Action::Node(node) => nodes.push(node),
                    Action::Nothing => {}
                    Action::End => return Ok((nodes, Ending::End)),
                    Action::Else => return Ok((nodes, Ending::Else)),
                },
            }
        }
    }

    fn action(&mut self) -> Result<Action> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.error("template is nested too deeply"));
        }
        self.spaces();
        let word = match self.peek() {
            Some(Token::Identifier(word)) => word.clone(),
            _ => String::new(),
        };
        let at = self.position();
        let action = match word.as_str() {
            "if" => Action::Node(Node::If(self.branch("if")?)),
            "with" => Action::Node(Node::With(self.branch("with")?)),
            "range" => Action::Node(Node::Range(self.branch("range")?)),
            "end" => {
                self.take();
                self.close("end")?;
                Action::End
            }
            "else" => {
                self.take();
                // `else if` stays for the branch to read.
                self.spaces();
                if matches!(self.peek(), Some(Token::Identifier(word)) if word == "if" || word == "with")
                {
                    Action::Else
                } else {
                    self.close("else")?;
                    Action::Else
                }
            }
            "define" => {
                self.take();
                self.definition("define clause")?;
                Action::Nothing
            }
            "block" => {
                self.take();
                let (name, pipeline) = self.definition("block clause")?;
                Action::Node(Node::Template(Call { at, name, pipeline }))
            }
            "template" => {
                self.take();
                Action::Node(Node::Template(self.template(at)?))
            }
            "break" | "continue" => {
                self.take();
                self.close(&word)?;
                if self.loops == 0 {
                    return Err(self.error(&format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                Action::Node(if word == "break" {
                    Node::Break
                } else {
                    Node::Continue
                })
            }
            _ => Action::Node(Node::Action(self.pipeline("command", Stop::Close)?)),
        };
        self.depth -= 1;
        Ok(action)
    }

    fn branch(&mut self, word: &str) -> Result<Branch> {
        self.take();
        let scope = self.variables.len();
        let pipeline = self.pipeline(word, Stop::Close)?;
        let is_loop = word == "range";
        self.loops += usize::from(is_loop);
        let (list, end) = self.list()?;
        self.loops -= usize::from(is_loop);
        let otherwise = match end {
            Ending::End => None,
            Ending::Input => return Err(self.error("unexpected EOF")),
            Ending::Else => Some(self.otherwise(word)?),
        };
        self.variables.truncate(scope);
        Ok(Branch {
            pipeline,
            list,
            otherwise,
        })
    }

    /// The list after `else`, or the branch of `else if`.
    fn otherwise(&mut self, word: &str) -> Result<Vec<Node>> {
        if let Some(Token::Identifier(next)) = self.peek()
            && next == word
            && word != "range"
            && self.in_action()
        {
            let branch = self.branch(word)?;
            return Ok(vec![match word {
                "if" => Node::If(branch),
                _ => Node::With(branch),
            }]);
        }
        let (list, end) = self.list()?;
        match end {
            Ending::End => Ok(list),
            Ending::Input => Err(self.error("unexpected EOF")),
            Ending::Else => Err(self.error("expected end; found {{else}}")),
        }
    }

    /// Whether the next token is inside an action: `else if` left it open.
    fn in_action(&self) -> bool {
        self.tokens[..self.next]
            .iter()
            .rev()
            .find(|token| matches!(token.token, Token::Open | Token::Close))
            .is_some_and(|token| token.token == Token::Open)
    }

    /// `"name" [pipeline]}} … {{end}}`.
    fn definition(&mut self, context: &str) -> Result<(String, Option<Pipeline>)> {
        self.spaces();
        let name = match self.take().map(|token| token.token) {
            Some(Token::Quoted(name, _)) => name,
            other => return Err(self.unexpected(other.as_ref(), context)),
        };
        self.spaces();
        let pipeline = if matches!(self.peek(), Some(Token::Close)) {
            self.take();
            None
        } else {
            Some(self.pipeline(context, Stop::Close)?)
        };
        let outer = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let loops = std::mem::take(&mut self.loops);
        let (list, end) = self.list()?;
        self.variables = outer;
        self.loops = loops;
        if end != Ending::End {
            return Err(self.error(&format!("unexpected EOF in {context}")));
        }
        self.defined.insert(name.clone(), list);
        Ok((name, pipeline))
    }

    fn template(&mut self, at: Position) -> Result<Call> {
        self.spaces();
        let name = match self.take().map(|token| token.token) {
            Some(Token::Quoted(name, _)) => name,
            other => return Err(self.unexpected(other.as_ref(), "template clause")),
        };
        self.spaces();
        let pipeline = if matches!(self.peek(), Some(Token::Close)) {
            self.take();
            None
        } else {
            Some(self.pipeline("template clause", Stop::Close)?)
        };
        Ok(Call { at, name, pipeline })
    }

    fn pipeline(&mut self, context: &str, stop: Stop) -> Result<Pipeline> {
        self.spaces();
        let (variables, assign) = self.declared(context)?;
        let mut commands = Vec::new();
        loop {
            let (command, end) = self.command(context, &stop)?;
            let Some(command) = command else {
                let text = match commands.is_empty() {
                    true => format!("missing value for {context}"),
                    false => "missing value for command".into(),
                };
                return Err(self.error(&text));
            };
            if !commands.is_empty()
                && let OperandKind::Constant(_, text) = &command.args[0].kind
            {
                return Err(self.error(&format!(
                    "non executable command in pipeline stage {}: {text}",
                    commands.len() + 1
                )));
            }
            commands.push(command);
            if end {
                return Ok(Pipeline {
                    variables,
                    assign,
                    commands,
                });
            }
        }
    }

    /// `$x :=`, `$x =` or `$k, $v :=` before a pipeline.
    fn declared(&mut self, context: &str) -> Result<(Vec<String>, bool)> {
        let start = self.next;
        let mut names = Vec::new();
        loop {
            self.spaces();
            let Some(Token::Variable(name)) = self.peek().cloned() else {
                break;
            };
            self.take();
            names.push(name);
            self.spaces();
            match self.peek() {
                Some(Token::Comma) if context == "range" && names.len() < 2 => {
                    self.take();
                }
                Some(Token::Declare) => {
                    self.take();
                    self.variables.extend(names.iter().cloned());
                    return Ok((names, false));
                }
                Some(Token::Assign) => {
                    self.take();
                    for name in &names {
                        self.known(name)?;
                    }
                    return Ok((names, true));
                }
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    /// One command, and whether it was the last.
    fn command(&mut self, context: &str, stop: &Stop) -> Result<(Option<Command>, bool)> {
        let mut args = Vec::new();
        loop {
            self.spaces();
            let end = match (self.peek(), stop) {
                (Some(Token::Close), Stop::Close) | (Some(Token::RightParen), Stop::Paren) => {
                    Some(true)
                }
                (Some(Token::Pipe), _) => Some(false),
                (None, _) => return Err(self.error("unclosed action")),
                _ => None,
            };
            if let Some(end) = end {
                self.take();
                let command = (!args.is_empty()).then_some(Command { args });
                return Ok((command, end));
            }
            let operand = self.operand(context)?;
            args.push(operand);
            match self.peek() {
                Some(Token::Space | Token::Pipe | Token::Close | Token::RightParen) | None => {}
                Some(_) => {
                    let token = self.peek().cloned();
                    return Err(self.unexpected(token.as_ref(), "operand"));
                }
            }
        }
    }

    fn operand(&mut self, context: &str) -> Result<Operand> {
        let Some(Spanned { token, at }) = self.take() else {
            return Err(self.error("unclosed action"));
        };
        let constant = |value: Value, text: String| OperandKind::Constant(value, text);
        let mut kind = match token {
            Token::Identifier(word) => match word.as_str() {
                "true" => constant(true.into(), word),
                "false" => constant(false.into(), word),
                "nil" => OperandKind::Nil,
                _ if functions::exists(&word) => OperandKind::Function(word),
                _ => return Err(self.error(&format!("function {word:?} not defined"))),
            },
            Token::Dot => OperandKind::Dot,
            Token::Field(name) => OperandKind::Field(vec![name]),
            Token::Variable(name) => {
                self.known(&name)?;
                OperandKind::Variable(name, Vec::new())
            }
            Token::Quoted(text, source) => constant(text.into(), source),
            Token::Char(value, source) => constant(value.into(), source),
            Token::Number(text) => match number(&text) {
                Some(value) => constant(value, text),
                None => return Err(self.error(&format!("bad number syntax: {text:?}"))),
            },
            Token::LeftParen => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err(self.error("template is nested too deeply"));
                }
                let pipeline = self.pipeline("parenthesized pipeline", Stop::Paren)?;
                self.depth -= 1;
                OperandKind::Pipeline(Box::new(pipeline), Vec::new())
            }
            other => return Err(self.unexpected(Some(&other), context)),
        };
        let at = self.fields(&mut kind, at)?;
        Ok(Operand { at, kind })
    }

    /// `.b.c` right behind an operand. Go reports such chains at their second part.
    fn fields(&mut self, kind: &mut OperandKind, mut at: Position) -> Result<Position> {
        let mut first = true;
        while let Some(Token::Field(name)) = self.peek().cloned() {
            if first {
                at = self.position();
                first = false;
            }
            self.take();
            match kind {
                OperandKind::Field(names)
                | OperandKind::Variable(_, names)
                | OperandKind::Pipeline(_, names) => names.push(name),
                OperandKind::Dot => *kind = OperandKind::Field(vec![name]),
                other => {
                    let text = Operand {
                        at,
                        kind: other.clone(),
                    };
                    return Err(self.error(&format!("unexpected . after term {:?}", text.text())));
                }
            }
        }
        Ok(at)
    }

    fn known(&self, name: &str) -> Result<()> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(self.error(&format!("undefined variable {name:?}")))
    }

    fn close(&mut self, context: &str) -> Result<()> {
        self.spaces();
        match self.take().map(|token| token.token) {
            Some(Token::Close) => Ok(()),
            other => Err(self.unexpected(other.as_ref(), context)),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|token| &token.token)
    }

    fn position(&self) -> Position {
        self.tokens
            .get(self.next)
            .map(|token| token.at)
            .unwrap_or_default()
    }

    fn take(&mut self) -> Option<Spanned> {
        let token = self.tokens.get(self.next).cloned();
        self.next += usize::from(token.is_some());
        token
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(Token::Space)) {
            self.next += 1;
        }
    }

    fn unexpected(&self, token: Option<&Token>, context: &str) -> ParseError {
        let Some(token) = token else {
            return self.error("unclosed action");
        };
        self.error(&format!("unexpected {} in {context}", shown(token)))
    }

    fn error(&self, text: &str) -> ParseError {
        let line = match self.next {
            0 => 1,
            next => self
                .tokens
                .get(next - 1)
                .map_or(self.lines, |token| token.at.line),
        };
        ParseError {
            name: self.name.to_owned(),
            line,
            text: text.to_owned(),
        }
    }
}

enum Action {
    Node(Node),
    Nothing,
    End,
    Else,
}

enum Stop {
    Close,
    Paren,
}

/// A token as Go's errors show it.
fn shown(token: &Token) -> String {
    let keyword = |word: &str| matches!(word, "if" | "else" | "end" | "range" | "with" | "define");
    match token {
        Token::Close => "\"}}\"".into(),
        Token::Open => "\"{{\"".into(),
        Token::Space => "space".into(),
        Token::Pipe => "\"|\"".into(),
        Token::LeftParen => "\"(\"".into(),
        Token::RightParen => "\")\"".into(),
        Token::Comma => "\",\"".into(),
        Token::Assign => "\"=\"".into(),
        Token::Declare => "\":=\"".into(),
        Token::Dot => "<.>".into(),
        Token::Field(name) => format!("<.{name}>"),
        Token::Variable(name) => format!("{name:?}"),
        Token::Identifier(word) if keyword(word) => format!("<{word}>"),
        Token::Identifier(word) => format!("{word:?}"),
        Token::Quoted(_, source) | Token::Char(_, source) => format!("{source:?}"),
        Token::Number(text) | Token::Text(text) => format!("{text:?}"),
    }
}

fn number(text: &str) -> Option<Value> {
    let clean = text.replace('_', "");
    let (negative, digits) = match clean.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, clean.strip_prefix('+').unwrap_or(&clean)),
    };
    let lower = digits.to_ascii_lowercase();
    let integer = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = lower.strip_prefix("0b") {
        i64::from_str_radix(binary, 2).ok()
    } else if let Some(octal) = lower.strip_prefix("0o") {
        i64::from_str_radix(octal, 8).ok()
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit())
    {
        i64::from_str_radix(&lower, 8).ok()
    } else {
        lower.parse().ok()
    };
    if let Some(value) = integer {
        return Some(Value::Int(if negative { -value } else { value }));
    }
    clean.parse().ok().map(Value::Float)
}
