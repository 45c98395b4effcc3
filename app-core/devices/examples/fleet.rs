//! Ten thousand doors in one process: `cargo run --release -p keyway-devices --example fleet [doors]`. Prints the bytes
//! of resident memory for each door, after all of them have synced, hold a bundle and have reported an event.

use keyway_devices::flash::MemoryFlash;
use keyway_devices::scene::make;

fn resident_bytes() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4096)
}

fn main() -> anyhow::Result<()> {
    let doors: usize = std::env::args().nth(1).map_or(Ok(10_000), |text| text.parse())?;
    // A first small fleet, so that what is paid once is not counted.
    let mut warm = make(10, 4, 1, |_| MemoryFlash::default())?;
    (0..10).for_each(|door| warm.scene.connect(door));
    warm.scene.run_for(2_000);
    let before = resident_bytes()?;
    let begun = std::time::Instant::now();
    let mut made = make(doors, 4, 2, |_| MemoryFlash::default())?;
    let built = resident_bytes()?;
    (0..doors).for_each(|door| made.scene.connect(door));
    made.scene.run_for(2_000);
    (0..doors).for_each(|door| made.scene.tap(door, made.cards[door % 4].1, None));
    made.scene.run_for(2_000);
    let after = resident_bytes()?;
    let opened: usize = made.scene.doors.iter().map(|door| door.bolt.motions.len()).sum();
    anyhow::ensure!(opened == doors, "only {opened} of {doors} doors opened");
    println!("{doors} doors, each synced, with a bundle of 8 credentials, one tap and its events committed");
    println!("bytes per door, small core included: {}", (after - before) / doors as u64);
    println!("  of that before the first sync:      {}", (built - before) / doors as u64);
    println!("whole scene in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}
