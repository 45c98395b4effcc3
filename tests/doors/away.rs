//! Who is not there is shown as not there: *a door whose gateway was killed, and one that has gone silent with its link
//! open, are offline within 45 seconds*, with the constants of production; the others stay online, and both come back.

use std::time::Duration;

use e2e::apart::{Apart, Place, Tenant};
use e2e::program::wait_for;

/// What is promised, from the moment of the fault.
const OFFLINE_MAX: Duration = Duration::from_secs(45);
/// A door waits up to half a minute before it tries again.
const ONLINE_MAX: Duration = Duration::from_secs(90);

fn door(apart: &Apart, tenant: &Tenant, site: &str, name: &str, gateway: usize) -> Place {
    tenant.place(site, name, &apart.gateway_addresses[gateway], apart.folder.path()).unwrap()
}

fn is_online(tenant: &Tenant, door: &Place) -> Result<bool, String> {
    let shown = tenant.get(&format!("/v1/devices/{}", door.device)).map_err(|error| format!("{error:#}"))?;
    shown["state"]["online"].as_bool().ok_or_else(|| shown.to_string())
}

fn becomes(tenant: &Tenant, doors: &[(&Place, bool)], within: Duration) {
    wait_for("doors being shown as they are", within, || {
        let seen: Vec<_> = doors.iter().map(|(door, _)| is_online(tenant, door)).collect();
        let right = doors.iter().zip(&seen).all(|((_, wanted), seen)| seen == &Ok(*wanted));
        if right { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .unwrap();
}

#[test]
fn a_dead_gateway_and_a_silent_link_are_seen_within_45_seconds() {
    let mut apart = Apart::start().unwrap();
    let tenant = apart.tenant().unwrap();
    let site = tenant.site().unwrap();
    let orphan = door(&apart, &tenant, &site, "Behind the gateway that dies", 0);
    let mut silent = door(&apart, &tenant, &site, "That goes silent", 1);
    let steady = door(&apart, &tenant, &site, "That stays", 1);
    becomes(&tenant, &[(&orphan, true), (&silent, true), (&steady, true)], ONLINE_MAX);
    apart.gateways[0].kill();
    silent.program.pause();
    becomes(&tenant, &[(&orphan, false), (&silent, false), (&steady, true)], OFFLINE_MAX);
    apart.gateways[0].start_again().unwrap();
    silent.program.resume();
    becomes(&tenant, &[(&orphan, true), (&silent, true), (&steady, true)], ONLINE_MAX);
}
