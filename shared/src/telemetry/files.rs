//! A log file that is turned by size: `combined.log` becomes `combined.log.1`, and so on; the oldest goes.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

/// Files of one name, the current one counted.
pub(super) const KEPT: u32 = 5;

pub(super) struct RotatingFile {
    path: PathBuf,
    bytes_max: u64,
    /// None after an error: opened again with the next line.
    file: Option<File>,
    bytes: u64,
}

impl RotatingFile {
    pub fn open(path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let mut this = Self { path, bytes_max, file: None, bytes: 0 };
        this.reopen()?;
        Ok(this)
    }

    /// A whole line or, where that fails, nothing that counts: what is on disk of it ends with the next line's start.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.bytes_max {
            self.turn()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.reopen()?,
        };
        if let Err(error) = file.write_all(line) {
            self.file = None;
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<&mut File> {
        let file = File::options().create(true).append(true).open(&self.path)?;
        self.bytes = file.metadata()?.len();
        Ok(self.file.insert(file))
    }

    fn turn(&mut self) -> io::Result<()> {
        self.file = None;
        for number in (1..KEPT).rev() {
            let from = if number == 1 { self.path.clone() } else { self.numbered(number - 1) };
            match std::fs::rename(from, self.numbered(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.reopen().map(|_| ())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_turns_by_size_and_keeps_five() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("combined.log");
        let mut file = RotatingFile::open(path.clone(), 25).unwrap();
        for number in 0..14 {
            file.write(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        // Two lines of ten bytes fit.
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(path.clone()), "line 0012\nline 0013\n");
        assert_eq!(read(file.numbered(1)), "line 0010\nline 0011\n");
        assert_eq!(read(file.numbered(4)), "line 0004\nline 0005\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), KEPT as usize);
    }

    #[test]
    fn it_goes_on_where_it_was_and_takes_a_line_longer_than_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("error.log");
        RotatingFile::open(path.clone(), 20).unwrap().write(b"before\n").unwrap();
        let mut file = RotatingFile::open(path.clone(), 20).unwrap();
        file.write(b"after\n").unwrap();
        file.write(&[b'x'; 50]).unwrap();
        assert_eq!(std::fs::read_to_string(file.numbered(1)).unwrap(), "before\nafter\n");
        assert_eq!(path.metadata().unwrap().len(), 50);
    }
}
