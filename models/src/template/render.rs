//! Walks the syntax tree of a template and writes the text.
//!
//! Everything it does is paid for from one budget: a fixed price for each node, and one unit for
//! each byte that is copied, compared or searched. Time and memory are bounded by it, whatever the
//! template does: a loop without end, a string that doubles, a macro that calls itself.

mod operators;

use std::rc::Rc;

use super::TemplateError;
use super::parse::{Arguments, Block, Expr, Node, Parsed, Step};
use super::value::{Function, List, Loop, MAX_NESTING, Map, Value};

/// Units of work for one rendering. Sanitizers make each some twenty times as dear, so fuzzing has
/// fewer.
pub(super) const BUDGET: u64 = if cfg!(fuzzing) { 1 << 22 } else { 1 << 26 };
/// What evaluating one node costs, in the same units.
const NODE: u64 = 8;
/// The longest text that is rendered.
pub(super) const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// How deep nodes may nest while rendering, macro calls included.
const MAX_DEPTH: usize = 200;

type Result<T> = std::result::Result<T, TemplateError>;

/// What a statement does to the loop around it.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One rendering.
pub(super) struct Renderer<'t> {
    parsed: &'t Parsed,
    /// Innermost last; the first holds what the host gave and what the template's top sets.
    scopes: Vec<Vec<(&'t str, Value)>>,
    /// Where the scopes of the macro that runs begin.
    base: usize,
    namespaces: Vec<Vec<(Rc<str>, Value)>>,
    out: String,
    left: u64,
    depth: usize,
    line: u32,
}

/// Evaluated arguments of a call.
pub(super) struct Given {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Rc<str>, Value)>,
}

impl Given {
    /// The argument at `index`, or called `name`.
    pub(super) fn get(&self, index: usize, name: &str) -> Option<&Value> {
        let named = || self.named.iter().find(|(known, _)| **known == *name).map(|(_, v)| v);
        self.positional.get(index).or_else(named)
    }
}

impl<'t> Renderer<'t> {
    /// Renders with these global variables.
    pub(super) fn render(parsed: &'t Parsed, globals: Vec<(&'t str, Value)>) -> Result<String> {
        let mut renderer = Self {
            parsed,
            scopes: vec![globals],
            base: 0,
            namespaces: Vec::new(),
            out: String::new(),
            left: BUDGET,
            depth: 0,
            line: 1,
        };
        renderer.block(&parsed.body)?;
        Ok(renderer.out)
    }

    /// Pays for work.
    pub(super) fn spend(&mut self, units: usize) -> Result<()> {
        match self.left.checked_sub(units as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(TemplateError::Budget { line: self.line, max: BUDGET }),
        }
    }

    pub(super) fn wrong<T>(&self, expected: &'static str) -> Result<T> {
        Err(TemplateError::Type { line: self.line, expected })
    }

    pub(super) fn unsupported<T>(&self, what: &str) -> Result<T> {
        let what = what.chars().take(64).collect();
        Err(TemplateError::Unsupported { line: self.line, what })
    }

    /// A string value, paid for.
    pub(super) fn string(&mut self, text: &str) -> Result<Value> {
        self.spend(text.len())?;
        Ok(Value::str(text))
    }

    /// A list value, paid for.
    pub(super) fn list(&mut self, items: Vec<Value>) -> Result<Value> {
        self.spend(items.len() * size_of::<Value>())?;
        let (line, max) = (self.line, MAX_NESTING as usize);
        Value::list(items).ok_or(TemplateError::TooDeep { line, max })
    }

    fn map(&mut self, entries: Vec<(Rc<str>, Value)>) -> Result<Value> {
        self.spend(entries.len() * 2 * size_of::<Value>())?;
        let (line, max) = (self.line, MAX_NESTING as usize);
        Value::map(entries).ok_or(TemplateError::TooDeep { line, max })
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(TemplateError::TooDeep { line: self.line, max: MAX_DEPTH });
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.spend(text.len())?;
        if self.out.len() + text.len() > MAX_OUTPUT_BYTES {
            return Err(TemplateError::OutputTooLarge { max: MAX_OUTPUT_BYTES });
        }
        self.out.push_str(text);
        Ok(())
    }

    // Statements

    fn block(&mut self, block: &'t Block) -> Result<Flow> {
        for (node, line) in block {
            self.line = *line;
            self.spend(NODE as usize)?;
            let flow = self.deeper(|r| r.node(node))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'t Node) -> Result<Flow> {
        match node {
            Node::Raw(text) => self.write(text)?,
            Node::Emit(value) => {
                let value = self.eval(value)?;
                let text = self.display(&value)?;
                self.write(&text)?;
            }
            Node::If(branches) => {
                for (condition, body) in branches {
                    let holds = match condition {
                        Some(condition) => self.eval(condition)?.truthy(),
                        None => true,
                    };
                    if holds {
                        return self.block(body);
                    }
                }
            }
            Node::For { names, items, filter, body, otherwise } => {
                return self.for_loop(names, items, filter.as_ref(), body, otherwise);
            }
            Node::Set { name, attribute, value } => {
                let value = self.eval(value)?;
                match attribute {
                    None => self.set(name, value),
                    Some(attribute) => self.set_attribute(name, attribute, value)?,
                }
            }
            Node::Capture { name, body } => {
                let value = self.captured(body)?;
                self.set(name, value);
            }
            Node::Macro { name, index } => self.set(name, Value::Macro(*index)),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn for_loop(
        &mut self,
        names: &'t [String],
        items: &'t Expr,
        filter: Option<&'t Expr>,
        body: &'t Block,
        otherwise: &'t Block,
    ) -> Result<Flow> {
        let items = self.eval(items)?;
        let mut items = self.items(&items)?;
        self.scopes.push(Vec::new());
        if let Some(filter) = filter {
            let mut kept = Vec::new();
            for item in items {
                self.bind(names, &item)?;
                if self.eval(filter)?.truthy() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        let Value::List(items) = self.list(items)? else { return self.wrong("list") };
        for index in 0..items.items.len() {
            self.bind(names, &items.items[index])?;
            self.set("loop", Value::Loop(Rc::new(Loop { items: items.clone(), index })));
            if self.block(body)? == Flow::Break {
                break;
            }
        }
        self.scopes.pop();
        if items.items.is_empty() { self.block(otherwise) } else { Ok(Flow::Next) }
    }

    /// Begins an iteration: an empty scope with the loop's names.
    fn bind(&mut self, names: &'t [String], item: &Value) -> Result<()> {
        self.spend(NODE as usize)?;
        if let Some(scope) = self.scopes.last_mut() {
            scope.clear();
        }
        match (names, item) {
            ([name], item) => self.set(name, item.clone()),
            (names, Value::List(list)) if list.items.len() == names.len() => {
                for (name, item) in names.iter().zip(&list.items) {
                    self.set(name, item.clone());
                }
            }
            _ => return self.wrong("as many items as names"),
        }
        Ok(())
    }

    /// What a value iterates over.
    pub(super) fn items(&mut self, value: &Value) -> Result<Vec<Value>> {
        let items: Vec<Value> = match value {
            Value::Undefined => Vec::new(),
            Value::List(list) => {
                self.spend(list.items.len() * size_of::<Value>())?;
                list.items.clone()
            }
            Value::Map(map) => {
                self.spend(map.entries.len() * size_of::<Value>())?;
                map.entries.iter().map(|(key, _)| Value::Str(key.clone())).collect()
            }
            Value::Str(text) => {
                self.spend(text.len() * 2 * size_of::<Value>())?;
                text.chars().map(|c| Value::str(c.encode_utf8(&mut [0; 4]))).collect()
            }
            _ => return self.wrong("list"),
        };
        Ok(items)
    }

    fn captured(&mut self, body: &'t Block) -> Result<Value> {
        let out = std::mem::take(&mut self.out);
        self.scopes.push(Vec::new());
        self.block(body)?;
        self.scopes.pop();
        let text = std::mem::replace(&mut self.out, out);
        self.string(&text)
    }

    fn set(&mut self, name: &'t str, value: Value) {
        let Some(scope) = self.scopes.last_mut() else { return };
        match scope.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => scope.push((name, value)),
        }
    }

    fn set_attribute(&mut self, name: &str, attribute: &str, value: Value) -> Result<()> {
        let Some(Value::Namespace(index)) = self.lookup(name) else {
            return self.wrong("namespace");
        };
        let entries = &mut self.namespaces[index];
        match entries.iter_mut().find(|(known, _)| **known == *attribute) {
            Some((_, old)) => *old = value,
            None => entries.push((Rc::from(attribute), value)),
        }
        Ok(())
    }

    fn lookup(&self, name: &str) -> Option<Value> {
        let inner = self.scopes[self.base..].iter().rev();
        let mut scopes = inner.chain(self.scopes.first());
        scopes
            .find_map(|scope| scope.iter().find(|(known, _)| *known == name))
            .map(|(_, v)| v.clone())
    }

    // Expressions

    pub(super) fn eval(&mut self, expr: &'t Expr) -> Result<Value> {
        self.spend(NODE as usize)?;
        self.deeper(|r| r.eval_node(expr))
    }

    fn eval_node(&mut self, expr: &'t Expr) -> Result<Value> {
        Ok(match expr {
            Expr::Name(name) => match (self.lookup(name), name.as_str()) {
                (Some(value), _) => value,
                (None, "namespace") => Value::Function(Function::Namespace),
                (None, "range") => Value::Function(Function::Range),
                (None, "raise_exception") => Value::Function(Function::RaiseException),
                (None, _) => Value::Undefined,
            },
            Expr::Str(text) => return self.string(text),
            Expr::Int(value) => Value::Int(*value),
            Expr::Bool(value) => Value::Bool(*value),
            Expr::None => Value::None,
            Expr::List(items) => {
                let items: Result<Vec<Value>> = items.iter().map(|item| self.eval(item)).collect();
                return self.list(items?);
            }
            Expr::Dict(entries) => {
                let mut values = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let Value::Str(key) = self.eval(key)? else { return self.wrong("string key") };
                    values.push((key, self.eval(value)?));
                }
                return self.map(values);
            }
            Expr::Postfix(value, steps) => return self.postfix(value, steps),
            Expr::Not(value) => Value::Bool(!self.eval(value)?.truthy()),
            Expr::Negate(value) => match self.eval(value)? {
                Value::Int(value) => Value::Int(value.wrapping_neg()),
                _ => return self.wrong("integer"),
            },
            Expr::Chain(first, rest) => return self.chain(first, rest),
            Expr::Ternary(condition, value, otherwise) => {
                if self.eval(condition)?.truthy() {
                    return self.eval(value);
                }
                match otherwise {
                    Some(otherwise) => return self.eval(otherwise),
                    None => Value::Undefined,
                }
            }
        })
    }

    fn chain(&mut self, first: &'t Expr, rest: &'t [(&'static str, Expr)]) -> Result<Value> {
        let mut left = self.eval(first)?;
        for (at, (op, right)) in rest.iter().enumerate() {
            match *op {
                "or" if left.truthy() => return Ok(left),
                "and" if !left.truthy() => return Ok(left),
                "or" | "and" => left = self.eval(right)?,
                "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in" => {
                    let right = self.eval(right)?;
                    let holds = self.compare(op, &left, &right)?;
                    if !holds || at + 1 == rest.len() {
                        return Ok(Value::Bool(holds));
                    }
                    // As in Python, `a < b < c` compares b with c next.
                    left = right;
                }
                _ => {
                    let right = self.eval(right)?;
                    left = self.arithmetic(op, &left, &right)?;
                }
            }
        }
        Ok(left)
    }

    fn undefined<T>(&self, name: &str) -> Result<T> {
        let name = name.chars().take(64).collect();
        Err(TemplateError::Undefined { line: self.line, name })
    }

    fn postfix(&mut self, first: &'t Expr, steps: &'t [Step]) -> Result<Value> {
        let mut value = self.eval(first)?;
        let mut name = match first {
            Expr::Name(name) => name.as_str(),
            _ => "value",
        };
        let mut at = 0;
        while let Some(step) = steps.get(at) {
            self.spend(NODE as usize)?;
            at += 1;
            value = match (step, steps.get(at)) {
                (Step::Attribute(method), Some(Step::Call(arguments)))
                    if !matches!(value, Value::Undefined | Value::Namespace(_)) =>
                {
                    at += 1;
                    let given = self.given(arguments)?;
                    self.method(&value, method, &given)?
                }
                (Step::Attribute(attribute), _) => {
                    let found = self.attribute(&value, attribute, name)?;
                    name = attribute;
                    found
                }
                (Step::Index(index), _) => {
                    let index = self.eval(index)?;
                    self.index(&value, &index, name)?
                }
                (Step::Slice(parts), _) => self.slice(&value, parts)?,
                (Step::Call(arguments), _) => self.call(&value, arguments, name)?,
                (Step::Filter(filter, arguments), _) => {
                    let given = self.given(arguments)?;
                    self.filter(&value, filter, &given)?
                }
                (Step::Test { name, arguments, negated }, _) => {
                    let given: Result<Vec<Value>> =
                        arguments.iter().map(|argument| self.eval(argument)).collect();
                    Value::Bool(self.test(&value, name, &given?)? != *negated)
                }
            };
        }
        Ok(value)
    }

    fn given(&mut self, arguments: &'t Arguments) -> Result<Given> {
        let mut given = Given { positional: Vec::new(), named: Vec::new() };
        for (name, value) in arguments {
            let value = self.eval(value)?;
            match name {
                Some(name) => given.named.push((Rc::from(name.as_str()), value)),
                None => given.positional.push(value),
            }
        }
        Ok(given)
    }

    pub(super) fn attribute(&mut self, of: &Value, attribute: &str, name: &str) -> Result<Value> {
        let find = |map: &Map| map.get(attribute).cloned();
        let found = match of {
            Value::Map(map) => {
                self.spend(map.entries.len())?;
                find(map)
            }
            Value::Namespace(index) => {
                let entries = &self.namespaces[*index];
                entries.iter().find(|(known, _)| **known == *attribute).map(|(_, v)| v.clone())
            }
            Value::Loop(of) => Some(of.attribute(attribute)),
            Value::Undefined => return self.undefined(name),
            _ => None,
        };
        Ok(found.unwrap_or(Value::Undefined))
    }

    fn index(&mut self, of: &Value, index: &Value, name: &str) -> Result<Value> {
        match (of, index) {
            (Value::List(list), Value::Int(index)) => {
                let at = resolve(*index, list.items.len());
                Ok(at.and_then(|at| list.items.get(at).cloned()).unwrap_or(Value::Undefined))
            }
            (Value::Str(text), Value::Int(index)) => {
                self.spend(text.len())?;
                let at = resolve(*index, text.chars().count());
                match at.and_then(|at| text.chars().nth(at)) {
                    Some(c) => Ok(Value::str(c.encode_utf8(&mut [0; 4]))),
                    None => Ok(Value::Undefined),
                }
            }
            (of, Value::Str(key)) => self.attribute(of, key, name),
            (Value::Undefined, _) => self.undefined(name),
            _ => Ok(Value::Undefined),
        }
    }

    /// Python's `[start:stop:step]`.
    fn slice(&mut self, of: &Value, parts: &'t [Option<Expr>; 3]) -> Result<Value> {
        let mut bounds = [None; 3];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            if let Some(part) = part {
                *bound = match self.eval(part)? {
                    Value::Int(value) => Some(value),
                    Value::None => None,
                    _ => return self.wrong("integer"),
                };
            }
        }
        let items = match of {
            Value::List(_) | Value::Str(_) => self.items(of)?,
            _ => return self.wrong("list or string"),
        };
        let len = items.len() as i64;
        let step = bounds[2].unwrap_or(1);
        if step == 0 || step == i64::MIN {
            return self.wrong("step");
        }
        let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let clamp = |bound: Option<i64>, default: i64| match bound {
            None => default,
            Some(at) if at < 0 => at.saturating_add(len).clamp(low, high),
            Some(at) => at.clamp(low, high),
        };
        let (mut at, stop) = match step > 0 {
            true => (clamp(bounds[0], low), clamp(bounds[1], high)),
            false => (clamp(bounds[0], high), clamp(bounds[1], low)),
        };
        let mut taken = Vec::new();
        while (step > 0 && at < stop) || (step < 0 && at > stop) {
            taken.extend(items.get(at as usize).cloned());
            at = at.saturating_add(step);
        }
        if let Value::List(_) = of {
            return self.list(taken);
        }
        let mut text = String::new();
        for item in &taken {
            if let Value::Str(c) = item {
                text.push_str(c);
            }
        }
        self.string(&text)
    }

    fn call(&mut self, of: &Value, arguments: &'t Arguments, name: &str) -> Result<Value> {
        if let (Value::Function(Function::RaiseException), [(_, Expr::Str(reason))]) =
            (of, arguments.as_slice())
        {
            let reason = reason.chars().take(200).collect();
            return Err(TemplateError::Refused { line: self.line, reason });
        }
        let given = self.given(arguments)?;
        match of {
            Value::Function(Function::RaiseException) => {
                // The words were put together while rendering and may quote the messages.
                let reason = "the template's reason is withheld: it may quote them".to_owned();
                Err(TemplateError::Refused { line: self.line, reason })
            }
            Value::Function(Function::Namespace) => {
                self.spend((given.named.len() + 1) * size_of::<Value>())?;
                self.namespaces.push(given.named);
                Ok(Value::Namespace(self.namespaces.len() - 1))
            }
            Value::Function(Function::Range) => self.range(&given),
            Value::Macro(index) => self.call_macro(*index, given),
            Value::Undefined => self.undefined(name),
            _ => self.wrong("function"),
        }
    }

    fn range(&mut self, given: &Given) -> Result<Value> {
        let mut numbers = Vec::new();
        for value in &given.positional {
            let Value::Int(value) = value else { return self.wrong("integer") };
            numbers.push(*value);
        }
        let (start, stop, step) = match numbers[..] {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] if step != 0 => (start, stop, step),
            _ => return self.wrong("one to three integers"),
        };
        let mut items = Vec::new();
        let mut at = start;
        while (step > 0 && at < stop) || (step < 0 && at > stop) {
            self.spend(size_of::<Value>())?;
            items.push(Value::Int(at));
            at = at.saturating_add(step);
        }
        self.list(items)
    }

    fn call_macro(&mut self, index: usize, given: Given) -> Result<Value> {
        let parsed = self.parsed;
        let body = &parsed.macros[index];
        let mut scope: Vec<(&'t str, Value)> = Vec::new();
        for (at, (name, default)) in body.parameters.iter().enumerate() {
            let value = match (given.get(at, name), default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => self.eval(default)?,
                (None, None) => Value::Undefined,
            };
            scope.push((name, value));
        }
        let base = std::mem::replace(&mut self.base, self.scopes.len());
        self.scopes.push(scope);
        let text = self.captured(&body.body);
        self.scopes.pop();
        self.base = base;
        text
    }
}

/// Python's index: from the end when negative.
fn resolve(index: i64, len: usize) -> Option<usize> {
    usize::try_from(if index < 0 { index.checked_add(len as i64)? } else { index }).ok()
}

/// The list inside a value, if it is one.
pub(super) fn as_list(value: &Value) -> Option<&List> {
    match value {
        Value::List(list) => Some(list),
        _ => None,
    }
}
