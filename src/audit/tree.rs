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

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{Edge, Hash, leaf, node};

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
    }
}
