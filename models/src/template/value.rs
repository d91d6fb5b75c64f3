//! What template expressions evaluate to.

use std::rc::Rc;

/// How deep lists and dictionaries may hold one another.
pub(super) const MAX_NESTING: u8 = 32;

/// A value; strings, lists and dictionaries are shared and never change.
#[derive(Clone)]
pub(super) enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i64),
    Str(Rc<str>),
    List(Rc<List>),
    Map(Rc<Map>),
    /// The one thing that can be changed; held by the renderer.
    Namespace(usize),
    Loop(Rc<Loop>),
    Macro(usize),
    Function(Function),
}

/// Functions that templates can call.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Function {
    Namespace,
    Range,
    RaiseException,
}

/// A list that knows how deep it nests.
pub(super) struct List {
    pub(super) items: Vec<Value>,
    depth: u8,
}

/// A dictionary in order of insertion.
pub(super) struct Map {
    pub(super) entries: Vec<(Rc<str>, Value)>,
    depth: u8,
}

/// The `loop` of a `for`.
pub(super) struct Loop {
    pub(super) items: Rc<List>,
    pub(super) index: usize,
}

impl Value {
    pub(super) fn str(text: &str) -> Value {
        Value::Str(Rc::from(text))
    }

    /// A list, unless it nests too deeply.
    pub(super) fn list(items: Vec<Value>) -> Option<Value> {
        let depth = items.iter().map(Value::depth).max().unwrap_or(0) + 1;
        (depth <= MAX_NESTING).then(|| Value::List(Rc::new(List { items, depth })))
    }

    /// A dictionary, unless it nests too deeply. Of equal keys the last one counts.
    pub(super) fn map(entries: Vec<(Rc<str>, Value)>) -> Option<Value> {
        let depth = entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0) + 1;
        (depth <= MAX_NESTING).then(|| Value::Map(Rc::new(Map { entries, depth })))
    }

    fn depth(&self) -> u8 {
        match self {
            Value::List(list) => list.depth,
            Value::Map(map) => map.depth,
            Value::Loop(of) => of.items.depth + 1,
            _ => 0,
        }
    }

    /// Python's truth.
    pub(super) fn truthy(&self) -> bool {
        match self {
            Value::Undefined | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Str(text) => !text.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            _ => true,
        }
    }
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().rev().find(|(known, _)| **known == *key).map(|(_, value)| value)
    }
}

impl Loop {
    pub(super) fn attribute(&self, name: &str) -> Value {
        let (index, len) = (self.index, self.items.items.len());
        let int = |value: usize| Value::Int(value as i64);
        let item = |at: Option<usize>| {
            at.and_then(|at| self.items.items.get(at).cloned()).unwrap_or(Value::Undefined)
        };
        match name {
            "index" => int(index + 1),
            "index0" => int(index),
            "revindex" => int(len - index),
            "revindex0" => int(len - index - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == len),
            "length" => int(len),
            "previtem" => item(index.checked_sub(1)),
            "nextitem" => item(index.checked_add(1)),
            _ => Value::Undefined,
        }
    }
}
