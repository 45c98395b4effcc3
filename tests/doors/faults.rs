//! The faults, in an order that a seed gives: each of them once before any comes again. Owns how long each lasts.

use std::sync::Mutex;
use std::time::Duration;

use e2e::apart::{Apart, Place};

/// SplitMix64: small, and good enough to choose.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    pub fn split(&mut self) -> Self {
        Self(self.roll())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    GatewayKilled,
    GatewayPaused,
    CoreKilled,
    CorePaused,
    RedisKilled,
    RedisEmptied,
    RedisPaused,
    DatabaseKilled,
    DatabasePaused,
    DoorKilled,
}

const ALL: [Fault; 10] = [
    Fault::GatewayKilled,
    Fault::GatewayPaused,
    Fault::CoreKilled,
    Fault::CorePaused,
    Fault::RedisKilled,
    Fault::RedisEmptied,
    Fault::RedisPaused,
    Fault::DatabaseKilled,
    Fault::DatabasePaused,
    Fault::DoorKilled,
];

/// Every fault once, shuffled, and again.
pub struct Order(Vec<Fault>);

impl Order {
    pub fn new(dice: &mut Dice) -> Self {
        let mut order = Self(Vec::new());
        order.fill(dice);
        order
    }

    fn fill(&mut self, dice: &mut Dice) {
        self.0 = ALL.to_vec();
        for place in (1..self.0.len()).rev() {
            self.0.swap(place, dice.below(place + 1));
        }
    }

    pub fn next(&mut self, dice: &mut Dice) -> Fault {
        if self.0.is_empty() {
            self.fill(dice);
        }
        self.0.pop().expect("filled above")
    }
}

fn rest(ms: usize) {
    // Faults have to last: this is the length of an outage, not a wait for something to happen.
    let until = std::time::Instant::now() + Duration::from_millis(ms as u64);
    while let Some(left) =
        until.checked_duration_since(std::time::Instant::now()).filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}

impl Fault {
    /// Some seconds in which it works, the fault, and its end.
    pub fn play(self, apart: &mut Apart, places: &Mutex<Vec<Place>>, dice: &mut Dice) {
        rest(700 + dice.below(1_500));
        let outage_ms = 200 + dice.below(1_800);
        let gateway = dice.below(apart.gateways.len());
        println!("{self:?} for {outage_ms} ms");
        match self {
            Self::GatewayKilled => {
                apart.gateways[gateway].kill();
                rest(outage_ms);
                apart.gateways[gateway].start_again().unwrap();
            }
            Self::GatewayPaused => {
                apart.gateways[gateway].pause();
                rest(outage_ms);
                apart.gateways[gateway].resume();
            }
            Self::CoreKilled => {
                apart.core.kill();
                rest(outage_ms);
                apart.core.start_again().unwrap();
            }
            Self::CorePaused => {
                apart.core.pause();
                rest(outage_ms);
                apart.core.resume();
            }
            Self::RedisKilled | Self::RedisEmptied => {
                apart.redis.kill();
                rest(outage_ms);
                apart.start_redis_again(self == Self::RedisKilled).unwrap();
            }
            Self::RedisPaused => {
                apart.redis.pause();
                rest(outage_ms);
                apart.redis.resume();
            }
            Self::DatabaseKilled => {
                apart.postgres.stop();
                rest(outage_ms);
                apart.postgres.start_again();
            }
            Self::DatabasePaused => {
                apart.postgres.pause();
                rest(outage_ms);
                apart.postgres.resume();
            }
            Self::DoorKilled => {
                let place = dice.below(places.lock().unwrap().len());
                places.lock().unwrap()[place].program.kill();
                rest(outage_ms);
                places.lock().unwrap()[place].program.start_again().unwrap();
            }
        }
        // Core ends when it finds no database at its start, as under an orchestrator, which starts it again.
        apart.core.keep_running().unwrap();
    }
}

/// Everything runs again.
pub fn heal(apart: &mut Apart, places: &Mutex<Vec<Place>>) {
    apart.postgres.resume();
    apart.redis.keep_running().unwrap();
    apart.core.keep_running().unwrap();
    for gateway in &mut apart.gateways {
        gateway.keep_running().unwrap();
    }
    for place in places.lock().unwrap().iter_mut() {
        place.program.keep_running().unwrap();
    }
}
