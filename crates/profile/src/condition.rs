use crate::json::RawCondition;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A test of one argument of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "RawCondition", into = "RawCondition")]
pub struct Condition {
    argument: u8,
    comparison: Comparison,
}

/// How an argument is compared, always as an unsigned number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each variant is the comparison of its name with its value")]
pub enum Comparison {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    /// The bits of `mask` are those of `value`. Bits of `value` outside `mask` count for nothing (libseccomp,
    /// `_db_node_mask_fixup`).
    MaskedEqual {
        mask: u64,
        value: u64,
    },
}

impl Condition {
    /// A system call has this many arguments.
    pub const ARGUMENTS: u8 = 6;

    /// Argument number `argument`, counted from 0, compared; `None` from 6 on.
    pub fn new(argument: u8, comparison: Comparison) -> Option<Self> {
        (argument < Self::ARGUMENTS).then_some(Self { argument, comparison })
    }

    /// The number of the argument, 0 to 5.
    pub fn argument(self) -> u8 {
        self.argument
    }

    /// How it is compared.
    pub fn comparison(self) -> Comparison {
        self.comparison
    }

    /// Whether a call with these arguments passes.
    pub fn matches(self, arguments: &[u64; 6]) -> bool {
        self.comparison.matches(arguments[usize::from(self.argument)])
    }

    /// Whether no call can pass both. `false` does not promise that one can.
    pub(crate) fn excludes(self, other: Self) -> bool {
        self.argument == other.argument && self.comparison.excludes(other.comparison)
    }

    pub(crate) fn with_comparison(self, comparison: Comparison) -> Self {
        Self { comparison, ..self }
    }
}

impl Comparison {
    /// Whether `argument` passes.
    pub fn matches(self, argument: u64) -> bool {
        match self {
            Comparison::NotEqual(value) => argument != value,
            Comparison::Less(value) => argument < value,
            Comparison::LessOrEqual(value) => argument <= value,
            Comparison::Equal(value) => argument == value,
            Comparison::GreaterOrEqual(value) => argument >= value,
            Comparison::Greater(value) => argument > value,
            Comparison::MaskedEqual { mask, value } => argument & mask == value & mask,
        }
    }

    /// The comparison that a filter makes where arguments have 32 bits: the upper half of the argument is not looked
    /// at, that of the value is dropped (libseccomp, `_db_rule_gen_32`).
    #[must_use]
    pub fn narrowed(self) -> Self {
        let low = |value| value & u64::from(u32::MAX);
        match self {
            Comparison::NotEqual(value) => Comparison::NotEqual(low(value)),
            Comparison::Less(value) => Comparison::Less(low(value)),
            Comparison::LessOrEqual(value) => Comparison::LessOrEqual(low(value)),
            Comparison::Equal(value) => Comparison::Equal(low(value)),
            Comparison::GreaterOrEqual(value) => Comparison::GreaterOrEqual(low(value)),
            Comparison::Greater(value) => Comparison::Greater(low(value)),
            Comparison::MaskedEqual { mask, value } => {
                Comparison::MaskedEqual { mask: low(mask), value: low(value) }
            }
        }
    }

    /// Bits of the value that do not count are cleared, so that equal tests are equal values.
    pub(crate) fn canonical(self) -> Self {
        match self {
            Comparison::MaskedEqual { mask, value } => Comparison::MaskedEqual { mask, value: value & mask },
            plain => plain,
        }
    }

    /// Whether it is a mask of no bits, which libseccomp leaves out of the rule.
    pub(crate) fn is_empty_mask(self) -> bool {
        matches!(self, Comparison::MaskedEqual { mask: 0, .. })
    }

    fn excludes(self, other: Self) -> bool {
        use Comparison::{Equal, MaskedEqual, NotEqual};
        match (self, other) {
            (Equal(value), test) | (test, Equal(value)) => !test.matches(value),
            (MaskedEqual { mask: m1, value: v1 }, MaskedEqual { mask: m2, value: v2 }) => {
                (v1 ^ v2) & m1 & m2 != 0
            }
            (NotEqual(_) | MaskedEqual { .. }, _) | (_, NotEqual(_) | MaskedEqual { .. }) => false,
            (a, b) => {
                let ((a_low, a_high), (b_low, b_high)) = (a.range(), b.range());
                a_low.max(b_low) > a_high.min(b_high)
            }
        }
    }

    /// The values that pass an ordering, first and last; first is above last when none does.
    fn range(self) -> (u128, u128) {
        const MAX: u128 = u64::MAX as u128;
        match self {
            Comparison::Less(0) => (1, 0),
            Comparison::Less(value) => (0, u128::from(value) - 1),
            Comparison::LessOrEqual(value) => (0, u128::from(value)),
            Comparison::GreaterOrEqual(value) => (u128::from(value), MAX),
            Comparison::Greater(value) => (u128::from(value) + 1, MAX),
            Comparison::Equal(value) => (u128::from(value), u128::from(value)),
            Comparison::NotEqual(_) | Comparison::MaskedEqual { .. } => (0, MAX),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argument, comparison } = self;
        match comparison {
            Comparison::NotEqual(value) => write!(f, "arg{argument} != {value}"),
            Comparison::Less(value) => write!(f, "arg{argument} < {value}"),
            Comparison::LessOrEqual(value) => write!(f, "arg{argument} <= {value}"),
            Comparison::Equal(value) => write!(f, "arg{argument} == {value}"),
            Comparison::GreaterOrEqual(value) => write!(f, "arg{argument} >= {value}"),
            Comparison::Greater(value) => write!(f, "arg{argument} > {value}"),
            Comparison::MaskedEqual { mask, value } => write!(f, "arg{argument} & {mask:#x} == {value:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_seven_comparisons_are_unsigned_and_of_64_bits() {
        const BIG: u64 = 1 << 63;
        for (comparison, passes, fails) in [
            (Comparison::NotEqual(BIG), BIG + 1, BIG),
            (Comparison::Less(BIG), BIG - 1, BIG),
            (Comparison::LessOrEqual(BIG), BIG, BIG + 1),
            (Comparison::Equal(BIG), BIG, 0),
            (Comparison::GreaterOrEqual(BIG), BIG, BIG - 1),
            (Comparison::Greater(BIG), BIG + 1, BIG),
            (Comparison::MaskedEqual { mask: BIG | 1, value: BIG | 2 }, BIG | 4, BIG | 1),
        ] {
            assert!(comparison.matches(passes), "{comparison:?} takes {passes:#x}");
            assert!(!comparison.matches(fails), "{comparison:?} refuses {fails:#x}");
        }
    }

    #[test]
    fn there_is_no_seventh_argument() {
        assert!(Condition::new(5, Comparison::Equal(0)).is_some());
        assert_eq!(Condition::new(6, Comparison::Equal(0)), None);
    }

    fn comparison() -> impl Strategy<Value = Comparison> {
        let value = || prop_oneof![0..4_u64, (u64::MAX - 3)..=u64::MAX];
        prop_oneof![
            value().prop_map(Comparison::NotEqual),
            value().prop_map(Comparison::Less),
            value().prop_map(Comparison::LessOrEqual),
            value().prop_map(Comparison::Equal),
            value().prop_map(Comparison::GreaterOrEqual),
            value().prop_map(Comparison::Greater),
            (value(), value()).prop_map(|(mask, value)| Comparison::MaskedEqual { mask, value }),
        ]
    }

    proptest! {
        #[test]
        fn what_excludes_has_no_value_in_common(a in comparison(), b in comparison(), value in any::<u64>()) {
            if a.excludes(b) {
                for value in (0..8).chain(u64::MAX - 8..=u64::MAX).chain([value]) {
                    prop_assert!(!(a.matches(value) && b.matches(value)), "{:?} {:?} {}", a, b, value);
                }
            }
        }
    }
}
