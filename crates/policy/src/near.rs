/// How alike two words have to be (1 is equal) for the one to be a misspelling of the other.
const ALIKE: f64 = 0.7;

/// The candidate that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let likeness = |candidate: &str| strsim::normalized_damerau_levenshtein(&word, &candidate.to_lowercase());
    candidates
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "…"?`, or nothing where nothing is near.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        for (word, expected) in [
            ("directries", Some("directories")),
            ("Directories", Some("directories")),
            ("mdoes", Some("modes")),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, ["modes", "directories", "nodes"]), expected, "{word}");
        }
    }
}
