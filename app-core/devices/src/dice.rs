//! Randomness from one number: the same number gives the same scene again.

use keyway_domain::time::UnixMs;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 up to, not including, `end`; zero for an empty range.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll().checked_rem(end).unwrap_or(0)
    }

    /// True once in `n`; never for zero.
    pub fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.below(n) == 0
    }

    /// The random part of an id.
    pub fn bytes(&mut self) -> [u8; 10] {
        let wide = u128::from(self.roll()) << 64 | u128::from(self.roll());
        let wide = wide.to_be_bytes();
        std::array::from_fn(|place| wide[place])
    }

    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        for part in seed.chunks_exact_mut(8) {
            part.copy_from_slice(&self.roll().to_be_bytes());
        }
        // A P-256 key has to be below the order of the curve; a leading zero byte makes sure of it.
        seed[0] = 0;
        seed
    }

    pub fn nonce(&mut self) -> String {
        format!("{:016x}{:016x}", self.roll(), self.roll())
    }
}

/// An instant that scenes begin at: 2027-03-01T09:00:00Z, a Monday.
pub const MORNING: UnixMs = UnixMs(1_803_891_600_000);
