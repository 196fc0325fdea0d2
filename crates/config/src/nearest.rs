//! The known name nearest to a mistyped one, for "Did you mean ...?".
//!
//! Runs in: the Apache parent, when a message is written.

/// The one of `known` that `typed` most probably means, or `None` when none is near enough. Of
/// equally near ones the first.
pub fn nearest<'a, T: AsRef<[u8]> + ?Sized>(
    typed: &[u8],
    known: impl IntoIterator<Item = &'a T>,
) -> Option<&'a T> {
    // A third of the letters may be wrong; in a short name, one.
    let near_enough = (typed.len() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(typed, name.as_ref()), name))
        .filter(|(distance, name)| *distance <= near_enough && *distance < name.as_ref().len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters have to be put in, taken out, replaced or swapped with their neighbour to
/// make `b` out of `a`; the case of letters does not count.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(!x.eq_ignore_ascii_case(y));
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("shop", "shop", 0),
            ("shop", "SHOP", 0),
            ("shpo", "shop", 1),
            ("shp", "shop", 1),
            ("shopp", "shop", 1),
            ("chop", "shop", 1),
            ("blog", "shop", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), edits, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["shop", "blog", "intranet"];
        for (typed, meant) in [
            ("shpo", Some("shop")),
            ("intarnet", Some("intranet")),
            ("intra", None),
            ("blgo", Some("blog")),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed.as_bytes(), known), meant, "{typed}");
        }
        assert_eq!(nearest(b"a", ["b"]), None);
    }
}
