//! Which pairs of CPU and memory Fargate runs. Owns the table; refuses to know services.

use std::ops::RangeInclusive;

/// CPU units, memory in MiB, and the step between two sizes of memory.
struct Size {
    cpu: u32,
    memory_mib: RangeInclusive<u32>,
    step_mib: u32,
}

const GIB: u32 = 1024;

/// Source: ECS developer guide, "Fargate task definition considerations: task CPU and memory".
const SIZES: &[Size] = &[
    Size { cpu: 256, memory_mib: 512..=2 * GIB, step_mib: 0 }, // 512, 1024 and 2048 only
    Size { cpu: 512, memory_mib: GIB..=4 * GIB, step_mib: GIB },
    Size { cpu: 1024, memory_mib: 2 * GIB..=8 * GIB, step_mib: GIB },
    Size { cpu: 2048, memory_mib: 4 * GIB..=16 * GIB, step_mib: GIB },
    Size { cpu: 4096, memory_mib: 8 * GIB..=30 * GIB, step_mib: GIB },
    Size { cpu: 8192, memory_mib: 16 * GIB..=60 * GIB, step_mib: 4 * GIB },
    Size { cpu: 16384, memory_mib: 32 * GIB..=120 * GIB, step_mib: 8 * GIB },
];

impl Size {
    fn has(&self, memory_mib: u32) -> bool {
        let fits = self.memory_mib.contains(&memory_mib);
        match self.step_mib {
            0 => fits && memory_mib.is_power_of_two(),
            step => fits && (memory_mib - self.memory_mib.start()).is_multiple_of(step),
        }
    }

    fn nearest(&self, memory_mib: u32) -> u32 {
        let bounded = memory_mib.clamp(*self.memory_mib.start(), *self.memory_mib.end());
        match self.step_mib {
            0 => bounded.next_power_of_two(),
            step => self.memory_mib.start() + (bounded - self.memory_mib.start()).div_ceil(step) * step,
        }
    }

    fn describe(&self) -> String {
        let (least, most) = (self.memory_mib.start(), self.memory_mib.end());
        match self.step_mib {
            0 => format!("with cpu = {}: memory_mib of 512, 1024 or 2048", self.cpu),
            step => format!("with cpu = {}: memory_mib from {least} to {most} in steps of {step}", self.cpu),
        }
    }
}

/// Why Fargate does not run this pair.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such CPU size; those that there are.
    Cpu(Vec<u32>),
    /// The CPU size has no such memory: what it has, and the next that fits.
    Memory { allowed: String, nearest_mib: u32 },
}

/// Whether Fargate runs this pair.
pub(crate) fn refuse(cpu: u32, memory_mib: u32) -> Option<Refusal> {
    let Some(size) = SIZES.iter().find(|size| size.cpu == cpu) else {
        return Some(Refusal::Cpu(SIZES.iter().map(|size| size.cpu).collect()));
    };
    if size.has(memory_mib) {
        return None;
    }
    Some(Refusal::Memory { allowed: size.describe(), nearest_mib: size.nearest(memory_mib) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_those_of_the_table() {
        for (cpu, memory_mib, runs) in [
            (256, 512, true),
            (256, 1024, true),
            (256, 1536, false),
            (256, 4096, false),
            (512, 512, false),
            (512, 4096, true),
            (1024, 2560, false),
            (4096, 30 * GIB, true),
            (8192, 20 * GIB, true),
            (8192, 22 * GIB, false),
            (16384, 120 * GIB, true),
            (300, 512, false),
        ] {
            assert_eq!(refuse(cpu, memory_mib).is_none(), runs, "{cpu} {memory_mib}");
        }
    }

    #[test]
    fn the_suggested_memory_is_one_that_runs() {
        for size in SIZES {
            for memory_mib in (0..130 * GIB).step_by(300) {
                if let Some(Refusal::Memory { nearest_mib, .. }) = refuse(size.cpu, memory_mib) {
                    assert_eq!(refuse(size.cpu, nearest_mib), None, "{} {memory_mib}", size.cpu);
                }
            }
        }
    }
}
