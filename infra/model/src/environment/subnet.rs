//! Which subnet has which addresses. Owns the cutting of a VPC into tiers and zones, so that adding a zone never moves a subnet
//! that exists; refuses to know routes.

use ipnet::Ipv4Net;

use super::types::{Network, Tier};

/// Extra prefix bits of a derived subnet: 32 equal blocks, eight for each of three tiers and eight spare. Eight, because no
/// region has more zones than six.
const BLOCK_BITS: u8 = 5;
const BLOCKS_PER_TIER: usize = 8;

/// Largest VPC that AWS allows.
pub(crate) const VPC_PREFIX_MIN: u8 = 16;
/// Smallest VPC whose derived subnets (/27) still hold a load balancer, which wants a /27 and eight free addresses.
pub(crate) const VPC_PREFIX_MAX: u8 = 22;
/// Smallest subnet for the same reason.
pub(crate) const SUBNET_PREFIX_MAX: u8 = 27;

/// One subnet: its tier, its zone and its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetPlace {
    pub tier: Tier,
    /// Full name, such as `eu-central-1a`.
    pub zone: String,
    /// The zone's letter: last part of the address `network/subnet/private/a`.
    pub letter: String,
    pub cidr: Ipv4Net,
    /// Path of what decided the range, for its origin.
    pub path: String,
}

/// All subnets of a network, tier by tier, in the order of its zones.
pub fn subnets(network: &Network) -> Vec<SubnetPlace> {
    let mut places = Vec::new();
    for (index_tier, tier) in Tier::ALL.into_iter().enumerate() {
        for (index_zone, zone) in network.zones.iter().enumerate() {
            let given = network.subnets.tier(tier).cidrs.get(index_zone);
            let derived = || derived(network.cidr.0, index_tier, zone);
            let (Some(cidr), path) = (match given {
                Some(cidr) => (Some(cidr.0), format!("network.subnets.{}.cidrs.{index_zone}", tier.as_str())),
                None => (derived(), "network.cidr".to_owned()),
            }) else {
                continue; // too small a VPC: reported by the check
            };
            places.push(SubnetPlace { tier, zone: zone.clone(), letter: letter(zone), cidr, path });
        }
    }
    places
}

/// The letter of a zone, such as `a` of `eu-central-1a`.
pub(crate) fn letter(zone: &str) -> String {
    zone.chars().next_back().map(String::from).unwrap_or_default()
}

fn derived(vpc: Ipv4Net, index_tier: usize, zone: &str) -> Option<Ipv4Net> {
    let prefix = vpc.prefix_len().checked_add(BLOCK_BITS)?;
    let index_zone = zone.bytes().next_back()?.checked_sub(b'a').map(usize::from)?;
    if index_zone >= BLOCKS_PER_TIER {
        return None;
    }
    vpc.subnets(prefix).ok()?.nth(index_tier * BLOCKS_PER_TIER + index_zone)
}
