//! The near miss: which of the allowed words somebody probably meant. Owns the distance and its bound; refuses to know what
//! the words are for.

/// The allowed word nearest to `word`, if it is near enough to be a slip and not another thought.
pub fn nearest<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = plain(word);
    // A third of the letters wrong is another word; two slips in a short one are, too.
    let bound = (typed.chars().count() / 3).max(1);
    allowed
        .into_iter()
        .filter(|candidate| *candidate != word)
        .map(|candidate| (distance(&typed, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= bound || begins(&typed, &plain(candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Case and the choice between `-` and `_` are the commonest slips: they do not count.
fn plain(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

/// `cpu` for `cpu_units` or `memory` for `memory_mib`: one begins the other and is no mere letter or two.
fn begins(typed: &str, candidate: &str) -> bool {
    typed.len() >= 3 && candidate.len() >= 3 && (candidate.starts_with(typed) || typed.starts_with(candidate))
}

/// Least number of insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let keys = ["services", "secrets", "security", "memory_mib", "cpu", "per_zone"];
        for (typed, expected) in [
            ("servces", Some("services")),
            ("sevrices", Some("services")),
            ("Services", Some("services")),
            ("memory", Some("memory_mib")),
            ("per-zone", Some("per_zone")),
            ("cpus", Some("cpu")),
            ("banana", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, keys), expected, "{typed}");
        }
    }
}
