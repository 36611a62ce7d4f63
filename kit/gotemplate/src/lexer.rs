//! Text and actions, and the words inside actions.

use crate::error::ParseError;
use crate::tree::Position;

/// A word of an action, or the text between actions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Text(String),
    Open,
    Close,
    Space,
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    Assign,
    Declare,
    Dot,
    /// `.name`.
    Field(String),
    /// `$name`.
    Variable(String),
    Identifier(String),
    /// Unquoted text and how it was written.
    Quoted(String, String),
    Char(i64, String),
    Number(String),
}

/// A token and where it begins.
#[derive(Debug, Clone)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) at: Position,
}

/// Cuts a template into tokens.
pub(crate) fn lex(name: &str, input: &str) -> Result<Vec<Spanned>, ParseError> {
    let mut lexer = Lexer {
        name,
        input,
        at: 0,
        tokens: Vec::new(),
    };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    name: &'a str,
    input: &'a str,
    at: usize,
    tokens: Vec<Spanned>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), ParseError> {
        let mut trim_next = false;
        loop {
            let rest = &self.input[self.at..];
            let open = rest.find("{{");
            let mut text = &rest[..open.unwrap_or(rest.len())];
            if trim_next {
                let kept = text.trim_start_matches(SPACE);
                self.at += text.len() - kept.len();
                text = kept;
            }
            let start = self.at;
            let end = start + text.len();
            let trims = open.is_some() && is_left_trim(&self.input[end + 2..]);
            if trims {
                text = text.trim_end_matches(SPACE);
            }
            if !text.is_empty() {
                self.push(Token::Text(text.to_owned()), start);
            }
            if open.is_none() {
                return Ok(());
            }
            self.at = end + 2;
            if trims {
                self.at += 2;
            }
            let inside = &self.input[self.at..];
            if inside.starts_with("/*") {
                trim_next = self.comment()?;
                continue;
            }
            self.push(Token::Open, end);
            trim_next = self.action()?;
        }
    }

    /// `{{/* … */}}`; tells whether the text after it is trimmed.
    fn comment(&mut self) -> Result<bool, ParseError> {
        let Some(end) = self.input[self.at..].find("*/") else {
            return Err(self.error("unclosed comment"));
        };
        self.at += end + 2;
        let rest = &self.input[self.at..];
        if let Some(tail) = rest.strip_prefix(SPACE)
            && tail.starts_with("-}}")
        {
            self.at += 4;
            return Ok(true);
        }
        if rest.starts_with("}}") {
            self.at += 2;
            return Ok(false);
        }
        Err(self.error("comment ends before closing delimiter"))
    }

    /// One action up to its `}}`; tells whether the text after it is trimmed.
    fn action(&mut self) -> Result<bool, ParseError> {
        let mut depth = 0usize;
        loop {
            let rest = &self.input[self.at..];
            let start = self.at;
            if rest.starts_with(SPACE) && rest[1..].starts_with("-}}") {
                self.closing(depth, start)?;
                self.at += 4;
                return Ok(true);
            }
            if rest.starts_with("}}") {
                self.closing(depth, start)?;
                self.at += 2;
                return Ok(false);
            }
            let Some(c) = rest.chars().next() else {
                return Err(self.error("unclosed action"));
            };
            match c {
                ' ' | '\t' | '\r' | '\n' => {
                    let kept = rest.trim_start_matches(SPACE);
                    let mut width = rest.len() - kept.len();
                    // The space before a trim marker belongs to the marker.
                    if kept.starts_with("-}}") && width > 1 {
                        width -= 1;
                    }
                    self.at += width;
                    self.push(Token::Space, start);
                }
                '|' => self.single(Token::Pipe),
                ',' => self.single(Token::Comma),
                '(' => {
                    depth += 1;
                    self.single(Token::LeftParen);
                }
                ')' => {
                    if depth == 0 {
                        return Err(self.error("unexpected right paren"));
                    }
                    depth -= 1;
                    self.single(Token::RightParen);
                }
                '=' => self.single(Token::Assign),
                ':' => {
                    if !rest.starts_with(":=") {
                        return Err(self.error("expected :="));
                    }
                    self.at += 2;
                    self.push(Token::Declare, start);
                }
                '"' => self.quoted()?,
                '`' => self.raw()?,
                '\'' => self.character()?,
                '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number()?,
                '.' => {
                    self.at += 1;
                    let word = self.word();
                    let token = if word.is_empty() {
                        Token::Dot
                    } else {
                        Token::Field(word)
                    };
                    self.push(token, start);
                    self.terminator()?;
                }
                '$' => {
                    self.at += 1;
                    let word = self.word();
                    self.push(Token::Variable(format!("${word}")), start);
                    self.terminator()?;
                }
                '+' | '-' | '0'..='9' => self.number()?,
                c if c.is_alphanumeric() || c == '_' => {
                    let word = self.word();
                    self.push(Token::Identifier(word), start);
                    self.terminator()?;
                }
                c => {
                    return Err(self.error(&format!(
                        "unrecognized character in action: {}",
                        code_point(c)
                    )));
                }
            }
        }
    }

    fn closing(&mut self, depth: usize, start: usize) -> Result<(), ParseError> {
        if depth > 0 {
            return Err(self.error("unclosed left paren"));
        }
        self.push(Token::Close, start);
        Ok(())
    }

    fn single(&mut self, token: Token) {
        let start = self.at;
        self.at += 1;
        self.push(token, start);
    }

    fn word(&mut self) -> String {
        let rest = &self.input[self.at..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_owned()
    }

    /// What may follow a name.
    fn terminator(&self) -> Result<(), ParseError> {
        match self.input[self.at..].chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(' | '=') => {
                Ok(())
            }
            Some('}') if self.input[self.at..].starts_with("}}") => Ok(()),
            Some(c) => Err(self.error(&format!("bad character {}", code_point(c)))),
        }
    }

    fn quoted(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let rest = &self.input[start..];
        let mut escaped = false;
        for (n, c) in rest.char_indices().skip(1) {
            if c == '\n' {
                break;
            }
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == '"' {
                let source = &rest[..=n];
                let Some(text) = unquote(&source[1..n]) else {
                    return Err(self.error("invalid syntax"));
                };
                self.at += n + 1;
                self.push(Token::Quoted(text, source.to_owned()), start);
                return Ok(());
            }
        }
        Err(self.error("unterminated quoted string"))
    }

    fn raw(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let Some(end) = self.input[start + 1..].find('`') else {
            return Err(self.error("unterminated raw quoted string"));
        };
        let source = &self.input[start..start + end + 2];
        let text = source[1..=end].replace('\r', "");
        self.at += source.len();
        self.push(Token::Quoted(text, source.to_owned()), start);
        Ok(())
    }

    fn character(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let rest = &self.input[start + 1..];
        let skip = if rest.starts_with('\\') { 2 } else { 1 };
        let end = rest
            .char_indices()
            .skip(skip)
            .find(|(_, c)| *c == '\'')
            .map(|(n, _)| n);
        let text = end.and_then(|end| unquote(&rest[..end]));
        let Some((end, text)) = end.zip(text) else {
            return Err(self.error("unterminated character constant"));
        };
        let Some(value) = text.chars().next().filter(|_| text.chars().count() == 1) else {
            return Err(self.error("malformed character constant"));
        };
        let source = format!("'{}'", &rest[..end]);
        self.at += end + 2;
        self.push(Token::Char(i64::from(u32::from(value)), source), start);
        Ok(())
    }

    fn number(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let rest = &self.input[start..];
        let mut end = 0;
        let mut previous = ' ';
        for (n, c) in rest.char_indices() {
            let sign = matches!(c, '+' | '-') && (n == 0 || matches!(previous, 'e' | 'E' | 'p'));
            if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign) {
                break;
            }
            end = n + 1;
            previous = c;
        }
        let word = &rest[..end];
        if !word.contains(|c: char| c.is_ascii_digit()) {
            return Err(self.error(&format!("bad number syntax: {word:?}")));
        }
        self.at += end;
        self.push(Token::Number(word.to_owned()), start);
        Ok(())
    }

    fn push(&mut self, token: Token, start: usize) {
        let at = self.position(start);
        self.tokens.push(Spanned { token, at });
    }

    fn position(&self, start: usize) -> Position {
        let before = &self.input[..start];
        let column = before.rfind('\n').map_or(start, |at| start - at - 1);
        Position {
            line: 1 + before.matches('\n').count(),
            column,
        }
    }

    fn error(&self, text: &str) -> ParseError {
        ParseError {
            name: self.name.to_owned(),
            line: self.position(self.at).line,
            text: text.to_owned(),
        }
    }
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

fn is_left_trim(inside: &str) -> bool {
    inside
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(SPACE))
}

/// Go's `%#U`.
fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

/// Go's escapes in quoted texts.
fn unquote(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let mut push = |c: char| out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        if c != '\\' {
            push(c);
            continue;
        }
        match rest.next()? {
            'n' => push('\n'),
            't' => push('\t'),
            'r' => push('\r'),
            'a' => push('\x07'),
            'b' => push('\x08'),
            'f' => push('\x0c'),
            'v' => push('\x0b'),
            '\\' => push('\\'),
            '"' => push('"'),
            '\'' => push('\''),
            'x' => out.push(u8::try_from(digits(&mut rest, 2, 16)?).ok()?),
            'u' => push(char::from_u32(digits(&mut rest, 4, 16)?)?),
            'U' => push(char::from_u32(digits(&mut rest, 8, 16)?)?),
            c @ '0'..='7' => {
                let high = c.to_digit(8)? * 64;
                out.push(u8::try_from(high + digits(&mut rest, 2, 8)?).ok()?);
            }
            _ => return None,
        }
    }
    String::from_utf8(out).ok()
}

fn digits(rest: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    let mut value = 0u32;
    for _ in 0..count {
        value = value.checked_mul(radix)? + rest.next()?.to_digit(radix)?;
    }
    Some(value)
}
