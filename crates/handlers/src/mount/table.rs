//! What mounts there are: `mountinfo` (`proc_pid_mountinfo(5)`).

use std::ffi::CString;

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) parent: u64,
    /// What of its file system it shows.
    pub(super) root: Vec<u8>,
    /// Where it is, from the namespace's root.
    pub(super) at: Vec<u8>,
    pub(super) read_only: bool,
    /// Whether others see what is mounted on it.
    pub(super) is_shared: bool,
    /// The type of its file system.
    pub(super) kind: Vec<u8>,
    /// Whether it is a procfs that shows processes and nothing else (`subset=pid`).
    pub(super) has_processes_only: bool,
}

impl Line {
    /// Where it is, as a path.
    pub(super) fn path(&self) -> Option<CString> {
        CString::new(self.at.clone()).ok()
    }
}

/// All lines. One that makes no sense is as if it were not there; a path that is no text is another path.
pub(super) fn parse(table: &[u8]) -> Vec<Line> {
    String::from_utf8_lossy(table).split('\n').filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let (mount, file_system) = text.split_once(" - ")?;
    let mut of_file_system = file_system.split(' ');
    let kind = of_file_system.next()?.as_bytes().to_vec();
    let options = of_file_system.nth(1).unwrap_or_default();
    let has_processes_only = options.split(',').any(|option| option == "subset=pid");
    let mut fields = mount.split(' ');
    let number = fields.next()?.parse().ok()?;
    let parent = fields.next()?.parse().ok()?;
    let _device = fields.next()?;
    let root = unescaped(fields.next()?);
    let at = unescaped(fields.next()?);
    let read_only = fields.next()?.split(',').any(|flag| flag == "ro");
    let is_shared = fields.any(|field| field.starts_with("shared:"));
    Some(Line { number, parent, root, at, read_only, is_shared, kind, has_processes_only })
}

/// Blanks and backslashes are written as `\ooo`.
fn unescaped(field: &str) -> Vec<u8> {
    let mut parts = field.split('\\');
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.unwrap_or(b'\\'));
        let rest = if code.is_some() { &part[3..] } else { part };
        plain.extend_from_slice(rest.as_bytes());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let table = b"36 35 98:0 /m\\0401 /a\\134b rw,noatime shared:7 master:1 - ext3 /dev/root rw,x\n\
                      37 36 0:5 / /proc ro,nosuid - proc proc rw,subset=pid\n\
                      nonsense\n38 36 0:5 / /x rw master:7 propagate_from:2 - fuse.y y rw\n";
        let lines = parse(table);
        assert_eq!(lines.len(), 3);
        let first = &lines[0];
        assert_eq!((first.number, first.parent), (36, 35));
        assert_eq!((&first.root[..], &first.at[..]), (&b"/m 1"[..], &b"/a\\b"[..]));
        assert_eq!((first.read_only, first.is_shared, &first.kind[..]), (false, true, &b"ext3"[..]));
        assert_eq!((lines[1].read_only, lines[1].is_shared, &lines[1].kind[..]), (true, false, &b"proc"[..]));
        assert!(lines[1].has_processes_only && !first.has_processes_only);
        assert_eq!((lines[2].is_shared, &lines[2].kind[..]), (false, &b"fuse.y"[..]));
    }
}
