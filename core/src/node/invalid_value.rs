//! What is wrong with the limits of a node.

use alloc::vec::Vec;
use core::{fmt, time::Duration};

/// A limit that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidValue {
    /// Zero would refuse everything, or end before it begins.
    #[error("{name} must be more than zero")]
    Zero {
        /// The field.
        name: &'static str,
    },
    /// Two values in the wrong order.
    #[error("{lower} must not be more than {upper}")]
    Order {
        /// The field that must not be the larger one.
        lower: &'static str,
        /// The field, or the constant, that it exceeds.
        upper: &'static str,
    },
}

/// Everything that is wrong with a set of limits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InvalidValues(Vec<InvalidValue>);

impl InvalidValues {
    /// The errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &InvalidValue> {
        self.0.iter()
    }

    pub(super) fn not_zero(&mut self, name: &'static str, value: Duration) {
        self.refuse(value.is_zero(), InvalidValue::Zero { name });
    }

    pub(super) fn not_more(&mut self, lower: &'static str, upper: &'static str, ordered: bool) {
        self.refuse(!ordered, InvalidValue::Order { lower, upper });
    }

    pub(super) fn refuse(&mut self, wrong: bool, error: InvalidValue) {
        if wrong {
            self.0.push(error);
        }
    }

    pub(super) fn merge(&mut self, part: Result<(), Self>) {
        if let Err(errors) = part {
            self.0.extend(errors.0);
        }
    }

    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for InvalidValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for InvalidValues {}
