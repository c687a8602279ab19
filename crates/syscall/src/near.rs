/// How alike two words have to be (1 is equal) for the one to be a misspelling of the other.
const ALIKE: f64 = 0.7;
/// The longest word that is compared, in bytes; no name of a call, a field or an action is longer.
const MAX_WORD: usize = 64;

/// The candidate that `word` was probably meant to be: for error messages about names of system calls, and whatever
/// else stands in profiles and policies.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_WORD {
        return None;
    }
    let word = word.to_lowercase();
    let likeness = |candidate: &str| strsim::normalized_damerau_levenshtein(&word, &candidate.to_lowercase());
    candidates
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        for (word, candidates, expected) in [
            ("opneat", ["open", "openat", "openat2"], Some("openat")),
            ("mkdirs", ["mkdir", "mknod", "rmdir"], Some("mkdir")),
            ("OPEN", ["openat", "open", "read"], Some("open")),
            ("directries", ["modes", "directories", "nodes"], Some("directories")),
            ("mdoes", ["modes", "directories", "nodes"], Some("modes")),
            ("frobnicate", ["modes", "directories", "nodes"], None),
            ("", ["modes", "directories", "nodes"], None),
        ] {
            assert_eq!(nearest(word, candidates), expected, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(MAX_WORD + 1), ["a"]), None);
    }
}
