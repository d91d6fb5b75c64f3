//! Numbers that carry a derivative with them: what the definitions, and losses, are written over.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number that the definitions compute with.
pub trait Real:
    Copy
    + Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// A constant.
    fn of(value: f64) -> Self;
    /// Its value, without derivative.
    fn value(self) -> f64;
    /// `f(self)`, given `f` and its derivative at the value.
    fn map(self, f: f64, derivative: f64) -> Self;

    /// e to the power of it.
    fn exp(self) -> Self {
        self.map(self.value().exp(), self.value().exp())
    }
    /// Natural logarithm.
    fn ln(self) -> Self {
        self.map(self.value().ln(), 1.0 / self.value())
    }
    /// Square root.
    fn sqrt(self) -> Self {
        self.map(self.value().sqrt(), 0.5 / self.value().sqrt())
    }
    /// Hyperbolic tangent.
    fn tanh(self) -> Self {
        let tanh = self.value().tanh();
        self.map(tanh, 1.0 - tanh * tanh)
    }
    /// As an f16 would hold it; the derivative passes.
    fn halved(self) -> Self {
        self.map(half::f16::from_f64(self.value()).to_f64(), 1.0)
    }
}

impl Real for f64 {
    fn of(value: f64) -> f64 {
        value
    }
    fn value(self) -> f64 {
        self
    }
    fn map(self, f: f64, _: f64) -> f64 {
        f
    }
}

/// A dual number: a value and its derivative along one direction (forward-mode differentiation).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dual {
    /// The value.
    pub value: f64,
    /// Its derivative.
    pub tangent: f64,
}

impl Real for Dual {
    fn of(value: f64) -> Dual {
        Dual { value, tangent: 0.0 }
    }
    fn value(self) -> f64 {
        self.value
    }
    fn map(self, f: f64, derivative: f64) -> Dual {
        Dual { value: f, tangent: derivative * self.tangent }
    }
}

impl Add for Dual {
    type Output = Dual;
    fn add(self, other: Dual) -> Dual {
        Dual { value: self.value + other.value, tangent: self.tangent + other.tangent }
    }
}

impl Sub for Dual {
    type Output = Dual;
    fn sub(self, other: Dual) -> Dual {
        self + -other
    }
}

impl Neg for Dual {
    type Output = Dual;
    fn neg(self) -> Dual {
        Dual { value: -self.value, tangent: -self.tangent }
    }
}

impl Mul for Dual {
    type Output = Dual;
    fn mul(self, other: Dual) -> Dual {
        let tangent = self.tangent * other.value + self.value * other.tangent;
        Dual { value: self.value * other.value, tangent }
    }
}

impl Div for Dual {
    type Output = Dual;
    fn div(self, other: Dual) -> Dual {
        let value = self.value / other.value;
        Dual { value, tangent: (self.tangent - value * other.tangent) / other.value }
    }
}
