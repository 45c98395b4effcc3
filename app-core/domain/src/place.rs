//! Tenant, site and area, and the reach of a rule over them. Refuses to know who may enter.

use crate::id::{AreaId, DoorId, SiteId, TenantId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    pub id: SiteId,
    pub name: String,
    /// IANA name. Every schedule of the site is read in it.
    pub zone: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    pub id: AreaId,
    pub site: SiteId,
    pub name: String,
}

/// Where a door stands, as far as rules refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub tenant: TenantId,
    pub site: SiteId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<AreaId>,
    pub door: DoorId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// The doors that a grant or a lockdown speaks of, always inside one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Tenant,
    Site(SiteId),
    Area(AreaId),
    Tag(String),
    Doors(Vec<DoorId>),
}

impl Scope {
    pub fn covers(&self, place: &Place) -> bool {
        match self {
            Self::Tenant => true,
            Self::Site(site) => *site == place.site,
            Self::Area(area) => Some(*area) == place.area,
            Self::Tag(tag) => place.tags.contains(tag),
            Self::Doors(doors) => doors.contains(&place.door),
        }
    }
}
