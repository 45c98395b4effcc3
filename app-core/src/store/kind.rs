//! The registry of what is kept as a versioned JSON document, and of the names by which a document is found without
//! knowing its tenant. Owns the words in the database; refuses to know the documents' fields.

macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it stands in the database and in backups: never changed, never given to another.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }
    };
}

words! {
    /// A kind of document. The id of a document is the typed id of the thing, as text.
    RecordKind {
        /// One per tenant; its id is the tenant's.
        Tenant = "tenant",
        Site = "site",
        Area = "area",
        Door = "door",
        Person = "person",
        Group = "group",
        Credential = "credential",
        Grant = "grant",
        Schedule = "schedule",
        Calendar = "calendar",
        /// A lockdown activation: its newest statement.
        Lockdown = "lockdown",
        LockdownPlan = "lockdown_plan",
        /// Whose credentials a tenant has revoked, with the counter.
        Revocation = "revocation",
        GuestLink = "guest_link",
        /// The device's key, epoch, capabilities; found by `LookupSpace::Key`.
        Device = "device",
        /// What was last seen of a device and its door. Changes often and is no fact.
        DeviceState = "device_state",
        /// The bundle a device shall hold, and what the next delta is made from.
        Bundle = "bundle",
        /// A phone's enrolled key; found by `LookupSpace::Key`.
        Phone = "phone",
        /// The public part has to stand under `public` as the domain's `PublicKey`: audit exports read it. The
        /// private part stands in it sealed, never in clear.
        SigningKey = "signing_key",
        ApiKey = "api_key",
        Enrolment = "enrolment",
        /// An identity provider bound to the tenant; found by `LookupSpace::Issuer`.
        Issuer = "issuer",
        Webhook = "webhook",
        Thread = "thread",
        /// What belongs to one tenant and to nothing above: counters, settings.
        Setting = "setting",
    }
}

impl RecordKind {
    /// A change of such a document changes what `decide` may answer, and raises the tenant's `facts_version`.
    pub fn is_fact(self) -> bool {
        use RecordKind as K;
        matches!(
            self,
            K::Site
                | K::Area
                | K::Door
                | K::Person
                | K::Group
                | K::Credential
                | K::Grant
                | K::Schedule
                | K::Calendar
                | K::Lockdown
                | K::Revocation
                | K::Device
                | K::Phone
        )
    }

    /// May be found by names over all tenants.
    pub fn has_names(self) -> bool {
        use RecordKind as K;
        matches!(
            self,
            K::Tenant
                | K::GuestLink
                | K::Device
                | K::Phone
                | K::SigningKey
                | K::ApiKey
                | K::Enrolment
                | K::Issuer
        )
    }
}

words! {
    /// A space of names that are unique over all tenants. The value is never a secret: keys of the API and codes are
    /// put in as their digest.
    LookupSpace {
        /// A `KeyId` of a device, phone or signing key.
        Key = "key",
        /// SHA-256 of an API key's secret.
        ApiKey = "api_key",
        /// SHA-256 of a one-time enrolment code.
        EnrolmentCode = "enrolment_code",
        /// SHA-256 of a guest link's secret.
        GuestSecret = "guest_secret",
        /// URL of an identity provider.
        Issuer = "issuer",
        /// A host name or short name of a tenant.
        TenantName = "tenant_name",
    }
}

words! {
    /// What may happen once only, told apart by purpose.
    OnceSpace {
        /// An `Idempotency-Key` of the API, with its answer.
        Idempotency = "idempotency",
        /// A challenge or own nonce that has been used.
        Challenge = "challenge",
        /// A live access request: its signed decision.
        Access = "access",
    }
}
