use serde::Serialize;

/// What was measured, and whether it is within its bounds.
#[derive(Serialize)]
pub struct Report {
    #[serde(skip)]
    slack: f64,
    #[serde(skip)]
    text: bool,
    figures: Vec<Figure>,
}

/// One figure.
#[derive(Serialize)]
struct Figure {
    group: String,
    name: String,
    value: f64,
    unit: &'static str,
    /// Against the floor of the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<f64>,
    holds: bool,
}

/// What a figure is held against.
#[derive(Clone, Copy)]
pub enum Bound {
    /// Nothing; it is there to compare with.
    None,
    /// Nothing; how it compares with the floor is shown.
    Beside { floor: f64 },
    /// At most this many times the floor.
    AtMost { floor: f64, times: f64 },
    /// At least this many times the floor.
    AtLeast { floor: f64, times: f64 },
    /// At most this, whatever the machine.
    Limit(f64),
}

impl Report {
    pub fn new(slack: f64, text: bool) -> Self {
        Self { slack, text, figures: Vec::new() }
    }

    /// Begins a table.
    pub fn heading(&self, title: &str) {
        if self.text {
            println!("\n{title}");
        }
    }

    /// Adds a figure, and shows it.
    pub fn add(&mut self, group: &str, name: &str, value: f64, unit: &'static str, bound: Bound) {
        let (ratio, limit, holds) = match bound {
            Bound::None => (None, None, true),
            Bound::Beside { floor } => (Some(value / floor), None, true),
            Bound::AtMost { floor, times } => {
                (Some(value / floor), Some(times), value / floor <= times * self.slack)
            }
            Bound::AtLeast { floor, times } => {
                (Some(value / floor), Some(times), value / floor >= times / self.slack)
            }
            Bound::Limit(limit) => (None, Some(limit), value <= limit),
        };
        if self.text {
            let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2} x"));
            let bound = match (bound, limit) {
                (Bound::AtMost { .. }, Some(times)) => format!("at most {times} x"),
                (Bound::AtLeast { .. }, Some(times)) => format!("at least {times} x"),
                (Bound::Limit(_), Some(limit)) => format!("at most {limit}"),
                _ => String::new(),
            };
            let verdict = match (bound.is_empty(), holds) {
                (true, _) => "",
                (false, true) => "ok",
                (false, false) => "BROKEN",
            };
            let line = format!("  {name:<44} {value:>10.2} {unit:<8} {ratio:>8}  {bound:<15} {verdict}");
            println!("{}", line.trim_end());
        }
        let (group, name) = (group.into(), name.into());
        self.figures.push(Figure { group, name, value, unit, ratio, bound: limit, holds });
    }

    /// How many figures there are.
    pub fn len(&self) -> usize {
        self.figures.len()
    }

    /// Whether every figure is within its bound, from this one on.
    pub fn holds_from(&self, first: usize) -> bool {
        self.figures[first..].iter().all(|figure| figure.holds)
    }

    /// Forgets the figures from this one on, which are measured again.
    pub fn again(&mut self, first: usize) {
        self.figures.truncate(first);
        self.heading("a bound is broken: measured again");
    }

    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
