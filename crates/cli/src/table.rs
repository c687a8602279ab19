//! Tables for people.

use std::fmt;

/// Which side of its column a cell is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows of cells, written with aligned columns.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings, numbers on the right.
    pub(crate) fn new<const N: usize>(headings: [(&str, Side); N]) -> Self {
        Self {
            sides: headings.iter().map(|(_, side)| *side).collect(),
            rows: vec![headings.iter().map(|(heading, _)| (*heading).to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<_> = (0..self.sides.len()).map(|column| width(column).unwrap_or_default()).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, side), width) in row.iter().zip(&self.sides).zip(&widths) {
                let gap = if line.is_empty() { "" } else { "  " };
                let padding = " ".repeat(width - cell.chars().count());
                match side {
                    Side::Left => line.extend([gap, cell, &padding]),
                    Side::Right => line.extend([gap, &padding, cell]),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("name", Side::Left), ("count", Side::Right), ("", Side::Left)]);
        table.row(["ä".to_owned(), "1234567".to_owned(), String::new()]);
        table.row(["longer".to_owned(), "1".to_owned(), "x".to_owned()]);
        assert_eq!(table.to_string(), "name      count\nä       1234567\nlonger        1  x\n");
    }
}
