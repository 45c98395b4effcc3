//! What AWS does with a kind's fields: which are fixed for life, which one call changes, what arrives only after
//! the create call, what a change interrupts. The plan is computed from this alone.

use super::KindId;

/// Everything the plan and the in-memory account must know of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The name in plans, snapshots and tags: `nat_gateway`.
    pub name: &'static str,
    /// What people read: `NAT gateway`.
    pub title: &'static str,
    pub layer: Layer,
    pub fields: &'static [Field],
    /// Attributes known as soon as the create call answers, besides the id.
    pub attributes: &'static [&'static str],
    /// Attributes known only once the resource has settled.
    pub late_attributes: &'static [&'static str],
    pub wait: Wait,
    pub replacement: Replacement,
    /// Fields whose value AWS keeps unique: a second create answers "exists". Empty: AWS makes a second one gladly.
    pub unique: &'static [&'static str],
    /// The create call takes a client token, so repeating it with the same token makes no second one.
    pub token: bool,
    /// Whether AWS can hold tags on it. Where it cannot, the shell keeps a marker of its own (DNS records).
    pub tags: bool,
    /// Holds data that deleting loses: needs `--allow-delete ADDRESS`.
    pub store: bool,
    /// Its id is a name that somebody chose, so an object of another kind may have the same.
    pub named: bool,
    /// Nothing may name it before its live fields are set, not only created: a gateway that is not attached takes no routes.
    pub usable_when_set: bool,
    /// Kinds that must be gone before this one can go, beyond those that refer to it.
    pub delete_after: &'static [KindId],
    /// Expected seconds until usable, and until gone; see docs/infra.md for the sources.
    pub create_s: u32,
    pub delete_s: u32,
    /// What is gone for good with the object: nobody makes it again as it was.
    pub loses: Option<Loss>,
    /// The fields by which a reviewer knows what is created; `-v` and JSON have all of them.
    pub tells: &'static [&'static str],
}

/// Something that no later apply brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub what: &'static str,
    /// A field of the object and what remains of the loss where that is above zero; `{}` stands for its value.
    pub spared: Option<(&'static str, &'static str)>,
}

/// When a change of a field loses something, although the object stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Losing {
    /// A lower number than there was.
    Lowered,
    /// A lower number, or any where there was none: without one AWS keeps for ever.
    LoweredOrSet,
    /// Any other value.
    Changed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    Identity,
    Network,
    Edge,
    Firewall,
    Data,
    Compute,
}

/// What those that refer to a resource wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It is usable when its create call answers.
    No,
    /// It settles later; a reference to its id waits for that.
    BeforeUse,
    /// It settles later; only late attributes and the end of the run wait for that.
    AtEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// The new one is made and referred to before the old one goes. Needs a name that differs, or none.
    CreateFirst,
    /// AWS cannot hold both.
    DeleteFirst,
}

#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub change: Change,
    /// The create call carries it. If not, a call follows unless the wanted value is `default`.
    pub at_create: bool,
    /// The value right after creation, as JSON, for fields that the create call does not carry.
    pub default: Option<&'static str>,
    pub compare: Compare,
    /// Emptied before the resource is deleted, because others that go too are named in it.
    pub released: bool,
    /// While something that it names is replaced, AWS takes it without that, as long as so many entries are left.
    pub least_left: Option<usize>,
    /// AWS raises it in place and never lowers it: a lower value is another resource.
    pub only_rises: bool,
    /// What changing it interrupts, for people.
    pub interrupts: Option<&'static str>,
    /// What changing it loses for good, and by which change.
    pub loses: Option<(Losing, &'static str)>,
    /// The kinds it refers to by name. Ids that AWS assigns speak for themselves; names of different kinds may be equal.
    pub refers: &'static [KindId],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// AWS cannot change it: another value means another resource.
    Fixed,
    /// One call changes it together with all fields of the same group; the group is named after that call's purpose.
    Live(&'static str),
    /// Used by the create call only; AWS never shows it again.
    CreateOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Objects by the keys that are wanted, lists in order, everything else exactly.
    Exact,
    /// A list whose order means nothing. The set is authoritative: what is there and not wanted is removed.
    Set,
    /// A map of which only the wanted keys are managed.
    Keys,
}

impl Spec {
    pub const fn new(
        name: &'static str,
        title: &'static str,
        layer: Layer,
        fields: &'static [Field],
    ) -> Self {
        Self {
            name,
            title,
            layer,
            fields,
            attributes: &[],
            late_attributes: &[],
            wait: Wait::No,
            replacement: Replacement::DeleteFirst,
            unique: &[],
            token: false,
            tags: true,
            store: false,
            named: false,
            usable_when_set: false,
            delete_after: &[],
            create_s: 1,
            delete_s: 1,
            loses: None,
            tells: &[],
        }
    }

    pub const fn attributes(mut self, early: &'static [&'static str], late: &'static [&'static str]) -> Self {
        self.attributes = early;
        self.late_attributes = late;
        self
    }

    pub const fn unique(mut self, fields: &'static [&'static str]) -> Self {
        self.unique = fields;
        self
    }

    pub const fn token(mut self) -> Self {
        self.token = true;
        self
    }

    pub const fn untagged(mut self) -> Self {
        self.tags = false;
        self
    }

    pub const fn store(mut self) -> Self {
        self.store = true;
        self
    }

    pub const fn named(mut self) -> Self {
        self.named = true;
        self
    }

    pub const fn usable_when_set(mut self) -> Self {
        self.usable_when_set = true;
        self
    }

    pub const fn create_first(mut self) -> Self {
        self.replacement = Replacement::CreateFirst;
        self
    }

    pub const fn settles(mut self, wait: Wait, create_s: u32, delete_s: u32) -> Self {
        self.wait = wait;
        self.create_s = create_s;
        self.delete_s = delete_s;
        self
    }

    pub const fn loses(mut self, what: &'static str) -> Self {
        self.loses = Some(Loss { what, spared: None });
        self
    }

    /// As `loses`, but where `field` is above zero `remains` does.
    pub const fn loses_unless(
        mut self,
        what: &'static str,
        field: &'static str,
        remains: &'static str,
    ) -> Self {
        self.loses = Some(Loss { what, spared: Some((field, remains)) });
        self
    }

    pub const fn tells(mut self, fields: &'static [&'static str]) -> Self {
        self.tells = fields;
        self
    }

    pub const fn delete_after(mut self, kinds: &'static [KindId]) -> Self {
        self.delete_after = kinds;
        self
    }

    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The groups of live fields, each one call, in the order of their first field.
    pub fn groups(&self) -> Vec<&'static str> {
        let mut groups = Vec::new();
        for field in self.fields {
            if let Change::Live(group) = field.change
                && !groups.contains(&group)
            {
                groups.push(group);
            }
        }
        groups
    }
}

impl Field {
    /// Fixed for life.
    pub const fn fixed(name: &'static str) -> Self {
        Self {
            name,
            change: Change::Fixed,
            at_create: true,
            default: None,
            compare: Compare::Exact,
            released: false,
            least_left: None,
            only_rises: false,
            interrupts: None,
            loses: None,
            refers: &[],
        }
    }

    /// Carried by the create call and changed later by the call of `group`.
    pub const fn live(name: &'static str, group: &'static str) -> Self {
        Self { change: Change::Live(group), ..Self::fixed(name) }
    }

    /// Set by a call of its own after creation; `default` (JSON) is what creation leaves.
    pub const fn after(name: &'static str, group: &'static str, default: Option<&'static str>) -> Self {
        Self { change: Change::Live(group), at_create: false, default, ..Self::fixed(name) }
    }

    pub const fn create_only(name: &'static str) -> Self {
        Self { change: Change::CreateOnly, ..Self::fixed(name) }
    }

    pub const fn set(mut self) -> Self {
        self.compare = Compare::Set;
        self
    }

    pub const fn keys(mut self) -> Self {
        self.compare = Compare::Keys;
        self
    }

    pub const fn released(mut self) -> Self {
        self.released = true;
        self
    }

    pub const fn least_left(mut self, entries: usize) -> Self {
        self.least_left = Some(entries);
        self
    }

    pub const fn only_rises(mut self) -> Self {
        self.only_rises = true;
        self
    }

    pub const fn refers(mut self, kinds: &'static [KindId]) -> Self {
        self.refers = kinds;
        self
    }

    pub const fn loses(mut self, when: Losing, what: &'static str) -> Self {
        self.loses = Some((when, what));
        self
    }

    pub const fn interrupts(mut self, what: &'static str) -> Self {
        self.interrupts = Some(what);
        self
    }
}
