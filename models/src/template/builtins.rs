//! Filters, methods and tests that chat templates use, and how values are written out.

use std::fmt::Write;
use std::rc::Rc;

use super::TemplateError;
use super::render::{Given, Renderer, as_list};
use super::value::{Function, Value};

type Result<T> = std::result::Result<T, TemplateError>;

impl Renderer<'_> {
    /// A value as Jinja prints it.
    pub(super) fn display(&mut self, value: &Value) -> Result<Rc<str>> {
        if let Value::Str(text) = value {
            return Ok(text.clone());
        }
        let mut text = String::new();
        if !matches!(value, Value::Undefined) {
            self.write_python(value, &mut text)?;
        }
        self.spend(text.len())?;
        Ok(text.into())
    }

    /// Python's `repr`.
    fn write_python(&mut self, value: &Value, out: &mut String) -> Result<()> {
        self.spend(8)?;
        match value {
            Value::Undefined => out.push_str("Undefined"),
            Value::None => out.push_str("None"),
            Value::Bool(true) => out.push_str("True"),
            Value::Bool(false) => out.push_str("False"),
            Value::Int(value) => push(out, format_args!("{value}")),
            Value::Str(text) => {
                self.spend(2 * text.len())?;
                let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
                out.push(quote);
                for c in text.chars() {
                    match c {
                        '\n' => out.push_str("\\n"),
                        '\r' => out.push_str("\\r"),
                        '\t' => out.push_str("\\t"),
                        '\\' => out.push_str("\\\\"),
                        c if c == quote => out.extend(['\\', c]),
                        c => out.push(c),
                    }
                }
                out.push(quote);
            }
            Value::List(list) => {
                out.push('[');
                for (at, item) in list.items.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    self.write_python(item, out)?;
                }
                out.push(']');
            }
            Value::Map(map) => {
                out.push('{');
                for (at, (key, value)) in map.entries.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    self.write_python(&Value::Str(key.clone()), out)?;
                    out.push_str(": ");
                    self.write_python(value, out)?;
                }
                out.push('}');
            }
            Value::Namespace(_) | Value::Loop(_) | Value::Macro(_) | Value::Function(_) => {
                return self.wrong("a value that can be printed");
            }
        }
        Ok(())
    }

    /// JSON as Python's `json.dumps(…, ensure_ascii=False)` writes it.
    fn write_json(
        &mut self,
        value: &Value,
        indent: Option<usize>,
        level: usize,
        out: &mut String,
    ) -> Result<()> {
        self.spend(8 + indent.unwrap_or(0) * level)?;
        let (open, close, count) = match value {
            Value::List(list) => ('[', ']', list.items.len()),
            Value::Map(map) => ('{', '}', map.entries.len()),
            Value::Str(text) => {
                self.spend(6 * text.len())?;
                write_json_string(text, out);
                return Ok(());
            }
            _ => {
                match value {
                    Value::None => out.push_str("null"),
                    Value::Bool(value) => push(out, format_args!("{value}")),
                    Value::Int(value) => push(out, format_args!("{value}")),
                    _ => return self.wrong("a value that JSON has"),
                }
                return Ok(());
            }
        };
        let line = |out: &mut String, level: usize| {
            if let Some(indent) = indent {
                out.push('\n');
                out.push_str(&" ".repeat(indent * level));
            }
        };
        out.push(open);
        for at in 0..count {
            if at > 0 {
                out.push_str(if indent.is_some() { "," } else { ", " });
            }
            line(out, level + 1);
            match value {
                Value::List(list) => self.write_json(&list.items[at], indent, level + 1, out)?,
                Value::Map(map) => {
                    let (key, item) = &map.entries[at];
                    write_json_string(key, out);
                    out.push_str(": ");
                    self.spend(6 * key.len())?;
                    self.write_json(item, indent, level + 1, out)?;
                }
                _ => {}
            }
        }
        if count > 0 {
            line(out, level);
        }
        out.push(close);
        Ok(())
    }

    /// `value|name(…)`
    pub(super) fn filter(&mut self, value: &Value, name: &str, given: &Given) -> Result<Value> {
        match name {
            "default" | "d" => {
                let falsy = given.get(1, "boolean").is_some_and(Value::truthy);
                let missing = matches!(value, Value::Undefined) || (falsy && !value.truthy());
                let default = given.get(0, "default_value").cloned();
                let default = default.unwrap_or_else(|| Value::str(""));
                Ok(if missing { default } else { value.clone() })
            }
            "tojson" => {
                let indent = match given.get(0, "indent") {
                    Some(Value::Int(indent)) => Some((*indent).clamp(0, 16) as usize),
                    _ => None,
                };
                let mut text = String::new();
                self.write_json(value, indent, 0, &mut text)?;
                self.string(&text)
            }
            "string" | "safe" => {
                let text = self.display(value)?;
                Ok(Value::Str(text))
            }
            "length" | "count" => self.length(value),
            "first" | "last" => {
                let items = self.items(value)?;
                let item = if name == "first" { items.first() } else { items.last() };
                Ok(item.cloned().unwrap_or(Value::Undefined))
            }
            "list" => {
                let items = self.items(value)?;
                self.list(items)
            }
            "reverse" => match value {
                Value::Str(text) => {
                    let text: String = text.chars().rev().collect();
                    self.string(&text)
                }
                _ => {
                    let mut items = self.items(value)?;
                    items.reverse();
                    self.list(items)
                }
            },
            "join" => self.join(value, given),
            "int" => Ok(match value {
                Value::Int(_) => value.clone(),
                Value::Bool(flag) => Value::Int(i64::from(*flag)),
                Value::Str(text) => Value::Int(text.trim().parse().unwrap_or(0)),
                _ => Value::Int(0),
            }),
            "abs" => match value {
                Value::Int(value) => Ok(Value::Int(value.wrapping_abs())),
                _ => self.wrong("integer"),
            },
            "items" | "dictsort" => self.map_items(value, name == "dictsort"),
            "selectattr" | "rejectattr" | "select" | "reject" => self.select(value, name, given),
            "map" => self.map_attribute(value, given),
            "indent" => self.indent(value, given),
            "trim" => self.method(value, "strip", given),
            "upper" | "lower" | "capitalize" | "title" | "replace" => {
                let text = self.display(value)?;
                self.method(&Value::Str(text), name, given)
            }
            _ => self.unsupported(name),
        }
    }

    fn length(&mut self, value: &Value) -> Result<Value> {
        let length = match value {
            Value::Str(text) => {
                self.spend(text.len())?;
                text.chars().count()
            }
            Value::List(list) => list.items.len(),
            Value::Map(map) => map.entries.len(),
            Value::Undefined => 0,
            _ => return self.wrong("something that has a length"),
        };
        Ok(Value::Int(length as i64))
    }

    fn join(&mut self, value: &Value, given: &Given) -> Result<Value> {
        let separator = match given.get(0, "d") {
            Some(separator) => self.display(separator)?,
            None => Rc::from(""),
        };
        let attribute = match given.get(1, "attribute") {
            Some(Value::Str(attribute)) => Some(attribute.clone()),
            _ => None,
        };
        let mut joined = String::new();
        for (at, item) in self.items(value)?.into_iter().enumerate() {
            let item = match &attribute {
                Some(attribute) => self.attribute(&item, attribute, "item")?,
                None => item,
            };
            let text = self.display(&item)?;
            let before = if at > 0 { &*separator } else { "" };
            self.spend(before.len() + text.len())?;
            joined.push_str(before);
            joined.push_str(&text);
        }
        self.string(&joined)
    }

    fn map_items(&mut self, value: &Value, sorted: bool) -> Result<Value> {
        let Value::Map(map) = value else { return self.wrong("dictionary") };
        let mut entries = map.entries.clone();
        if sorted {
            self.spend(entries.iter().map(|(key, _)| 16 * (key.len() + 1)).sum())?;
            entries.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let mut pairs = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            pairs.push(self.list(vec![Value::Str(key), value])?);
        }
        self.list(pairs)
    }

    fn select(&mut self, value: &Value, name: &str, given: &Given) -> Result<Value> {
        let by_attribute = name.ends_with("attr");
        let keep = name.starts_with("select");
        let (attribute, rest) = match (by_attribute, given.positional.split_first()) {
            (true, Some((Value::Str(attribute), rest))) => (Some(attribute.clone()), rest),
            (true, _) => return self.wrong("the name of an attribute"),
            (false, _) => (None, given.positional.as_slice()),
        };
        let mut kept = Vec::new();
        for item in self.items(value)? {
            let subject = match &attribute {
                Some(attribute) => self.attribute(&item, attribute, "item")?,
                None => item.clone(),
            };
            let holds = match rest.split_first() {
                Some((Value::Str(test), arguments)) => self.test(&subject, test, arguments)?,
                Some(_) => return self.wrong("the name of a test"),
                None => subject.truthy(),
            };
            if holds == keep {
                kept.push(item);
            }
        }
        self.list(kept)
    }

    fn map_attribute(&mut self, value: &Value, given: &Given) -> Result<Value> {
        let filter = match given.positional.first() {
            Some(Value::Str(filter)) => Some(filter.clone()),
            _ => None,
        };
        let attribute = given.named.iter().find(|(name, _)| **name == *"attribute");
        let mut mapped = Vec::new();
        for item in self.items(value)? {
            mapped.push(match (&filter, attribute) {
                (_, Some((_, Value::Str(name)))) => self.attribute(&item, name, "item")?,
                (Some(filter), None) => {
                    let rest = Given { positional: Vec::new(), named: Vec::new() };
                    // `map` of `map` of … would recurse as deep as its argument says.
                    if matches!(&**filter, "map" | "select" | "reject") {
                        return self.unsupported(filter);
                    }
                    self.filter(&item, filter, &rest)?
                }
                _ => return self.wrong("attribute or filter"),
            });
        }
        self.list(mapped)
    }

    fn indent(&mut self, value: &Value, given: &Given) -> Result<Value> {
        let text = self.display(value)?;
        let width = match given.get(0, "width") {
            Some(Value::Int(width)) => (*width).clamp(0, 64) as usize,
            None => 4,
            _ => return self.wrong("integer"),
        };
        let first = given.get(1, "first").is_some_and(Value::truthy);
        let blank = given.get(2, "blank").is_some_and(Value::truthy);
        let lines = text.split('\n').count();
        self.spend(lines * width + text.len())?;
        let pad = " ".repeat(width);
        let mut indented = String::new();
        for (at, line) in text.split('\n').enumerate() {
            indented.push_str(if at > 0 { "\n" } else { "" });
            if (at > 0 || first) && (blank || !line.is_empty()) {
                indented.push_str(&pad);
            }
            indented.push_str(line);
        }
        self.string(&indented)
    }

    /// `value.name(…)`
    pub(super) fn method(&mut self, value: &Value, name: &str, given: &Given) -> Result<Value> {
        match value {
            Value::Str(text) => self.string_method(text, name, given),
            Value::Map(map) => match name {
                "items" => self.map_items(value, false),
                "keys" | "values" => {
                    let entries = map.entries.iter();
                    let items = match name {
                        "keys" => entries.map(|(key, _)| Value::Str(key.clone())).collect(),
                        _ => entries.map(|(_, value)| value.clone()).collect(),
                    };
                    self.list(items)
                }
                "get" => {
                    let Some(Value::Str(key)) = given.positional.first() else {
                        return self.wrong("string key");
                    };
                    self.spend(map.entries.len())?;
                    let default = || given.get(1, "default").cloned().unwrap_or(Value::None);
                    Ok(map.get(key).cloned().unwrap_or_else(default))
                }
                _ => self.unsupported(name),
            },
            Value::None | Value::Undefined => self.wrong("a string to call a method of"),
            _ => self.unsupported(name),
        }
    }

    fn string_method(&mut self, text: &Rc<str>, name: &str, given: &Given) -> Result<Value> {
        self.spend(2 * text.len())?;
        let argument = |index: usize| match given.positional.get(index) {
            Some(Value::Str(text)) => Some(text.clone()),
            _ => None,
        };
        match name {
            "strip" | "lstrip" | "rstrip" => self.strip(text, name, argument(0)),
            "startswith" | "endswith" => self.has_affix(text, name, given.positional.first()),
            "upper" => self.string(&text.to_uppercase()),
            "lower" => self.string(&text.to_lowercase()),
            "capitalize" | "title" => {
                let mut starts = true;
                let mut changed = String::with_capacity(text.len());
                for c in text.chars() {
                    match starts {
                        true => changed.extend(c.to_uppercase()),
                        false => changed.extend(c.to_lowercase()),
                    }
                    starts = name == "title" && !c.is_alphabetic();
                }
                self.string(&changed)
            }
            "replace" => {
                let (Some(old), Some(new)) = (argument(0), argument(1)) else {
                    return self.wrong("two strings");
                };
                let limit = match given.get(2, "count") {
                    Some(Value::Int(limit)) => usize::try_from(*limit).unwrap_or(usize::MAX),
                    _ => usize::MAX,
                };
                let found = text.matches(&*old).take(limit).count();
                self.spend(text.len() + found.saturating_mul(new.len()))?;
                Ok(Value::str(&text.replacen(&*old, &new, limit)))
            }
            "split" => self.split(text, argument(0), given),
            "count" => {
                let part = argument(0);
                let count = part.map_or(0, |part| text.matches(&*part).count());
                Ok(Value::Int(count as i64))
            }
            "find" => {
                let at = argument(0).and_then(|part| text.find(&*part));
                let at = at.map_or(-1, |at| text[..at].chars().count() as i64);
                Ok(Value::Int(at))
            }
            "isdigit" => {
                let digits = !text.is_empty() && text.chars().all(char::is_numeric);
                Ok(Value::Bool(digits))
            }
            "join" => {
                let items = given.positional.first().cloned().unwrap_or(Value::Undefined);
                let positional = vec![Value::Str(text.clone())];
                self.join(&items, &Given { positional, named: Vec::new() })
            }
            _ => self.unsupported(name),
        }
    }

    fn strip(&mut self, text: &str, name: &str, chars: Option<Rc<str>>) -> Result<Value> {
        let strip = |c: char| match &chars {
            Some(chars) => chars.contains(c),
            None => c.is_whitespace(),
        };
        self.spend(text.len() * chars.as_ref().map_or(0, |chars| chars.len()))?;
        let mut kept = text;
        if name != "rstrip" {
            kept = kept.trim_start_matches(strip);
        }
        if name != "lstrip" {
            kept = kept.trim_end_matches(strip);
        }
        self.string(kept)
    }

    /// Whether `text` begins or ends with the string, or with one of the list.
    fn has_affix(&mut self, text: &str, name: &str, affixes: Option<&Value>) -> Result<Value> {
        let affixes = match affixes {
            Some(list @ Value::List(_)) => {
                as_list(list).map(|list| list.items.clone()).unwrap_or_default()
            }
            Some(affix) => vec![affix.clone()],
            None => return self.wrong("string"),
        };
        let mut found = false;
        for affix in affixes {
            let Value::Str(affix) = affix else { return self.wrong("string") };
            self.spend(affix.len())?;
            found |= match name {
                "startswith" => text.starts_with(&*affix),
                _ => text.ends_with(&*affix),
            };
        }
        Ok(Value::Bool(found))
    }

    fn split(&mut self, text: &str, by: Option<Rc<str>>, given: &Given) -> Result<Value> {
        let limit = match given.get(1, "maxsplit") {
            Some(Value::Int(limit)) if *limit >= 0 => (*limit as usize).saturating_add(1),
            _ => usize::MAX,
        };
        if by.as_ref().is_some_and(|by| by.is_empty()) {
            return self.wrong("separator");
        }
        let parts: Vec<&str> = match &by {
            Some(by) => text.splitn(limit, &**by).collect(),
            None if limit == usize::MAX => text.split_whitespace().collect(),
            None => return self.unsupported("split(none, maxsplit)"),
        };
        self.spend(parts.len() * 2 * size_of::<Value>())?;
        let parts = parts.into_iter().map(Value::str).collect();
        self.list(parts)
    }

    /// `value is name(…)`
    pub(super) fn test(&mut self, value: &Value, name: &str, given: &[Value]) -> Result<bool> {
        let other = given.first().cloned().unwrap_or(Value::Undefined);
        Ok(match name {
            "defined" => !matches!(value, Value::Undefined),
            "undefined" => matches!(value, Value::Undefined),
            "none" => matches!(value, Value::None),
            "string" => matches!(value, Value::Str(_)),
            "mapping" => matches!(value, Value::Map(_)),
            "number" | "integer" => matches!(value, Value::Int(_)),
            "float" => false,
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "sequence" | "iterable" => {
                matches!(value, Value::List(_) | Value::Str(_) | Value::Map(_))
            }
            "callable" => matches!(
                value,
                Value::Macro(_)
                    | Value::Function(
                        Function::Namespace | Function::Range | Function::RaiseException
                    )
            ),
            "equalto" | "eq" | "==" | "sameas" => self.equal(value, &other)?,
            "ne" | "!=" => !self.equal(value, &other)?,
            "in" => self.contains(&other, value)?,
            "odd" | "even" => match value {
                Value::Int(value) => (value.rem_euclid(2) == 1) == (name == "odd"),
                _ => return self.wrong("integer"),
            },
            "divisibleby" => match (value, &other) {
                (Value::Int(value), Value::Int(by)) if *by != 0 => {
                    value.checked_rem(*by) == Some(0)
                }
                _ => return self.wrong("two integers"),
            },
            _ => return self.unsupported(name),
        })
    }
}

/// Writing to a `String` cannot fail.
fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

fn write_json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => push(out, format_args!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}
