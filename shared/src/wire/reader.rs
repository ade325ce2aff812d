//! Reading with a bound: every step says how much it takes, and gets it or an error.

use super::{MESSAGE_MAX, VERSION, WireError};
use bytes::{Buf, Bytes};
use uuid::Uuid;

/// What is left of a message.
pub struct Reader(Bytes);

impl Reader {
    /// Past the version.
    pub fn new(message: Bytes) -> Result<Self, WireError> {
        if message.len() > MESSAGE_MAX {
            return Err(WireError::TooLarge);
        }
        let mut reader = Self(message);
        match reader.u8()? {
            VERSION => Ok(reader),
            other => Err(WireError::Version(other)),
        }
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.need(8)?;
        Ok(self.0.get_u64())
    }

    pub fn i64(&mut self) -> Result<i64, WireError> {
        self.need(8)?;
        Ok(self.0.get_i64())
    }

    pub fn id(&mut self) -> Result<Uuid, WireError> {
        self.need(16)?;
        Ok(Uuid::from_u128(self.0.get_u128()))
    }

    /// The same memory, no copy.
    pub fn bytes(&mut self, count: usize) -> Result<Bytes, WireError> {
        self.need(count)?;
        Ok(self.0.split_to(count))
    }

    /// A part with its length in front.
    pub fn part(&mut self) -> Result<Reader, WireError> {
        let length = self.u32()? as usize;
        Ok(Self(self.bytes(length)?))
    }

    /// How many follow, each of at least `size` bytes: more than can be there is an error before anything is reserved.
    pub fn count(&mut self, size: usize) -> Result<usize, WireError> {
        let count = self.u32()? as usize;
        match count.checked_mul(size) {
            Some(least) if least <= self.0.len() => Ok(count),
            _ => Err(WireError::Short),
        }
    }

    pub fn ids<T>(&mut self, of: impl Fn(Uuid) -> T) -> Result<Vec<T>, WireError> {
        (0..self.count(16)?).map(|_| self.id().map(&of)).collect()
    }

    pub fn rest(self) -> Bytes {
        self.0
    }

    fn need(&self, count: usize) -> Result<(), WireError> {
        if self.0.len() < count { Err(WireError::Short) } else { Ok(()) }
    }
}
