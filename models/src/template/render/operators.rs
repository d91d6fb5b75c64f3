//! What operators compute: arithmetic, order, equality, membership.

use super::{NODE, Renderer, Result};
use crate::template::value::Value;

impl Renderer<'_> {
    pub(super) fn arithmetic(&mut self, op: &str, left: &Value, right: &Value) -> Result<Value> {
        if op == "~" {
            let (left, right) = (self.display(left)?, self.display(right)?);
            return self.concatenated(&left, &right);
        }
        match (op, left, right) {
            ("+", Value::Str(left), Value::Str(right)) => self.concatenated(left, right),
            ("+", Value::List(left), Value::List(right)) => {
                self.spend((left.items.len() + right.items.len()) * size_of::<Value>())?;
                let items = left.items.iter().chain(&right.items).cloned().collect();
                self.list(items)
            }
            ("*", Value::Str(text), Value::Int(times)) => {
                let times = usize::try_from(*times).unwrap_or(0);
                self.spend(text.len().saturating_mul(times))?;
                Ok(Value::str(&text.repeat(times)))
            }
            (_, Value::Int(left), Value::Int(right)) => {
                let result = match op {
                    "+" => left.checked_add(*right),
                    "-" => left.checked_sub(*right),
                    "*" => left.checked_mul(*right),
                    "//" | "%" if *right == 0 => None,
                    // Python rounds down.
                    "//" => left.checked_rem(*right).and_then(|rest| {
                        let down = i64::from(rest != 0 && (rest < 0) != (*right < 0));
                        left.checked_div(*right)?.checked_sub(down)
                    }),
                    "%" => left.checked_rem(*right).map(|rest| match rest != 0 {
                        true if (rest < 0) != (*right < 0) => rest + right,
                        _ => rest,
                    }),
                    _ => return self.unsupported(op),
                };
                match result {
                    Some(value) => Ok(Value::Int(value)),
                    None => self.wrong("integers in range"),
                }
            }
            (_, Value::Undefined, _) | (_, _, Value::Undefined) => self.undefined("operand"),
            _ => self.wrong("operands that go together"),
        }
    }

    fn concatenated(&mut self, left: &str, right: &str) -> Result<Value> {
        self.spend(left.len() + right.len())?;
        Ok(Value::Str([left, right].concat().into()))
    }

    pub(super) fn compare(&mut self, op: &str, left: &Value, right: &Value) -> Result<bool> {
        Ok(match op {
            "==" => self.equal(left, right)?,
            "!=" => !self.equal(left, right)?,
            "in" => self.contains(right, left)?,
            "not in" => !self.contains(right, left)?,
            _ => {
                let order = match (left, right) {
                    (Value::Int(left), Value::Int(right)) => left.cmp(right),
                    (Value::Str(left), Value::Str(right)) => {
                        self.spend(left.len().min(right.len()))?;
                        left.cmp(right)
                    }
                    _ => return self.wrong("two integers or two strings"),
                };
                match op {
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
        })
    }

    pub(in crate::template) fn equal(&mut self, left: &Value, right: &Value) -> Result<bool> {
        self.spend(NODE as usize)?;
        Ok(match (left, right) {
            (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::Int(left), Value::Int(right)) => left == right,
            (Value::Bool(flag), Value::Int(int)) | (Value::Int(int), Value::Bool(flag)) => {
                i64::from(*flag) == *int
            }
            (Value::Str(left), Value::Str(right)) => {
                self.spend(left.len().min(right.len()))?;
                left == right
            }
            (Value::List(left), Value::List(right)) => {
                if left.items.len() != right.items.len() {
                    return Ok(false);
                }
                for (left, right) in left.items.iter().zip(&right.items) {
                    if !self.equal(left, right)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Map(left), Value::Map(right)) => {
                if left.entries.len() != right.entries.len() {
                    return Ok(false);
                }
                for (key, value) in &left.entries {
                    self.spend(right.entries.len())?;
                    let other = right.get(key).cloned();
                    if !matches!(other, Some(other) if self.equal(value, &other)?) {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Namespace(left), Value::Namespace(right)) => left == right,
            _ => false,
        })
    }

    pub(in crate::template) fn contains(&mut self, whole: &Value, part: &Value) -> Result<bool> {
        match (whole, part) {
            (Value::Str(whole), Value::Str(part)) => {
                self.spend(whole.len() + part.len())?;
                Ok(whole.contains(&**part))
            }
            (Value::List(list), part) => {
                for item in &list.items {
                    if self.equal(item, part)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Value::Map(map), Value::Str(key)) => {
                self.spend(map.entries.len() * NODE as usize)?;
                Ok(map.get(key).is_some())
            }
            (Value::Undefined, _) => Ok(false),
            _ => self.wrong("something to look in"),
        }
    }
}
