//! Tokens to a syntax tree. Depth is bounded while it is built, so that walking it, rendering it
//! and dropping it need a bounded stack.

use super::TemplateError;
use super::lex::{Token, lex};

/// How deep expressions and blocks may nest.
const MAX_DEPTH: usize = 40;

pub(super) type Block = Vec<(Node, u32)>;

/// A statement, with its line beside it in its [`Block`].
#[derive(Debug)]
pub(super) enum Node {
    Raw(String),
    Emit(Expr),
    /// Conditions and what follows each; a last one without condition for `else`.
    If(Vec<(Option<Expr>, Block)>),
    For {
        names: Vec<String>,
        items: Expr,
        filter: Option<Expr>,
        body: Block,
        otherwise: Block,
    },
    Set {
        name: String,
        /// The attribute of a namespace.
        attribute: Option<String>,
        value: Expr,
    },
    Capture {
        name: String,
        body: Block,
    },
    Macro {
        name: String,
        index: usize,
    },
    Break,
    Continue,
}

/// A macro's parameters and body.
#[derive(Debug)]
pub(super) struct MacroBody {
    pub(super) parameters: Vec<(String, Option<Expr>)>,
    pub(super) body: Block,
}

#[derive(Debug)]
pub(super) enum Expr {
    Name(String),
    Str(String),
    Int(i64),
    Bool(bool),
    None,
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// A value and what is done to it, one after another.
    Postfix(Box<Expr>, Vec<Step>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    /// Operators of one level: flat, so that a long chain is not a deep tree.
    Chain(Box<Expr>, Vec<(&'static str, Expr)>),
    /// Condition, value, other value.
    Ternary(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

/// One thing done to a value.
#[derive(Debug)]
pub(super) enum Step {
    Attribute(String),
    Index(Expr),
    Slice([Option<Expr>; 3]),
    Call(Arguments),
    Filter(String, Arguments),
    Test { name: String, arguments: Vec<Expr>, negated: bool },
}

/// Arguments of a call: (name, value).
pub(super) type Arguments = Vec<(Option<String>, Expr)>;

/// A parsed template.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) body: Block,
    pub(super) macros: Vec<MacroBody>,
}

/// Parses a template.
pub(super) fn parse(source: &str) -> Result<Parsed, TemplateError> {
    let mut parser = Parser { tokens: lex(source)?, at: 0, depth: 0, macros: Vec::new() };
    let (body, _) = parser.block(&[])?;
    Ok(Parsed { body, macros: parser.macros })
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    depth: usize,
    macros: Vec<MacroBody>,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn line(&self) -> u32 {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = std::mem::replace(&mut self.tokens[self.at].0, Token::End);
        // The last token is the end and stays.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, TemplateError> {
        Err(TemplateError::Syntax { line: self.line(), expected })
    }

    fn unsupported<T>(&self, what: &str) -> Result<T, TemplateError> {
        Err(TemplateError::Unsupported { line: self.line(), what: what.to_owned() })
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(found) if *found == op)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if found == name)
    }

    fn take_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.next();
        }
        found
    }

    fn take_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.next();
        }
        found
    }

    fn need_op(&mut self, op: &'static str) -> Result<(), TemplateError> {
        if self.take_op(op) { Ok(()) } else { self.expected(op) }
    }

    fn name(&mut self) -> Result<String, TemplateError> {
        match self.peek() {
            Token::Name(_) => match self.next() {
                Token::Name(name) => Ok(name),
                _ => self.expected("name"),
            },
            _ => self.expected("name"),
        }
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        if self.depth >= MAX_DEPTH {
            return self.too_deep();
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn too_deep<T>(&self) -> Result<T, TemplateError> {
        Err(TemplateError::TooDeep { line: self.line(), max: MAX_DEPTH })
    }

    /// Statements up to a tag named in `ends`, which is taken and returned (without its `%}`).
    fn block(&mut self, ends: &[&'static str]) -> Result<(Block, &'static str), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            let line = self.line();
            match self.next() {
                Token::Raw(text) => nodes.push((Node::Raw(text), line)),
                Token::OpenExpr => {
                    let value = self.expression()?;
                    if !matches!(self.next(), Token::CloseExpr) {
                        return self.expected("}}");
                    }
                    nodes.push((Node::Emit(value), line));
                }
                Token::OpenTag => {
                    let tag = self.name()?;
                    if let Some(end) = ends.iter().find(|end| **end == tag) {
                        return Ok((nodes, end));
                    }
                    if let Some(node) = self.deeper(|p| p.statement(&tag))? {
                        nodes.push((node, line));
                    }
                }
                Token::End if ends.is_empty() => return Ok((nodes, "")),
                _ => return self.expected("end of the block"),
            }
        }
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        match self.next() {
            Token::CloseTag => Ok(()),
            _ => self.expected("%}"),
        }
    }

    /// What follows `{% tag`, to the end of the whole statement.
    fn statement(&mut self, tag: &str) -> Result<Option<Node>, TemplateError> {
        match tag {
            "if" => self.if_statement().map(Some),
            "for" => self.for_statement().map(Some),
            "set" => self.set_statement().map(Some),
            "macro" => self.macro_statement().map(Some),
            "break" | "continue" => {
                self.close()?;
                Ok(Some(if tag == "break" { Node::Break } else { Node::Continue }))
            }
            // Marks what an assistant wrote, for training; renders as it is.
            "generation" | "endgeneration" => self.close().map(|()| None),
            "else" | "elif" => self.expected("statement"),
            other if other.starts_with("end") => self.expected("statement"),
            other => self.unsupported(&format!("{{% {other} %}}")),
        }
    }

    fn if_statement(&mut self) -> Result<Node, TemplateError> {
        let mut branches = Vec::new();
        let mut condition = Some(self.expression()?);
        loop {
            self.close()?;
            let ends: &[&str] =
                if condition.is_some() { &["elif", "else", "endif"] } else { &["endif"] };
            let (body, end) = self.block(ends)?;
            branches.push((condition.take(), body));
            match end {
                "elif" => condition = Some(self.expression()?),
                "else" => {}
                _ => break,
            }
        }
        self.close()?;
        Ok(Node::If(branches))
    }

    fn for_statement(&mut self) -> Result<Node, TemplateError> {
        let mut names = vec![self.name()?];
        while self.take_op(",") {
            names.push(self.name()?);
        }
        if !self.take_name("in") {
            return self.expected("in");
        }
        let items = self.binary(0)?;
        let filter = if self.take_name("if") { Some(self.expression()?) } else { None };
        if self.is_name("recursive") {
            return self.unsupported("for … recursive");
        }
        self.close()?;
        let (body, end) = self.block(&["else", "endfor"])?;
        let mut otherwise = Vec::new();
        if end == "else" {
            self.close()?;
            otherwise = self.block(&["endfor"])?.0;
        }
        self.close()?;
        Ok(Node::For { names, items, filter, body, otherwise })
    }

    fn set_statement(&mut self) -> Result<Node, TemplateError> {
        let name = self.name()?;
        let attribute = if self.take_op(".") { Some(self.name()?) } else { None };
        if self.take_op("=") {
            let value = self.expression()?;
            self.close()?;
            return Ok(Node::Set { name, attribute, value });
        }
        if attribute.is_some() || !matches!(self.peek(), Token::CloseTag) {
            return self.expected("=");
        }
        self.close()?;
        let (body, _) = self.block(&["endset"])?;
        self.close()?;
        Ok(Node::Capture { name, body })
    }

    fn macro_statement(&mut self) -> Result<Node, TemplateError> {
        let name = self.name()?;
        self.need_op("(")?;
        let mut parameters = Vec::new();
        while !self.take_op(")") {
            let parameter = self.name()?;
            let default = if self.take_op("=") { Some(self.expression()?) } else { None };
            parameters.push((parameter, default));
            if !self.take_op(",") && !self.is_op(")") {
                return self.expected(")");
            }
        }
        self.close()?;
        let (body, _) = self.block(&["endmacro"])?;
        if matches!(self.peek(), Token::Name(_)) {
            self.next();
        }
        self.close()?;
        self.macros.push(MacroBody { parameters, body });
        Ok(Node::Macro { name, index: self.macros.len() - 1 })
    }

    fn expression(&mut self) -> Result<Expr, TemplateError> {
        self.deeper(|p| {
            let value = p.binary(0)?;
            if !p.take_name("if") {
                return Ok(value);
            }
            let condition = p.binary(0)?;
            let otherwise = match p.take_name("else") {
                true => Some(Box::new(p.expression()?)),
                false => None,
            };
            Ok(Expr::Ternary(Box::new(condition), Box::new(value), otherwise))
        })
    }

    /// The operator here, if it binds at `level`.
    fn operator(&mut self, level: usize) -> Option<&'static str> {
        let operators: &[&'static str] = match level {
            0 => &["or"],
            1 => &["and"],
            3 => &["==", "!=", "<=", ">=", "<", ">", "in", "not"],
            4 => &["+", "-"],
            5 => &["~"],
            6 => &["*", "//", "/", "%"],
            _ => &[],
        };
        let found = operators.iter().find(|op| match self.peek() {
            Token::Op(found) => found == *op,
            Token::Name(found) => found == *op,
            _ => false,
        });
        let found = *found?;
        if found == "not" {
            let after = self.tokens.get(self.at + 1);
            if !matches!(after, Some((Token::Name(name), _)) if name == "in") {
                return None;
            }
            self.next();
        }
        self.next();
        Some(if found == "not" { "not in" } else { found })
    }

    /// Binary operators by level: or, and, not, comparison, sum, concatenation, product.
    fn binary(&mut self, level: usize) -> Result<Expr, TemplateError> {
        if level == 2 {
            if self.take_name("not") {
                let value = self.deeper(|p| p.binary(2))?;
                return Ok(Expr::Not(Box::new(value)));
            }
            return self.binary(3);
        }
        if level == 7 {
            return self.unary(true);
        }
        let first = self.binary(level + 1)?;
        let mut rest = Vec::new();
        while let Some(op) = self.operator(level) {
            rest.push((op, self.binary(level + 1)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Chain(Box::new(first), rest) })
    }

    fn unary(&mut self, filters: bool) -> Result<Expr, TemplateError> {
        let value = if self.take_op("-") {
            Expr::Negate(Box::new(self.deeper(|p| p.unary(false))?))
        } else {
            self.primary()?
        };
        let mut steps = Vec::new();
        loop {
            steps.push(if self.take_op(".") {
                match self.next() {
                    Token::Name(name) => Step::Attribute(name),
                    Token::Int(index) => Step::Index(Expr::Int(index)),
                    _ => return self.expected("name"),
                }
            } else if self.take_op("[") {
                self.subscript()?
            } else if self.take_op("(") {
                Step::Call(self.arguments()?)
            } else if filters && self.take_op("|") {
                let name = self.name()?;
                let arguments = if self.take_op("(") { self.arguments()? } else { Vec::new() };
                Step::Filter(name, arguments)
            } else if filters && self.take_name("is") {
                self.test()?
            } else {
                break;
            });
        }
        Ok(if steps.is_empty() { value } else { Expr::Postfix(Box::new(value), steps) })
    }

    fn test(&mut self) -> Result<Step, TemplateError> {
        let negated = self.take_name("not");
        let name = self.name()?;
        let starts_argument = match self.peek() {
            Token::Str(_) | Token::Int(_) => true,
            Token::Op(op) => matches!(*op, "(" | "[" | "{"),
            Token::Name(name) => {
                !matches!(name.as_str(), "and" | "or" | "not" | "is" | "in" | "if" | "else")
            }
            _ => false,
        };
        let arguments = match starts_argument {
            true if self.take_op("(") => {
                self.arguments()?.into_iter().map(|(_, value)| value).collect()
            }
            true => vec![self.deeper(Self::primary)?],
            false => Vec::new(),
        };
        Ok(Step::Test { name, arguments, negated })
    }

    fn arguments(&mut self) -> Result<Arguments, TemplateError> {
        let mut arguments = Vec::new();
        while !self.take_op(")") {
            let named = matches!(self.peek(), Token::Name(_))
                && matches!(self.tokens.get(self.at + 1), Some((Token::Op("="), _)));
            let mut name = None;
            if named {
                name = Some(self.name()?);
                self.next();
            }
            arguments.push((name, self.expression()?));
            if !self.take_op(",") && !self.is_op(")") {
                return self.expected(")");
            }
        }
        Ok(arguments)
    }

    fn subscript(&mut self) -> Result<Step, TemplateError> {
        let mut parts = [None, None, None];
        let mut part = 0;
        loop {
            if self.take_op("]") {
                break;
            } else if self.take_op(":") {
                part += 1;
                if part > 2 {
                    return self.expected("]");
                }
            } else if parts[part].is_none() {
                parts[part] = Some(self.expression()?);
            } else {
                return self.expected("]");
            }
        }
        match (part, parts) {
            (0, [Some(index), _, _]) => Ok(Step::Index(index)),
            (0, _) => self.expected("index"),
            (_, parts) => Ok(Step::Slice(parts)),
        }
    }

    fn primary(&mut self) -> Result<Expr, TemplateError> {
        match self.next() {
            Token::Str(mut text) => {
                while let Token::Str(more) = self.peek() {
                    text.push_str(more);
                    self.next();
                }
                Ok(Expr::Str(text))
            }
            Token::Int(number) => Ok(Expr::Int(number)),
            Token::Name(name) => Ok(match name.as_str() {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                _ => Expr::Name(name),
            }),
            Token::Op("(") => {
                let mut items = vec![self.expression()?];
                let tuple = self.is_op(",");
                while self.take_op(",") {
                    if self.is_op(")") {
                        break;
                    }
                    items.push(self.expression()?);
                }
                self.need_op(")")?;
                match (tuple, items.pop()) {
                    (false, Some(only)) => Ok(only),
                    (_, last) => {
                        items.extend(last);
                        Ok(Expr::List(items))
                    }
                }
            }
            Token::Op("[") => {
                let mut items = Vec::new();
                while !self.take_op("]") {
                    items.push(self.expression()?);
                    if !self.take_op(",") && !self.is_op("]") {
                        return self.expected("]");
                    }
                }
                Ok(Expr::List(items))
            }
            Token::Op("{") => {
                let mut entries = Vec::new();
                while !self.take_op("}") {
                    let key = self.expression()?;
                    self.need_op(":")?;
                    entries.push((key, self.expression()?));
                    if !self.take_op(",") && !self.is_op("}") {
                        return self.expected("}");
                    }
                }
                Ok(Expr::Dict(entries))
            }
            _ => self.expected("expression"),
        }
    }
}
