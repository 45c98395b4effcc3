//! The names that objects have in AWS. Owns them in one place, so that the check of their lengths and the blueprint agree;
//! refuses to know what the objects are. Identity is the address in a tag, never these names.

use super::types::Environment;

/// Longest name of a load balancer or target group (ELBv2 API reference).
pub(crate) const BALANCER_NAME_MAX: usize = 32;
/// Longest id of a replication group (ElastiCache API reference).
pub(crate) const CACHE_ID_MAX: usize = 40;
/// Longest name of an IAM role.
pub(crate) const ROLE_NAME_MAX: usize = 64;

/// Names of one environment's objects: `project-name` and what the object is.
#[derive(Debug, Clone)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// The names of an environment.
    pub fn new(environment: &Environment) -> Self {
        Names { prefix: environment.prefix() }
    }

    /// `project-name`: VPC, load balancer, cluster, web ACL, stores.
    pub fn environment(&self) -> String {
        self.prefix.clone()
    }

    /// `project-name-part`: target groups, groups, task families.
    pub fn part(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    /// The role that ECS uses to start a service's tasks.
    pub fn start_role(&self, service: &str) -> String {
        self.part(&format!("{service}-start"))
    }

    /// The role of the code in a service's containers.
    pub fn task_role(&self, service: &str) -> String {
        self.part(&format!("{service}-task"))
    }

    /// A path-like name: log groups, secrets, repositories.
    pub fn path(&self, parts: &str) -> String {
        format!("{}/{parts}", self.prefix)
    }
}
