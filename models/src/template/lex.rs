//! Template text to tokens, with Jinja's white space control as chat templates rely on it:
//! `trim_blocks` and `lstrip_blocks` on, one line break at the very end dropped.

use super::TemplateError;

/// One token; text inside is borrowed from the template but for unescaped strings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Text outside of tags.
    Raw(String),
    /// `{{`
    OpenExpr,
    /// `}}`
    CloseExpr,
    /// `{%`
    OpenTag,
    /// `%}`
    CloseTag,
    Name(String),
    Str(String),
    Int(i64),
    /// An operator or bracket.
    Op(&'static str),
    End,
}

/// Longest first.
const OPERATORS: [&str; 27] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[",
    "]", "{", "}", ",", ":", ".", "|", ";", "!",
];

/// The tokens of `source`, each with its line.
pub(super) fn lex(source: &str) -> Result<Vec<(Token, u32)>, TemplateError> {
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut lexer = Lexer { rest: source, line: 1, tokens: Vec::new() };
    // Whether the tag before asked for the white space after it to go.
    let mut trim = Trim::None;
    while !lexer.rest.is_empty() {
        let at = find_tag(lexer.rest).unwrap_or(lexer.rest.len());
        let (raw, tag) = lexer.rest.split_at(at);
        let starts_line = lexer.tokens.is_empty() || trim == Trim::Line;
        lexer.raw(raw, trim, tag, starts_line);
        if tag.is_empty() {
            break;
        }
        trim = match &tag[..2] {
            "{#" => lexer.comment(tag)?,
            "{{" => lexer.tag(tag, "}}", Token::OpenExpr, Token::CloseExpr)?,
            _ => lexer.tag(tag, "%}", Token::OpenTag, Token::CloseTag)?,
        };
    }
    lexer.push(Token::End);
    Ok(lexer.tokens)
}

#[derive(Clone, Copy, PartialEq)]
enum Trim {
    None,
    /// One line break.
    Line,
    /// All white space.
    All,
}

fn find_tag(text: &str) -> Option<usize> {
    let tags = text.match_indices('{');
    tags.map(|(at, _)| at)
        .find(|&at| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')))
}

struct Lexer<'s> {
    rest: &'s str,
    line: u32,
    tokens: Vec<(Token, u32)>,
}

impl<'s> Lexer<'s> {
    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    fn skip(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line += passed.bytes().filter(|&byte| byte == b'\n').count() as u32;
        self.rest = rest;
    }

    /// The text before `tag`, less what the tags on both sides take away.
    fn raw(&mut self, raw: &str, trim: Trim, tag: &str, mut starts_line: bool) {
        let mut text = match trim {
            Trim::None => raw,
            Trim::Line => match raw.strip_prefix('\n').or_else(|| raw.strip_prefix("\r\n")) {
                Some(text) => text,
                None => {
                    starts_line = false;
                    raw
                }
            },
            Trim::All => raw.trim_start(),
        };
        if tag.get(2..).is_some_and(|inside| inside.starts_with('-')) {
            text = text.trim_end();
        } else if tag.len() >= 2 && &tag[..2] != "{{" && !tag[2..].starts_with('+') {
            let line = text.rfind('\n').map(|at| at + 1);
            let start = line.or(starts_line.then_some(0));
            if let Some(start) = start.filter(|&start| text[start..].trim().is_empty()) {
                text = &text[..start];
            }
        }
        if !text.is_empty() {
            self.push(Token::Raw(text.to_owned()));
        }
        self.skip(raw.len());
    }

    fn comment(&mut self, tag: &str) -> Result<Trim, TemplateError> {
        let end = tag.find("#}").ok_or(self.expected("#}"))?;
        let trim = if tag[..end].ends_with('-') { Trim::All } else { Trim::Line };
        self.skip(end + 2);
        Ok(trim)
    }

    fn tag(
        &mut self,
        tag: &str,
        close: &'static str,
        open_token: Token,
        close_token: Token,
    ) -> Result<Trim, TemplateError> {
        self.push(open_token);
        self.skip(if matches!(tag.as_bytes().get(2), Some(b'-' | b'+')) { 3 } else { 2 });
        let mut depth = 0usize;
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.skip(blank);
            let rest = self.rest;
            // Inside brackets `}}` closes two dictionaries.
            if depth == 0 {
                for (prefix, trim) in [("-", Trim::All), ("+", Trim::None), ("", Trim::Line)] {
                    if rest.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(close)) {
                        self.skip(prefix.len() + 2);
                        self.push(close_token);
                        let expression = close == "}}" && trim == Trim::Line;
                        return Ok(if expression { Trim::None } else { trim });
                    }
                }
            }
            match rest.bytes().next() {
                None => return Err(self.expected(close)),
                Some(b'\'' | b'"') => self.string()?,
                Some(b'0'..=b'9') => self.number()?,
                Some(byte) if byte == b'_' || byte.is_ascii_alphabetic() => {
                    let name = |c: char| c == '_' || c.is_ascii_alphanumeric();
                    let end = rest.find(|c| !name(c)).unwrap_or(rest.len());
                    self.push(Token::Name(rest[..end].to_owned()));
                    self.skip(end);
                }
                Some(_) => {
                    let op = OPERATORS.iter().find(|op| rest.starts_with(**op));
                    let op = *op.ok_or(self.expected("operator"))?;
                    match op {
                        "(" | "[" | "{" => depth += 1,
                        ")" | "]" | "}" => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    self.push(Token::Op(op));
                    self.skip(op.len());
                }
            }
        }
    }

    fn string(&mut self) -> Result<(), TemplateError> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if Some(c) == quote {
                self.push(Token::Str(text));
                self.skip(at + 1);
                return Ok(());
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next().map(|(_, c)| c) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('u') => {
                    let code: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                    text.push(code.ok_or(self.expected("four hexadecimal digits"))?);
                }
                Some(c @ ('\\' | '\'' | '"' | '/')) => text.push(c),
                Some(c) => text.extend(['\\', c]),
                None => break,
            }
        }
        Err(self.expected("closing quote"))
    }

    fn number(&mut self) -> Result<(), TemplateError> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let number = self.rest[..end].parse().map_err(|_| self.expected("integer"))?;
        self.push(Token::Int(number));
        self.skip(end);
        Ok(())
    }

    fn expected(&self, expected: &'static str) -> TemplateError {
        TemplateError::Syntax { line: self.line, expected }
    }
}
