//! Three-valued logic over looks (Kleene's): unknown never becomes a verdict.
//!
//! Looks are taken one after the other and only for as long as they can still change the verdict; the evidence kept is that of
//! the parts that decide.

use super::evidence::Look;
use crate::history::event::Verdict;

/// Broken if any is broken, else unknown if any is unknown.
pub(super) fn all(looks: impl Iterator<Item = Look>) -> Look {
    fold(looks, Verdict::Broken, Verdict::Holds, "there was nothing to look at")
}

/// Holds if any holds, else unknown if any is unknown.
pub(super) fn any(looks: impl Iterator<Item = Look>) -> Look {
    fold(looks, Verdict::Holds, Verdict::Broken, "there was nothing to look at")
}

/// Holds and broken change places.
pub(super) fn not(look: Look) -> Look {
    let verdict = match look.verdict {
        Verdict::Holds => Verdict::Broken,
        Verdict::Broken => Verdict::Holds,
        Verdict::Unknown => Verdict::Unknown,
    };
    Look { verdict, evidence: look.evidence }
}

/// One look with the verdict `decisive` decides; else one unknown does; else all have the `other` verdict. Of nothing at all
/// nothing can be told.
fn fold(looks: impl Iterator<Item = Look>, decisive: Verdict, other: Verdict, nothing: &str) -> Look {
    let mut untold: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for look in looks {
        if look.verdict == decisive {
            return look;
        }
        match look.verdict {
            Verdict::Unknown => untold.push(look.evidence),
            Verdict::Holds | Verdict::Broken => seen.push(look.evidence),
        }
    }
    match (untold.is_empty(), seen.is_empty()) {
        (false, _) => Look::unknown(untold.join("; ")),
        (true, false) => Look::new(other, &seen.join("; ")),
        (true, true) => Look::unknown(nothing),
    }
}
