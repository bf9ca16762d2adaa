//! The Merkle tree over the entries, as RFC 6962 (section 2.1) hashes it: a leaf is the bytes of a line without its newline. Only the
//! right edge is kept, so a log of any length takes the memory of its logarithm. Pure.

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

/// The proof that chosen leaves are in a tree: the roots of the largest parts in which none of them is, from the left to the right. With
/// them and the leaves themselves [`root_of`] works out the root. It holds the audit path of each leaf (RFC 6962, section 2.1.1), what
/// several of them share only once. `chosen` are the places of the leaves, the first 0, ascending; `leaves` gives all of the tree.
/// Gives the root as well.
pub fn prove<E>(
    size: u64,
    chosen: &[u64],
    leaves: &mut impl FnMut() -> Result<Hash, E>,
) -> Result<(Hash, Vec<Hash>), E> {
    fn walk<E>(
        (low, high): (u64, u64),
        chosen: &[u64],
        leaves: &mut impl FnMut() -> Result<Hash, E>,
        proof: &mut Vec<Hash>,
    ) -> Result<Hash, E> {
        if chosen.is_empty() {
            let mut edge = Edge::default();
            for _ in low..high {
                edge.push(leaves()?);
            }
            proof.push(edge.root());
            return Ok(edge.root());
        }
        if high - low == 1 {
            return leaves();
        }
        let middle = half(low, high - low);
        let (before, behind) = chosen.split_at(chosen.partition_point(|at| *at < middle));
        let left = walk((low, middle), before, leaves, proof)?;
        Ok(node(&left, &walk((middle, high), behind, leaves, proof)?))
    }
    let mut proof = Vec::new();
    let root = walk((0, size), chosen, leaves, &mut proof)?;
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

    use super::{Edge, Hash, leaf, node, prove, root_of};

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
            let (root, proof) = prove::<()>(size, &chosen, &mut || rest.next().ok_or(())).unwrap();
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
    }
}
