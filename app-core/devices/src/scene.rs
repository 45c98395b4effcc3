//! A scene: doors and phones with their shells, a small core, links with faults, and one simulated true time that
//! nobody in it knows. Owns the order of things that happen; the same number gives the same scene again.

mod shell;
mod world;

pub use shell::{CrashPoint, DoorShell};
pub use world::{Made, make};

use crate::dice::{Dice, MORNING};
use crate::door::{Call, Input};
use crate::flash::Flash;
use crate::link::{Faults, Way, arrivals, bend};
use crate::phone::PhoneCore;
use crate::small_core::{Publication, SmallCore};
use keyway_domain::credential::Digest;
use keyway_domain::decision::Pin;
use keyway_domain::id::{DeviceId, DoorId, RequestId};
use keyway_domain::message::publication::{CommandChange, ToDevice, ToPerson};
use keyway_domain::time::UnixMs;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Where a message goes.
#[derive(Debug, Clone)]
enum Arrival {
    AtCore { from: Party, call: Call },
    AtDoor { door: usize, input: Input },
    ReplyAtPhone { phone: usize, id: u64, payload: Vec<u8> },
    PushAtPhone { phone: usize, change: CommandChange },
    DoorTimer { door: usize },
    PhoneTimer { phone: usize },
    CoreTick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    Door(usize),
    Phone(usize),
}

/// Core looks at its open commands this often.
const CORE_TICK_MS: u64 = 250;
/// Arrivals that may be under way at once; a scene that makes more than this runs away.
const UNDER_WAY_MAX: usize = 4_000_000;

pub struct Scene<F> {
    pub now: UnixMs,
    pub core: SmallCore,
    pub doors: Vec<DoorShell<F>>,
    pub phones: Vec<PhoneCore>,
    /// The link of every door and phone.
    pub faults: Faults,
    dice: Dice,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    under_way: HashMap<u64, Arrival>,
    next_arrival: u64,
    by_device: HashMap<DeviceId, usize>,
}

impl<F: Flash> Scene<F> {
    pub fn new(core: SmallCore, doors: Vec<DoorShell<F>>, phones: Vec<PhoneCore>, seed: u64) -> Self {
        let by_device = doors.iter().enumerate().map(|(place, door)| (door.identity.device, place)).collect();
        let mut scene = Self {
            now: MORNING,
            core,
            doors,
            phones,
            faults: Faults::NONE,
            dice: Dice(seed),
            queue: BinaryHeap::new(),
            under_way: HashMap::new(),
            next_arrival: 0,
            by_device,
        };
        scene.later(CORE_TICK_MS, Arrival::CoreTick);
        scene
    }

    fn later(&mut self, delay_ms: u64, arrival: Arrival) {
        assert!(self.under_way.len() < UNDER_WAY_MAX, "the scene runs away");
        let id = self.next_arrival;
        self.next_arrival += 1;
        self.queue.push(Reverse((self.now.0 + delay_ms, id)));
        self.under_way.insert(id, arrival);
    }

    pub fn connect(&mut self, door: usize) {
        self.at_door(door, Input::Connected);
    }

    pub fn disconnect(&mut self, door: usize) {
        self.at_door(door, Input::Disconnected);
    }

    pub fn tap(&mut self, door: usize, shown: Digest, pin: Option<Pin>) {
        self.at_door(door, Input::Tap { shown, pin });
    }

    /// Power fails and comes back: the volatile half of the door is gone.
    pub fn power_cycle(&mut self, door: usize) {
        let entropy = self.dice.roll();
        self.doors[door].restart(entropy, self.now);
    }

    pub fn unlock(&mut self, phone: usize, door: DoorId, within_ms: u64) -> Option<RequestId> {
        let random = self.dice.bytes();
        let (request, call) = self.phones[phone].unlock(door, self.now, within_ms, random)?;
        self.send_up(Party::Phone(phone), call);
        self.later(5_000, Arrival::PhoneTimer { phone });
        Some(request)
    }

    fn at_door(&mut self, door: usize, input: Input) {
        let shell = &mut self.doors[door];
        let calls = shell.give(input, self.now);
        if shell.is_down() {
            // The watchdog brings it back; it does not know what it was doing.
            let entropy = self.dice.roll();
            self.doors[door].restart(entropy, self.now);
            self.later(1_500, Arrival::AtDoor { door, input: Input::Connected });
        }
        for call in calls {
            self.send_up(Party::Door(door), call);
        }
        if let Some(wait_ms) = self.doors[door].timer_to_set(self.now) {
            self.later(wait_ms, Arrival::DoorTimer { door });
        }
    }

    fn send_up(&mut self, from: Party, call: Call) {
        for delay_ms in arrivals(&self.faults, Way::Up, &mut self.dice) {
            let mut call = call.clone();
            bend(&self.faults, &mut call.payload, &mut self.dice);
            self.later(delay_ms, Arrival::AtCore { from, call });
        }
    }

    /// Everything that happens within this time.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now.0 + ms;
        while let Some(Reverse((at, id))) = self.queue.peek().copied().filter(|next| next.0.0 <= end) {
            self.queue.pop();
            self.now = UnixMs(at);
            if let Some(arrival) = self.under_way.remove(&id) {
                self.happen(arrival);
            }
            self.publish();
        }
        self.now = UnixMs(end);
    }

    fn happen(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::AtCore { from, call } => {
                let device = match from {
                    Party::Door(door) => Some(self.doors[door].identity.device),
                    Party::Phone(_) => None,
                };
                if let Some(payload) = self.core.call(device, call.method, &call.payload, self.now) {
                    self.reply(from, call.id, payload);
                }
            }
            Arrival::AtDoor { door, input } => {
                // What was meant for the door before its link broke does not arrive after.
                if self.doors[door].is_connected() || input == Input::Connected {
                    self.at_door(door, input);
                }
            }
            Arrival::ReplyAtPhone { phone, id, payload } => self.phones[phone].replied(id, Some(&payload)),
            Arrival::PushAtPhone { phone, change } => self.phones[phone].pushed(&ToPerson::Command(change)),
            Arrival::DoorTimer { door } => {
                self.doors[door].timer_went();
                self.at_door(door, Input::Timer);
            }
            Arrival::PhoneTimer { phone } => {
                let calls = self.phones[phone].repeat(self.now);
                if !calls.is_empty() {
                    self.later(5_000, Arrival::PhoneTimer { phone });
                }
                calls.into_iter().for_each(|call| self.send_up(Party::Phone(phone), call));
            }
            Arrival::CoreTick => {
                self.core.tick(self.now);
                self.later(CORE_TICK_MS, Arrival::CoreTick);
            }
        }
    }

    fn reply(&mut self, to: Party, id: u64, payload: Vec<u8>) {
        for delay_ms in arrivals(&self.faults, Way::Down, &mut self.dice) {
            let mut payload = payload.clone();
            bend(&self.faults, &mut payload, &mut self.dice);
            let arrival = match to {
                Party::Door(door) => {
                    Arrival::AtDoor { door, input: Input::Reply { id, payload: Some(payload) } }
                }
                Party::Phone(phone) => Arrival::ReplyAtPhone { phone, id, payload },
            };
            self.later(delay_ms, arrival);
        }
    }

    fn publish(&mut self) {
        for publication in self.core.take_publications() {
            match publication {
                Publication::Device(device, push) => self.push(device, push),
                Publication::Lockdown(statement) => {
                    for door in 0..self.doors.len() {
                        self.push_down(door, Input::Lockdown(statement.clone()));
                    }
                }
                Publication::Person(key, change) => {
                    let Some(phone) = self.phones.iter().position(|phone| phone.key.id == key) else {
                        continue;
                    };
                    for delay_ms in arrivals(&self.faults, Way::Down, &mut self.dice) {
                        self.later(delay_ms, Arrival::PushAtPhone { phone, change: change.clone() });
                    }
                }
            }
        }
    }

    fn push(&mut self, device: DeviceId, push: ToDevice) {
        let Some(mut door) = self.by_device.get(&device).copied() else { return };
        if self.dice.one_in(self.faults.cross_one_in) {
            door = self.dice.below(self.doors.len() as u64) as usize;
        }
        self.push_down(door, Input::Push(push));
    }

    fn push_down(&mut self, door: usize, input: Input) {
        for delay_ms in arrivals(&self.faults, Way::Down, &mut self.dice) {
            let mut input = input.clone();
            let (Input::Push(ToDevice::Command { command: jws } | ToDevice::Revocation { revocation: jws })
            | Input::Lockdown(jws)) = &mut input
            else {
                self.later(delay_ms, Arrival::AtDoor { door, input });
                continue;
            };
            let mut bytes = std::mem::take(jws).into_bytes();
            bend(&self.faults, &mut bytes, &mut self.dice);
            *jws = String::from_utf8_lossy(&bytes).into_owned();
            self.later(delay_ms, Arrival::AtDoor { door, input });
        }
    }
}
