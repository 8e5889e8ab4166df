//! A look at pickles before they are read.
//!
//! The reader has limits for what a memo copies, but not for the names in it: a dictionary with one long key, fetched again and
//! again by two bytes each, takes memory that grows with the square of the file's length. So the opcodes are counted first,
//! without building anything (PEP 307, PEP 3154; Python's `pickletools` lists them).

/// The longest text that is a name.
const NAME: usize = 255;
/// The most bytes that long texts may take, were each copied by whatever copies.
const MAX_COPIED: u64 = 512 << 20;
/// Pickles that a file has in a row: a stream of PyTorch's before 1.6 begins with five. What follows are elements, which may
/// look like anything.
const PICKLES: usize = 5;

/// What follows an opcode.
enum Argument {
    /// So many bytes.
    Fixed(usize),
    /// So many lines.
    Lines(usize),
    /// A length of so many bytes, and as many bytes as it says.
    Counted(usize),
}

/// What one or more pickles in a row would copy at most, and that is refused.
///
/// # Errors
/// What was found, where it is too much. What is no pickle is none of this function's business.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let (mut rest, mut long, mut copies) = (bytes, 0u64, 0u64);
    let mut stops = 0;
    while let Some((&opcode, behind)) = rest.split_first() {
        // Fetched from the memo, doubled, or made by a call: a tensor, which gets all names above it.
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

/// What follows an opcode, if it is one.
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

/// The length of an argument's text, and what is behind it.
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

    /// A pickle of a dictionary with a key of so many letters, which is fetched so many times.
    fn fetched(letters: usize, times: usize) -> Vec<u8> {
        let key = [b"X", &(letters as u32).to_le_bytes()[..], &b"k".repeat(letters)].concat();
        [b"\x80\x02}", &key[..], b"Nsq\x00", &b"h\x00".repeat(times), b"."].concat()
    }

    #[test]
    fn what_copies_long_texts_often_is_refused() {
        assert!(check(&fetched(100_000, 5_000)).is_ok());
        assert!(check(&fetched(100_000, 6_000)).is_err());
        // Names are as long as names are.
        assert!(check(&fetched(255, 3_000_000)).is_ok());
        // In the second of two, and in the name of a class.
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
