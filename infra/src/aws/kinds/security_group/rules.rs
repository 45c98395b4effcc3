//! A group's rules between our form (one source a rule) and EC2's (many sources a permission), and the difference
//! between two sets of them. Pure: it calls nothing.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, PrefixListId, UserIdGroupPair};
use infra_model::address::Ref;
use infra_model::kinds::security_group::Rule;

/// All protocols; such a rule has no ports.
const ALL: &str = "-1";

/// What makes two rules the same to AWS: everything but the description.
type Key = (String, Option<u16>, Option<u16>, Option<String>, Option<String>, Option<String>);

fn key(rule: &Rule) -> Key {
    let ports = |port: Option<u16>| port.filter(|_| rule.protocol != ALL);
    (
        rule.protocol.to_lowercase(),
        ports(rule.from_port),
        ports(rule.to_port),
        rule.cidr.clone(),
        rule.group.as_ref().map(|group| group.as_str().to_owned()),
        rule.prefix_list.clone(),
    )
}

/// What turns one set of rules into another.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub add: Vec<Rule>,
    /// The same rule with another description.
    pub describe: Vec<Rule>,
    pub remove: Vec<Rule>,
}

pub(super) fn changes(seen: &[Rule], wanted: &[Rule]) -> Changes {
    let by_key = |rules: &[Rule]| -> BTreeMap<Key, Rule> {
        rules.iter().map(|rule| (key(rule), rule.clone())).collect()
    };
    let (now, then) = (by_key(seen), by_key(wanted));
    let mut changes = Changes::default();
    for (key, rule) in &then {
        match now.get(key) {
            None => changes.add.push(rule.clone()),
            Some(old) if old.description != rule.description => changes.describe.push(rule.clone()),
            Some(_) => {}
        }
    }
    changes.remove =
        now.into_iter().filter(|(key, _)| !then.contains_key(key)).map(|(_, rule)| rule).collect();
    changes
}

/// EC2's form of rules: one permission each.
pub(super) fn permissions(rules: &[Rule]) -> Vec<IpPermission> {
    rules.iter().map(permission).collect()
}

fn permission(rule: &Rule) -> IpPermission {
    let text = rule.description.clone();
    // ICMP's "any type" is -1; the other protocols have ports or nothing.
    let port = |port: Option<u16>| match port {
        Some(port) => Some(i32::from(port)),
        None => rule.protocol.starts_with("icmp").then_some(-1),
    };
    let all = rule.protocol == ALL;
    let mut permission = IpPermission::builder()
        .ip_protocol(&rule.protocol)
        .set_from_port(port(rule.from_port).filter(|_| !all))
        .set_to_port(port(rule.to_port).filter(|_| !all));
    if let Some(cidr) = &rule.cidr {
        permission = if cidr.contains(':') {
            permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr).set_description(text.clone()).build())
        } else {
            permission.ip_ranges(IpRange::builder().cidr_ip(cidr).set_description(text.clone()).build())
        };
    }
    if let Some(group) = &rule.group {
        let pair = UserIdGroupPair::builder().set_description(text.clone());
        let pair = match group.as_str().split_once('/') {
            Some((account, group)) => pair.user_id(account).group_id(group),
            None => pair.group_id(group.as_str()),
        };
        permission = permission.user_id_group_pairs(pair.build());
    }
    if let Some(list) = &rule.prefix_list {
        let list = PrefixListId::builder().prefix_list_id(list).set_description(text);
        permission = permission.prefix_list_ids(list.build());
    }
    permission.build()
}

/// EC2's permissions as rules, sorted. A group of another account than `owner`'s is written `account/sg-1`.
pub(super) fn read(permissions: &[IpPermission], owner: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    for permission in permissions {
        let protocol = permission.ip_protocol().unwrap_or(ALL).to_lowercase();
        let port = |port: Option<i32>| port.filter(|_| protocol != ALL).and_then(|p| u16::try_from(p).ok());
        let bare = Rule {
            from_port: port(permission.from_port()),
            to_port: port(permission.to_port()),
            protocol: protocol.clone(),
            cidr: None,
            group: None,
            prefix_list: None,
            description: None,
        };
        let described = |text: Option<&str>| Rule {
            description: text.filter(|text| !text.is_empty()).map(str::to_owned),
            ..bare.clone()
        };
        for range in permission.ip_ranges() {
            let cidr = range.cidr_ip().map(str::to_owned);
            rules.push(Rule { cidr, ..described(range.description()) });
        }
        for range in permission.ipv6_ranges() {
            let cidr = range.cidr_ipv6().map(str::to_owned);
            rules.push(Rule { cidr, ..described(range.description()) });
        }
        for pair in permission.user_id_group_pairs() {
            let id = pair.group_id().unwrap_or_default();
            let foreign =
                pair.user_id().filter(|user| !owner.is_empty() && !user.is_empty() && *user != owner);
            let group = foreign.map_or_else(|| id.to_owned(), |user| format!("{user}/{id}"));
            rules.push(Rule { group: Some(Ref::physical(group)), ..described(pair.description()) });
        }
        for list in permission.prefix_list_ids() {
            let prefix_list = list.prefix_list_id().map(str::to_owned);
            rules.push(Rule { prefix_list, ..described(list.description()) });
        }
    }
    rules.sort_by_key(key);
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(port: u16, cidr: &str, description: Option<&str>) -> Rule {
        Rule {
            protocol: "tcp".to_owned(),
            from_port: Some(port),
            to_port: Some(port),
            cidr: Some(cidr.to_owned()),
            group: None,
            prefix_list: None,
            description: description.map(str::to_owned),
        }
    }

    fn all_out() -> Rule {
        let all = cidr(0, "0.0.0.0/0", None);
        Rule { protocol: ALL.to_owned(), from_port: None, to_port: None, ..all }
    }

    #[test]
    fn the_difference_adds_describes_and_removes() {
        let seen = [all_out(), cidr(443, "0.0.0.0/0", Some("old")), cidr(22, "0.0.0.0/0", Some("by hand"))];
        let wanted = [cidr(443, "0.0.0.0/0", Some("new")), cidr(80, "0.0.0.0/0", None)];
        let changes = changes(&seen, &wanted);
        assert_eq!(changes.add, [cidr(80, "0.0.0.0/0", None)]);
        assert_eq!(changes.describe, [cidr(443, "0.0.0.0/0", Some("new"))]);
        assert_eq!(changes.remove, [all_out(), cidr(22, "0.0.0.0/0", Some("by hand"))]);
        assert_eq!(super::changes(&wanted, &wanted), Changes::default());
    }

    #[test]
    fn every_source_survives_the_way_to_ec2_and_back() {
        let bare = Rule { cidr: None, ..cidr(6379, "", Some("why")) };
        let icmp = Rule { protocol: "icmp".to_owned(), from_port: None, to_port: None, ..all_out() };
        let mut rules = vec![
            all_out(),
            icmp,
            cidr(443, "10.0.0.0/16", Some("inside")),
            cidr(443, "2001:db8::/32", None),
            Rule { group: Some(Ref::physical("sg-1")), ..bare.clone() },
            Rule { group: Some(Ref::physical("999900001111/sg-2")), ..bare.clone() },
            Rule { prefix_list: Some("pl-1".to_owned()), ..bare },
        ];
        rules.sort_by_key(key);
        assert_eq!(read(&permissions(&rules), "111122223333"), rules);
    }

    #[test]
    fn one_permission_with_many_sources_is_many_rules() {
        let permission = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(443)
            .to_port(443)
            .ip_ranges(IpRange::builder().cidr_ip("10.2.0.0/16").build())
            .ip_ranges(IpRange::builder().cidr_ip("10.1.0.0/16").description("one").build())
            .user_id_group_pairs(UserIdGroupPair::builder().group_id("sg-1").user_id("1").build())
            .build();
        let rules = read(&[permission], "1");
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0].group, Some(Ref::physical("sg-1")));
        assert_eq!(rules[1], cidr(443, "10.1.0.0/16", Some("one")));
    }
}
