//! Checks pickles before they are read.
//!
//! The reader limits the copies of a memo, but not the names in it. If a dictionary has one long key that is
//! fetched again and again, at two bytes per fetch, its memory grows with the square of the file's length. So this
//! module first counts the opcodes, without building any values (PEP 307, PEP 3154; Python's `pickletools` lists
//! the opcodes).

/// The longest text that counts as a name, in bytes.
const NAME: usize = 255;
/// The maximum number of bytes for copies of long texts, if every opcode that copies copied all of them.
const MAX_COPIED: u64 = 512 << 20;
/// The number of pickles in a row to check: PyTorch's streams before 1.6 begin with five. The elements follow,
/// which may look like anything.
const PICKLES: usize = 5;

/// The argument of an opcode.
enum Argument {
    /// A fixed number of bytes.
    Fixed(usize),
    /// A number of lines.
    Lines(usize),
    /// A length of this many bytes, followed by the number of bytes that it states.
    Counted(usize),
}

/// Refuses pickles in a row whose copies of long texts could take too much memory.
///
/// # Errors
/// Returns a message that describes the copies. Bytes that are not a pickle are not an error.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let (mut rest, mut long, mut copies) = (bytes, 0u64, 0u64);
    let mut stops = 0;
    while let Some((&opcode, behind)) = rest.split_first() {
        // These opcodes fetch from the memo, duplicate, or call. A call may make a tensor, which gets all names
        // above it.
        copies += u64::from(b"ghj2R\x81\x92b".contains(&opcode));
        stops += usize::from(opcode == b'.');
        let Some((text, next)) = argument(opcode).and_then(|argument| split(argument, behind)) else { break };
        long += if text > NAME { text as u64 } else { 0 };
        if long.saturating_mul(copies) > MAX_COPIED {
            return Err(format!(
                "a pickle whose {copies} copies of {long} bytes of long texts would take too much memory"
            ));
        }
        if stops == PICKLES {
            break;
        }
        rest = next;
    }
    Ok(())
}

/// Returns the kind of argument that follows an opcode, or `None` if the byte is not an opcode.
fn argument(opcode: u8) -> Option<Argument> {
    Some(match opcode {
        b'(' | b'.' | b'0' | b'1' | b'2' | b'N' | b'Q' | b'R' | b'a' | b'b' | b'd' | b'}' | b'e' | b'l' | b']'
        | b'o' => Argument::Fixed(0),
        b's' | b'u' | b't' | b')' | 0x81 | 0x85..=0x89 | 0x8f..=0x94 | 0x97 | 0x98 => Argument::Fixed(0),
        b'K' | b'h' | b'q' | 0x80 | 0x82 => Argument::Fixed(1),
        b'M' | 0x83 => Argument::Fixed(2),
        b'J' | b'j' | b'r' | 0x84 => Argument::Fixed(4),
        b'G' | 0x95 => Argument::Fixed(8),
        b'F' | b'I' | b'L' | b'P' | b'S' | b'V' | b'g' | b'p' => Argument::Lines(1),
        b'c' | b'i' => Argument::Lines(2),
        b'U' | b'C' | 0x8a | 0x8c => Argument::Counted(1),
        b'T' | b'X' | b'B' | 0x8b => Argument::Counted(4),
        0x8d | 0x8e | 0x96 => Argument::Counted(8),
        _ => return None,
    })
}

/// Returns the length of an argument's text, and the bytes after the argument.
fn split(argument: Argument, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (text, end) = match argument {
        Argument::Fixed(width) => (0, width),
        Argument::Lines(lines) => {
            let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(place, _)| place + 1);
            let end = ends.take(lines).nth(lines - 1)?;
            (end, end)
        }
        Argument::Counted(width) => {
            let mut length = [0; 8];
            length[..width].copy_from_slice(bytes.get(..width)?);
            let text = usize::try_from(u64::from_le_bytes(length)).ok()?;
            (text, width.checked_add(text)?)
        }
    };
    Some((text, bytes.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::check;

    /// Returns a pickle of a dictionary with a key of `letters` letters, which is fetched `times` times.
    fn fetched(letters: usize, times: usize) -> Vec<u8> {
        let key = [b"X", &(letters as u32).to_le_bytes()[..], &b"k".repeat(letters)].concat();
        [b"\x80\x02}", &key[..], b"Nsq\x00", &b"h\x00".repeat(times), b"."].concat()
    }

    #[test]
    fn what_copies_long_texts_often_is_refused() {
        assert!(check(&fetched(100_000, 5_000)).is_ok());
        assert!(check(&fetched(100_000, 6_000)).is_err());
        // Texts of up to 255 bytes do not count.
        assert!(check(&fetched(255, 3_000_000)).is_ok());
        // A long text in the second of two pickles, and in the name of a class.
        let two = [&b"\x80\x02N."[..], &fetched(100_000, 6_000)].concat();
        assert!(check(&two).is_err());
        let class = [&b"\x80\x02c"[..], &b"m".repeat(100_000), b"\nx\nq\x00", &b"h\x00".repeat(6_000)].concat();
        assert!(check(&class).is_err());
    }

    #[test]
    fn what_is_no_pickle_is_passed_over() {
        for bytes in
            [&b""[..], b"\xff", b"X\xff\xff\xff\xffab", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", b"cno end of line"]
        {
            assert!(check(bytes).is_ok());
        }
    }
}
