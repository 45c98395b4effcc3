//! The link between devices and core in memory: it delays, loses, repeats, reorders, is dead in one direction, and lies.
//! Owns what happens to bytes on the way; refuses to know keys, so that no lie of it can carry a signature.

use crate::dice::Dice;

/// How bad a link is. All zero is a perfect one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// One in so many is lost.
    pub lose_one_in: u64,
    pub repeat_one_in: u64,
    /// Uniform up to here, each message by itself: that reorders.
    pub delay_ms_max: u64,
    /// Nothing comes down, though the link looks alive.
    pub half_dead: bool,
    /// One in so many has bytes exchanged.
    pub bend_one_in: u64,
    /// One in so many commands goes to another device.
    pub cross_one_in: u64,
    /// One in so many downward messages is kept and sent again much later.
    pub replay_one_in: u64,
}

impl Faults {
    pub const SLOW: Self = Self { delay_ms_max: 3_000, ..Self::NONE };
    pub const LOSSY: Self = Self { lose_one_in: 4, repeat_one_in: 4, delay_ms_max: 400, ..Self::NONE };
    pub const HALF_DEAD: Self = Self { half_dead: true, ..Self::NONE };
    pub const LYING: Self = Self {
        bend_one_in: 3,
        cross_one_in: 3,
        replay_one_in: 3,
        repeat_one_in: 3,
        delay_ms_max: 800,
        ..Self::NONE
    };
    pub const NONE: Self = Self {
        lose_one_in: 0,
        repeat_one_in: 0,
        delay_ms_max: 0,
        half_dead: false,
        bend_one_in: 0,
        cross_one_in: 0,
        replay_one_in: 0,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// The delays after which copies of one message arrive; none if it is lost.
pub fn arrivals(faults: &Faults, way: Way, dice: &mut Dice) -> Vec<u64> {
    if faults.half_dead && way == Way::Down || dice.one_in(faults.lose_one_in) {
        return Vec::new();
    }
    // A millisecond at the least: nothing arrives before it is sent.
    let mut delays = vec![1 + dice.below(faults.delay_ms_max + 1)];
    if dice.one_in(faults.repeat_one_in) {
        delays.push(1 + dice.below(faults.delay_ms_max + 1));
    }
    if way == Way::Down && dice.one_in(faults.replay_one_in) {
        delays.push(1_000 + dice.below(120_000));
    }
    delays
}

/// Exchanges one byte, as a hostile relay would that cannot sign.
pub fn bend(faults: &Faults, bytes: &mut [u8], dice: &mut Dice) {
    if dice.one_in(faults.bend_one_in) && !bytes.is_empty() {
        let place = dice.below(bytes.len() as u64) as usize;
        bytes[place] = b"AZaz09.-"[dice.below(8) as usize];
    }
}
