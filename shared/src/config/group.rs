//! The settings that come together from the environment, or together from an item of the keys table.

use super::{ConfigError, Environment};

/// A group of settings with one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `CLIENTS`, whose value `table` stands for the item.
    Clients,
    /// The providers. With `PROVIDERS` = `table`, they come from the item.
    Providers,
}

/// The value of a setting that comes from the table.
const TABLE: &str = "table";

impl Group {
    /// Returns the name of the group, which is the key of its item and the variable that names the source.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clients => "CLIENTS",
            Self::Providers => "PROVIDERS",
        }
    }

    /// Returns the settings of the group. `GITHUB_API_URL` is not one: it has no secret and changes with the stack.
    pub fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Clients => &["CLIENTS"],
            Self::Providers => &[
                "GITHUB_CLIENT_ID",
                "GITHUB_CLIENT_SECRET",
                "OIDC_PROVIDERS",
                "OAUTH_PROVIDERS",
            ],
        }
    }

    /// Returns whether the settings come from the table.
    ///
    /// # Errors
    /// Both sources are set: Cambio does not choose one of them.
    pub fn is_stored(self, env: &Environment) -> Result<bool, ConfigError> {
        match self {
            Self::Clients => Ok(env.optional("CLIENTS").as_deref() == Some(TABLE)),
            Self::Providers => {
                const EXPECTED: &str =
                    "nothing, or table to read the providers from the keys table";
                let Some(source) = env.optional("PROVIDERS") else {
                    return Ok(false);
                };
                if source != TABLE {
                    return Err(ConfigError::value("PROVIDERS", source, EXPECTED));
                }
                let mut settings = self.settings().iter();
                match settings.find(|name| env.optional(name).is_some()) {
                    Some(name) => {
                        let hint = format!(
                            "unset {name}, or PROVIDERS: the providers come from one source"
                        );
                        Err(ConfigError::hinted("PROVIDERS", source, hint, EXPECTED))
                    }
                    None => Ok(true),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t174_two_sources_of_the_providers_are_refused_by_name() {
        for name in Group::Providers.settings() {
            let env = Environment::of([("PROVIDERS", "table"), (name, "hunter2")]);
            let error = Group::Providers.is_stored(&env).unwrap_err().to_string();
            assert!(error.contains(&format!("unset {name}")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let both = Environment::of([("PROVIDERS", "table"), ("OIDC_PROVIDERS", "")]);
        assert_eq!(Group::Providers.is_stored(&both), Ok(true));
    }

    #[test]
    fn the_table_is_named_by_one_word() {
        let source =
            |group: Group, value: &str| group.is_stored(&Environment::of([(group.name(), value)]));
        assert_eq!(source(Group::Clients, "table"), Ok(true));
        assert_eq!(source(Group::Clients, "[]"), Ok(false));
        assert_eq!(source(Group::Clients, ""), Ok(false));
        assert_eq!(source(Group::Providers, "table"), Ok(true));
        assert_eq!(source(Group::Providers, ""), Ok(false));
        for value in ["Table", "env", "[]"] {
            assert!(source(Group::Providers, value).is_err(), "{value}");
        }
    }
}
