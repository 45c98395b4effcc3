//! Which availability zones a region has. Owns the table; refuses to know accounts (a zone's letter means another building
//! in another account, and a few old accounts lack a zone: AWS says so when the subnet is made).

/// A region and the letters of its zones.
struct Region {
    name: &'static str,
    zones: &'static str,
}

/// Source: AWS's page "Regions and Availability Zones" (EC2 user guide). AWS opens new ones: a region that is not here but looks
/// like one is taken with any zone of its name, with a warning.
const REGIONS: &[Region] = &[
    Region { name: "af-south-1", zones: "abc" },
    Region { name: "ap-east-1", zones: "abc" },
    Region { name: "ap-northeast-1", zones: "acd" },
    Region { name: "ap-northeast-2", zones: "abcd" },
    Region { name: "ap-northeast-3", zones: "abc" },
    Region { name: "ap-south-1", zones: "abc" },
    Region { name: "ap-south-2", zones: "abc" },
    Region { name: "ap-southeast-1", zones: "abc" },
    Region { name: "ap-southeast-2", zones: "abc" },
    Region { name: "ap-southeast-3", zones: "abc" },
    Region { name: "ap-southeast-4", zones: "abc" },
    Region { name: "ca-central-1", zones: "abd" },
    Region { name: "ca-west-1", zones: "abc" },
    Region { name: "eu-central-1", zones: "abc" },
    Region { name: "eu-central-2", zones: "abc" },
    Region { name: "eu-north-1", zones: "abc" },
    Region { name: "eu-south-1", zones: "abc" },
    Region { name: "eu-south-2", zones: "abc" },
    Region { name: "eu-west-1", zones: "abc" },
    Region { name: "eu-west-2", zones: "abc" },
    Region { name: "eu-west-3", zones: "abc" },
    Region { name: "il-central-1", zones: "abc" },
    Region { name: "me-central-1", zones: "abc" },
    Region { name: "me-south-1", zones: "abc" },
    Region { name: "sa-east-1", zones: "abc" },
    Region { name: "us-east-1", zones: "abcdef" },
    Region { name: "us-east-2", zones: "abc" },
    Region { name: "us-west-1", zones: "abc" },
    Region { name: "us-west-2", zones: "abcd" },
];

/// The zones of a region by full name, `None` for a region that the table lacks.
pub(crate) fn zones(region: &str) -> Option<Vec<String>> {
    let known = REGIONS.iter().find(|known| known.name == region)?;
    Some(known.zones.chars().map(|letter| format!("{region}{letter}")).collect())
}

/// The words that say where in an area a region lies; AWS has no others.
const DIRECTIONS: [&str; 9] =
    ["central", "north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest"];

/// Whether a name that the table lacks has the shape of a region: `mx-central-1`, `us-gov-west-1`, `eusc-de-east-1`.
pub(crate) fn looks_like_one(region: &str) -> bool {
    let parts: Vec<&str> = region.split('-').collect();
    let word = |part: &str| (2..=4).contains(&part.len()) && part.chars().all(|c| c.is_ascii_lowercase());
    match parts[..] {
        [area, direction, number] => word(area) && DIRECTIONS.contains(&direction) && digit(number),
        [area, part, direction, number] => {
            let part_ok = part == "gov" || part == "de" || part.starts_with("iso");
            word(area) && part_ok && DIRECTIONS.contains(&direction) && digit(number)
        }
        _ => false,
    }
}

/// Regions of one direction are few: one digit, from 1.
fn digit(text: &str) -> bool {
    matches!(text.as_bytes(), [b'1'..=b'9'])
}

/// The partitions besides `aws`, by how their regions begin. Source: AWS's page "Partitions" (IAM user guide, ARN format) and
/// the SDKs' partitions.json. Longer beginnings first: `us-isob-` is none of `us-iso-`.
const PARTITIONS: [(&str, &str); 7] = [
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("us-iso-", "aws-iso"),
    ("us-gov-", "aws-us-gov"),
    ("eu-isoe-", "aws-iso-e"),
    ("eusc-", "aws-eusc"),
    ("cn-", "aws-cn"),
];

/// The second part of every ARN of a region: partitions share no accounts and no objects.
pub fn partition(region: &str) -> &'static str {
    let found = PARTITIONS.iter().find(|(beginning, _)| region.starts_with(beginning));
    found.map_or("aws", |(_, partition)| partition)
}

/// Whether a zone is one of this region by its name: the region and a letter.
pub(crate) fn names_zone(region: &str, zone: &str) -> bool {
    zone.strip_prefix(region).is_some_and(|letter| matches!(letter.as_bytes(), [b'a'..=b'z']))
}

/// All regions of the table.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    REGIONS.iter().map(|region| region.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_tells_its_partition() {
        for (region, wanted) in [
            ("eu-central-1", "aws"),
            ("us-east-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(partition(region), wanted, "{region}");
            assert!(zones(region).is_some() || looks_like_one(region), "{region}");
        }
    }
}
