//! The container of a bundle: a tar archive (POSIX.1-1988, "ustar") in one single form. A header is believed only if it is, byte for byte,
//! the one that [`header`] makes for its name and size. So there are no links, no devices, no owners, no extensions, nothing between the
//! files and nothing behind them; whatever a tar could do besides holding files, this one cannot. Any `tar` opens it. Pure but for reading.

use std::io;

/// What everything in a tar is a multiple of, in bytes.
pub(super) const BLOCK: usize = 512;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 100;
/// The largest file: eleven octal digits.
pub(super) const LARGEST: u64 = 0o77_777_777_777;
/// The most files that are looked at.
pub(super) const MOST: usize = 100_000;

/// A file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name: at most one folder and a file, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Where its bytes begin.
    pub offset: u64,
    /// How many they are.
    pub size: u64,
}

/// Whether a name can be that of a file in a bundle: nothing that leads anywhere else.
pub(super) fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
    };
    name.len() <= LONGEST_NAME && name.split('/').count() <= 2 && name.split('/').all(part)
}

/// The header of a file. The name must be one by [`is_name`], and the size at most [`LARGEST`].
pub(super) fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    // The sum is taken with blanks in its own place.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// How many bytes lie behind a file of this size, up to the next block.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).expect("it is less than a block");
    if over == 0 { 0 } else { BLOCK - over }
}

/// What stands at the end.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The files of an archive of this length, in order. `read` fills the whole buffer from an offset.
///
/// # Errors
/// Inside: what is wrong with it. Outside: it cannot be read.
pub(super) fn index(
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    length: u64,
) -> io::Result<Result<Vec<Member>, String>> {
    let mut members: Vec<Member> = Vec::new();
    let mut at = 0_u64;
    let cut = |at: u64| Ok(Err(format!("it ends at byte {length}, and goes on from byte {at}: it was cut off")));
    loop {
        let mut block = [0; BLOCK];
        if length.saturating_sub(at) < BLOCK as u64 {
            return cut(at);
        }
        read(&mut block, at)?;
        if block == [0; BLOCK] {
            break;
        }
        let Some((name, size)) = understand(&block) else {
            return Ok(Err(format!("at byte {at} there is no file as a bundle holds it")));
        };
        let offset = at + BLOCK as u64;
        let padding = padding(size);
        let end = offset + size + padding as u64;
        if end > length {
            return cut(offset);
        }
        let mut behind = [0; BLOCK];
        read(&mut behind[..padding], offset + size)?;
        if behind != [0; BLOCK] {
            return Ok(Err(format!("there is something behind `{name}` that belongs to no file")));
        }
        if members.len() == MOST {
            return Ok(Err(format!("there are more than {MOST} files in it")));
        }
        members.push(Member { name, offset, size });
        at = end;
    }
    if length != at + END.len() as u64 {
        return Ok(Err(format!("it ends at byte {length}, and should at byte {}", at + END.len() as u64)));
    }
    let mut block = [0; BLOCK];
    read(&mut block, at + BLOCK as u64)?;
    Ok(if block == [0; BLOCK] { Ok(members) } else { Err("there is something behind its end".to_owned()) })
}

/// The name and size that a header says, if it is one.
fn understand(block: &[u8; BLOCK]) -> Option<(String, u64)> {
    let name = block[..LONGEST_NAME].split(|byte| *byte == 0).next()?;
    let name = std::str::from_utf8(name).ok().filter(|name| is_name(name))?;
    let size = std::str::from_utf8(&block[124..135]).ok()?;
    let size = u64::from_str_radix(size, 8).ok().filter(|size| *size <= LARGEST)?;
    (header(name, size) == *block).then(|| (name.to_owned(), size))
}

#[cfg(test)]
mod tests {
    use super::{END, Member, header, index, is_name, padding};

    fn made(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, content) in files {
            bytes.extend(header(name, content.len() as u64));
            bytes.extend(*content);
            bytes.extend(vec![0; padding(content.len() as u64)]);
        }
        bytes.extend(END);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Member>, String> {
        let read = |buffer: &mut [u8], at: u64| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        };
        index(read, bytes.len() as u64).unwrap()
    }

    #[test]
    fn what_was_written_is_read_and_any_tar_opens_it() {
        let files: [(&str, &[u8]); 3] = [("a", b"one"), ("folder/b.c", &[7; 512]), ("empty", b"")];
        let bytes = made(&files);
        let members = read(&bytes).unwrap();
        for (member, (name, content)) in members.iter().zip(files) {
            let at = usize::try_from(member.offset).unwrap();
            assert_eq!((member.name.as_str(), &bytes[at..at + content.len()]), (name, content));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, &bytes).unwrap();
        let listed = std::process::Command::new("tar").arg("tvf").arg(&path).output().unwrap();
        assert!(listed.status.success());
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.lines().count(), 3, "{listed}");
        assert!(listed.contains("-rw------- 0/0               3 1970-01-01"), "{listed}");
    }

    #[test]
    fn no_byte_of_the_container_can_be_another_and_nothing_can_be_cut_off_or_added() {
        let bytes = made(&[("a", b"one"), ("b", b"two")]);
        let content = [512..515, 1536..1539];
        for at in (0..bytes.len()).filter(|at| !content.iter().any(|range| range.contains(at))) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            // A name can become another name if its sum is made to fit too, which one byte does not.
            assert!(read(&changed).is_err(), "byte {at}");
        }
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "cut at {end}");
        }
        for more in [1, 511, 512, 1024] {
            assert!(read(&[bytes.clone(), vec![0; more]].concat()).is_err(), "{more} more");
        }
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in ["", "/a", "../a", "a/..", "a/../b", "a//b", "a/b/c", ".a", "a/.b", "A", "a b", "a\\b", "ä", "a/"]
        {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("transcripts/stop-monit-1.cast") && !is_name(&"a".repeat(101)));
    }
}
