//! The Merkle tree over the entries, as RFC 6962 (section 2.1) hashes it: a leaf is the bytes of a line without its newline. Only the
//! right edge is kept, so a log of any length takes the memory of its logarithm. Pure.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// The hash of a leaf or of a part of the tree.
pub type Hash = [u8; 32];

/// The hash of one entry's line.
pub fn leaf(line: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(line).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The right edge of a tree: the roots of its largest whole parts, the leftmost first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edge {
    size: u64,
    parts: Vec<Hash>,
}

impl Edge {
    /// The edge of a tree of this many leaves; none if that many leaves do not have so many parts.
    pub fn of(size: u64, parts: Vec<Hash>) -> Option<Self> {
        (parts.len() as u32 == size.count_ones()).then_some(Self { size, parts })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the largest whole parts, the leftmost first.
    pub fn parts(&self) -> &[Hash] {
        &self.parts
    }

    /// The roots of the largest whole parts, each with where it begins and ends.
    fn whole_parts(&self) -> impl Iterator<Item = ((u64, u64), Hash)> {
        whole(self.size).zip(self.parts.iter().copied())
    }

    /// Adds a leaf at the right.
    pub fn push(&mut self, leaf: Hash) {
        let mut added = leaf;
        // Each part that is as large as what was added makes a larger one with it.
        for _ in 0..self.size.trailing_ones() {
            let left = self.parts.pop().expect("there is a part for each bit that is set");
            added = node(&left, &added);
        }
        self.parts.push(added);
        self.size += 1;
    }

    /// The root of the whole tree. That of no leaves is the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut parts = self.parts.iter().rev();
        let Some(last) = parts.next() else { return Sha256::digest([]).into() };
        parts.fold(*last, |right, left| node(left, &right))
    }
}

/// Where a part of the tree from `low` on, of `size` leaves (two at least), has its left half's end: the greatest power of two below the size.
fn half(low: u64, size: u64) -> u64 {
    low + (1 << (63 - (size - 1).leading_zeros()))
}

/// What is known of the first leaves of a tree when they themselves are not at hand: the right edge of the tree that they make, some of
/// them, and the roots of the largest parts in which none of these is. With that any larger tree can be gone on with, and these leaves can
/// be proved in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    edge: Edge,
    /// The parts that are known, by where they begin and end.
    parts: BTreeMap<(u64, u64), Hash>,
    /// The places of the leaves that are known, ascending.
    chosen: Vec<u64>,
}

impl Known {
    /// From an edge, the leaves that are known, each with its place, ascending, and the proof that leads from them to the parts of the edge
    /// in which they are ([`Known::proof`]). None if it does not, or has too many hashes or too few.
    pub fn of(edge: Edge, leaves: &[(u64, Hash)], proof: &[Hash]) -> Option<Self> {
        let mut known = Self { chosen: leaves.iter().map(|(at, _)| *at).collect(), ..Self::default() };
        let mut proof = proof.iter().copied();
        let is_ascending = known.chosen.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ascending || known.chosen.last().is_some_and(|last| *last >= edge.size) {
            return None;
        }
        for ((low, high), part) in edge.whole_parts() {
            let from = known.chosen.partition_point(|at| *at < low);
            let to = known.chosen.partition_point(|at| *at < high);
            let root = if from == to { part } else { known.climb((low, high), &leaves[from..to], &mut proof)? };
            if root != part {
                return None;
            }
            known.parts.insert((low, high), part);
        }
        known.edge = edge;
        proof.next().is_none().then_some(known)
    }

    /// The root of a part, from the leaves in it and the proof; what is met on the way is known then.
    fn climb(
        &mut self,
        (low, high): (u64, u64),
        leaves: &[(u64, Hash)],
        proof: &mut impl Iterator<Item = Hash>,
    ) -> Option<Hash> {
        let root = match leaves {
            [] => proof.next()?,
            [(_, leaf)] if high - low == 1 => *leaf,
            leaves => {
                let middle = half(low, high - low);
                let (before, behind) = leaves.split_at(leaves.partition_point(|(at, _)| *at < middle));
                let left = self.climb((low, middle), before, proof)?;
                node(&left, &self.climb((middle, high), behind, proof)?)
            }
        };
        self.parts.insert((low, high), root);
        Some(root)
    }

    /// The right edge of the tree that the first leaves make.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Works out the proof of [`Known::of`] for a larger tree, of this size: that of the leaves that are known, and of these others, which
    /// come after them. `leaves` gives all that come after the first ones.
    ///
    /// # Errors
    /// Those of `leaves`.
    pub fn proof<E>(
        &self,
        size: u64,
        others: &[u64],
        leaves: &mut impl FnMut() -> Result<Hash, E>,
    ) -> Result<(Edge, Vec<Hash>), E> {
        let chosen = [&self.chosen, others].concat();
        let (mut proof, mut parts) = (Vec::new(), Vec::new());
        for (low, high) in whole(size) {
            let of_it = &chosen[chosen.partition_point(|at| *at < low)..chosen.partition_point(|at| *at < high)];
            parts.push(match of_it {
                [] => self.whole_of((low, high), leaves)?,
                some => walk(self, (low, high), some, leaves, &mut proof)?,
            });
        }
        let edge = Edge::of(size, parts).expect("there is a part for each bit that is set");
        Ok((edge, proof))
    }

    /// The root of a part in which no leaf is chosen.
    fn whole_of<E>(&self, (low, high): (u64, u64), leaves: &mut impl FnMut() -> Result<Hash, E>) -> Result<Hash, E> {
        if low < high && high <= self.edge.size {
            let known = self.parts.get(&(low, high));
            return Ok(*known.expect("each part of a larger tree that ends here is one that is known, or of one"));
        }
        let parts = self.edge.whole_parts().filter(|((from, _), _)| *from >= low).map(|(_, part)| part);
        let mut edge = match self.edge.size.checked_sub(low) {
            Some(size) => Edge { size, parts: parts.collect() },
            None => Edge::default(),
        };
        for _ in low.max(self.edge.size)..high {
            edge.push(leaves()?);
        }
        Ok(edge.root())
    }
}

/// The root of a part of the tree, and the proof of the chosen leaves in it.
fn walk<E>(
    known: &Known,
    (low, high): (u64, u64),
    chosen: &[u64],
    leaves: &mut impl FnMut() -> Result<Hash, E>,
    proof: &mut Vec<Hash>,
) -> Result<Hash, E> {
    if chosen.is_empty() {
        let root = known.whole_of((low, high), leaves)?;
        proof.push(root);
        return Ok(root);
    }
    if high - low == 1 {
        return match known.parts.get(&(low, high)) {
            Some(leaf) => Ok(*leaf),
            None => leaves(),
        };
    }
    let middle = half(low, high - low);
    let (before, behind) = chosen.split_at(chosen.partition_point(|at| *at < middle));
    let left = walk(known, (low, middle), before, leaves, proof)?;
    Ok(node(&left, &walk(known, (middle, high), behind, leaves, proof)?))
}

/// Where the largest whole parts of a tree of this size begin and end, the leftmost first.
fn whole(size: u64) -> impl Iterator<Item = (u64, u64)> {
    let bits = (0..u64::BITS).rev().map(|bit| 1_u64 << bit).filter(move |part| size & part != 0);
    bits.scan(0, |low, part| {
        let begins = *low;
        *low += part;
        Some((begins, *low))
    })
}

/// The proof that chosen leaves are in a tree: the roots of the largest parts in which none of them is, from the left to the right. With
/// them and the leaves themselves [`root_of`] works out the root. It holds the audit path of each leaf (RFC 6962, section 2.1.1), what
/// several of them share only once. Of the leaves that come first and are not at hand, all that are `known` are chosen; `others` are the
/// places of those that come after them, the first of all being 0, ascending. `leaves` gives all that come after. Gives the root as well.
///
/// # Errors
/// Those of `leaves`.
pub fn prove<E>(
    size: u64,
    known: &Known,
    others: &[u64],
    leaves: &mut impl FnMut() -> Result<Hash, E>,
) -> Result<(Hash, Vec<Hash>), E> {
    let chosen = [&known.chosen, others].concat();
    let mut proof = Vec::new();
    let root = walk(known, (0, size), &chosen, leaves, &mut proof)?;
    Ok((root, proof))
}

/// The root of a tree of this size, from some of its leaves, each with its place, ascending, and the proof of [`prove`]. Takes them one by
/// one, so a proof of any length takes no memory. None if the proof has too few hashes; what it has too many is left.
pub fn root_of<L: Iterator<Item = (u64, Hash)>>(
    size: u64,
    leaves: &mut std::iter::Peekable<L>,
    proof: &mut impl Iterator<Item = Hash>,
) -> Option<Hash> {
    fn climb<L: Iterator<Item = (u64, Hash)>>(
        (low, high): (u64, u64),
        leaves: &mut std::iter::Peekable<L>,
        proof: &mut impl Iterator<Item = Hash>,
    ) -> Option<Hash> {
        if leaves.peek().is_none_or(|(at, _)| *at >= high) {
            return proof.next();
        }
        if high - low <= 1 {
            return leaves.next().map(|(_, leaf)| leaf);
        }
        let middle = half(low, high - low);
        let left = climb((low, middle), leaves, proof)?;
        Some(node(&left, &climb((middle, high), leaves, proof)?))
    }
    climb((0, size), leaves, proof)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{Edge, Hash, Known, leaf, node, prove, root_of};

    /// RFC 6962, section 2.1, word for word.
    fn tree_hash(lines: &[Vec<u8>]) -> Hash {
        use sha2::Digest as _;
        match lines {
            [] => sha2::Sha256::digest([]).into(),
            [line] => leaf(line),
            lines => {
                let mut k = 1;
                while k * 2 < lines.len() {
                    k *= 2;
                }
                node(&tree_hash(&lines[..k]), &tree_hash(&lines[k..]))
            }
        }
    }

    fn hex(hash: Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn roots_are_those_of_the_known_test_vectors() {
        // The inputs and roots that the reference implementation of certificate transparency tests with.
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut edge = Edge::default();
        assert_eq!(hex(edge.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for input in &inputs[..1] {
            edge.push(leaf(input));
        }
        assert_eq!(hex(edge.root()), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        for input in &inputs[1..] {
            edge.push(leaf(input));
        }
        assert_eq!(hex(edge.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    proptest! {
        #[test]
        fn the_edge_gives_the_root_of_the_whole_tree(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..70)) {
            let mut edge = Edge::default();
            for (at, line) in lines.iter().enumerate() {
                prop_assert_eq!(edge.root(), tree_hash(&lines[..at]));
                edge.push(leaf(line));
            }
            prop_assert_eq!(edge.root(), tree_hash(&lines));
            let again = Edge::of(edge.size(), edge.parts().to_vec());
            prop_assert_eq!(again, Some(edge));
        }

        #[test]
        fn a_proof_leads_to_the_root_and_one_with_another_leaf_place_or_hash_does_not(
            size in 1_u64..60,
            picks in prop::collection::btree_set(0_u64..60, 1..20),
        ) {
            let all: Vec<Hash> = (0..size).map(|at| leaf(&at.to_be_bytes())).collect();
            let mut edge = Edge::default();
            all.iter().for_each(|leaf| edge.push(*leaf));
            let chosen: Vec<u64> = picks.into_iter().filter(|at| *at < size).collect();
            let mut rest = all.iter().copied();
            let (root, proof) = prove::<()>(size, &Known::default(), &chosen, &mut || rest.next().ok_or(())).unwrap();
            prop_assert_eq!(root, edge.root());
            let lead = |leaves: &[(u64, Hash)], proof: &[Hash]| {
                let mut proof = proof.iter().copied();
                let root = root_of(size, &mut leaves.iter().copied().peekable(), &mut proof);
                root.filter(|_| proof.next().is_none())
            };
            let leaves: Vec<(u64, Hash)> = chosen.iter().map(|at| (*at, all[usize::try_from(*at).unwrap()])).collect();
            prop_assert_eq!(lead(&leaves, &proof), Some(root));
            for at in 0..leaves.len() {
                let mut other = leaves.clone();
                other[at].1[0] ^= 1;
                assert_ne!(lead(&other, &proof), Some(root));
                other.remove(at);
                assert_ne!(lead(&other, &proof), Some(root));
            }
            for at in 0..proof.len() {
                let mut other = proof.clone();
                other[at][31] ^= 1;
                assert_ne!(lead(&leaves, &other), Some(root));
                other.remove(at);
                assert_ne!(lead(&leaves, &other), Some(root));
            }
            assert_eq!(lead(&leaves, &[&proof[..], &[root]].concat()), None);
        }

        #[test]
        fn p08_a_tree_of_which_the_first_leaves_are_known_by_their_edge_alone_gives_the_same_proofs(
            cuts in prop::collection::vec(1_u64..40, 1..5),
            picks in prop::collection::btree_set(0_u64..160, 1..24),
        ) {
            let mut known = Known::default();
            let size: u64 = cuts.iter().sum();
            let all: Vec<Hash> = (0..size).map(|at| leaf(&at.to_be_bytes())).collect();
            for cut in cuts {
                let (from, to) = (known.edge().size(), known.edge().size() + cut);
                let others: Vec<u64> = picks.iter().copied().filter(|at| (from..to).contains(at)).collect();
                let rest = || all[usize::try_from(from).unwrap()..].iter().copied();
                let whole: Vec<u64> = picks.iter().copied().filter(|at| *at < to).collect();
                let mut every = all.iter().copied();
                let expected = prove::<()>(to, &Known::default(), &whole, &mut || every.next().ok_or(())).unwrap();
                let mut leaves = rest();
                let found = prove::<()>(to, &known, &others, &mut || leaves.next().ok_or(())).unwrap();
                prop_assert_eq!(&found, &expected);
                let mut leaves = rest();
                let (edge, proof) = known.proof::<()>(to, &others, &mut || leaves.next().ok_or(())).unwrap();
                prop_assert_eq!(edge.root(), expected.0);
                let chosen: Vec<(u64, Hash)> = whole.iter().map(|at| (*at, all[usize::try_from(*at).unwrap()])).collect();
                for at in 0..chosen.len() {
                    let mut other = chosen.clone();
                    other[at].1[0] ^= 1;
                    prop_assert_eq!(Known::of(edge.clone(), &other, &proof), None);
                }
                for at in 0..proof.len() {
                    let mut other = proof.clone();
                    other[at][0] ^= 1;
                    prop_assert_eq!(Known::of(edge.clone(), &chosen, &other), None);
                }
                prop_assert_eq!(Known::of(edge.clone(), &chosen, &[&proof[..], &[[0; 32]]].concat()), None);
                known = Known::of(edge, &chosen, &proof).unwrap();
            }
        }
    }
}
